// Runs all tests and ends with their count on a line of its own.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

const dir = mkdtempSync(join(tmpdir(), 'warren-tests-'));
const report = join(dir, 'report.json');
const vitest = join('node_modules', 'vitest', 'vitest.mjs');
const { status } = spawnSync(
  process.execPath,
  [vitest, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`].concat(
    process.argv.slice(2),
  ),
  { stdio: ['ignore', 'inherit', 'inherit'] },
);
let counts = { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0 };
try {
  counts = JSON.parse(readFileSync(report, 'utf8'));
} catch {
  process.stderr.write('The test runner wrote no report.\n');
}
rmSync(dir, { recursive: true, force: true });
const { numPassedTests: passed, numFailedTests: failed, numPendingTests: skipped } = counts;
process.stdout.write(
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`,
);
// A run without any test has shown nothing.
process.exitCode = status === 0 && passed > 0 && failed === 0 ? 0 : 1;
