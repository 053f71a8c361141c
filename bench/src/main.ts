// `npm run bench`: what Warren costs beside the bare clients that it is made of, as ratios of one run.
// `npm run bench -- fan-out growth`: those parts alone. Contenders take turns in short rounds, so that a noisy moment of the machine meets all of them.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Broker } from '@warren/rabbitmq';
import { measureConsole } from './console.js';
import { compareDeliveries } from './deliveries.js';
import { compareFanOut } from './fan-out.js';
import { compareGrowth } from './growth.js';
import { compareHistory } from './history.js';
import { compareLatency } from './latency.js';
import { compareMailboxes } from './mailboxes.js';
import { compareNeighbours } from './neighbours.js';
import { comparePublishing } from './publishing.js';
import { comparePushes } from './push.js';
import { startBench, type Bench } from './setup.js';
import { compareStorms } from './storm.js';
import { compareTrickles } from './trickle.js';

const PARTS: Record<string, (bench: Bench) => Promise<void>> = {
  publishing: comparePublishing,
  deliveries: compareDeliveries,
  trickle: compareTrickles,
  latency: compareLatency,
  'fan-out': compareFanOut,
  growth: compareGrowth,
  mailboxes: compareMailboxes,
  history: compareHistory,
  push: comparePushes,
  console: measureConsole,
  neighbours: compareNeighbours,
  storm: (bench) => compareStorms(bench, 2000),
};

// Another RabbitMQ than the machine's: a root directory that has one, as for the tests.
const chroot = process.env['WARREN_TEST_BROKER_ROOT'];
// Where the data lies, for a look at another file system; inside the root directory, if there is one.
const parent =
  process.env['WARREN_BENCH_DIR'] ?? (chroot === undefined ? tmpdir() : join(chroot, 'tmp'));
const dataDir = await mkdtemp(join(parent, 'warren-bench-'));
const startBroker = async (directory: string): Promise<Broker> => {
  const made = new Broker({ dataDir: directory, ...(chroot !== undefined && { chroot }) });
  await made.start();
  return made;
};
const broker = await startBroker(dataDir);
const bench = await startBench(broker, dataDir, startBroker);
try {
  const wanted = process.argv.slice(2);
  for (const [name, run] of Object.entries(PARTS)) {
    if (wanted.length === 0 || wanted.includes(name)) await run(bench);
  }
} finally {
  await bench.close();
  await broker.stop();
  await rm(dataDir, { recursive: true, force: true });
}
