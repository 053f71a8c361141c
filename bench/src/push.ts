import { mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { startBench, type Bench } from './setup.js';
import { median, percentile, printTable } from './statistics.js';

const WAITING = Number(process.env['WARREN_BENCH_PUSHES'] ?? 100_000);
const BATCH = 1000;
const MESSAGES = 200;
const ROUNDS = 16;
const HOUR_MS = 60 * 60 * 1000;

const push = { title: 'Anna', body: 'Are you there?', afterMs: HOUR_MS };

const WAYS: Record<string, object> = {
  plain: {},
  tracked: { track: true },
  'with a push': { push },
};

/** What an API call costs while many pushes wait, beside a server and a broker of the same kind with none. */
export async function comparePushes(bench: Bench): Promise<void> {
  const dataDir = await mkdtemp(join(dirname(bench.dataDir), 'warren-bench-'));
  const broker = await bench.startBroker(dataDir);
  const quiet = await startBench(broker, dataDir);
  try {
    const users = Array.from({ length: BATCH }, (_, index) => `pushed-${String(index)}`);
    for (const user of users) await bench.api('PUT', `/v1/users/${user}`);
    await quiet.api('PUT', `/v1/users/${users[0] ?? ''}`);
    const startedAt = performance.now();
    for (let sent = 0; sent < WAITING; sent += BATCH) {
      const messages = users.map((user) => ({ to: { user }, type: 'note', data: 1, push }));
      await bench.api('POST', '/v1/messages/batch', { messages });
    }
    const perSecond = (WAITING * 1000) / (performance.now() - startedAt);
    // What the flood itself has left to do is not what is asked about.
    await new Promise((resolve) => setTimeout(resolve, 5000));
    const title = `While ${String(WAITING)} pushes wait (asked for at ${perSecond.toFixed(0)}/s), and with none`;
    printTable(title, await compare(bench, quiet));
  } finally {
    await quiet.close();
    await broker.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function compare(busy: Bench, quiet: Bench): Promise<Record<string, string>[]> {
  const rows: Record<string, string>[] = [];
  for (const [name, more] of Object.entries(WAYS)) {
    const times: [number[], number[]] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      for (const [index, bench] of [busy, quiet].entries()) {
        const taken = await measure(bench, more);
        // So that nothing is counted that is done only once.
        if (round > 0) times[index]?.push(...taken);
      }
    }
    const [during, none] = times;
    rows.push({
      'POST /v1/messages': name,
      'p50 ms': median(during).toFixed(2),
      '/ with none': (median(during) / median(none)).toFixed(2),
      'p99 ms': percentile(during, 0.99).toFixed(2),
      '/ with none ': (percentile(during, 0.99) / percentile(none, 0.99)).toFixed(2),
    });
  }
  return rows;
}

async function measure(bench: Bench, more: object): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < MESSAGES; index++) {
    const startedAt = performance.now();
    const body = { to: { user: 'pushed-0' }, type: 'note', data: { index }, ...more };
    await bench.api('POST', '/v1/messages', body);
    times.push(performance.now() - startedAt);
  }
  return times;
}
