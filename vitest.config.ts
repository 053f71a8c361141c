import { defineConfig } from 'vitest/config';

// Brokers that programs start in it see their files by the same names (tools/brokers.mjs).
const brokerRoot = process.env['WARREN_TEST_BROKER_ROOT'];

export default defineConfig({
  test: {
    ...(brokerRoot !== undefined && { env: { TMPDIR: `${brokerRoot}/tmp` } }),
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // Brokers, a browser and what they are put through share two cores.
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
