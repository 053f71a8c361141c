// `npm run bench`: what Warren costs beside the bare clients that it is made of, as ratios of one run.
// `npm run bench -- storm`: the reconnect storm alone. Contenders take turns in short rounds, so that a noisy moment of the machine meets all of them.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Broker } from '@warren/rabbitmq';
import { compareDeliveries } from './deliveries.js';
import { compareLatency } from './latency.js';
import { comparePublishing } from './publishing.js';
import { startBench } from './setup.js';
import { compareStorms } from './storm.js';

const dataDir = await mkdtemp(join(tmpdir(), 'warren-bench-'));
const broker = new Broker({ dataDir });
await broker.start();
const bench = await startBench(broker, dataDir);
try {
  const [only] = process.argv.slice(2);
  if (only !== 'storm') {
    await comparePublishing(bench);
    await compareDeliveries(bench);
    await compareLatency(bench);
  }
  await compareStorms(bench, 2000);
} finally {
  await bench.close();
  await broker.stop();
  await rm(dataDir, { recursive: true, force: true });
}
