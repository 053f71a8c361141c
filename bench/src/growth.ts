import type { Bench } from './setup.js';
import { median, percentile, printTable } from './statistics.js';

const SIZES = [100, 1000, 10_000, 20_000];
const MESSAGES = 300;
const JOINS = 60;
const AT_ONCE = 16;

/** What one user's message and one membership cost as there are more mailboxes and larger groups. */
export async function compareGrowth(bench: Bench): Promise<void> {
  const rows: Record<string, string>[] = [];
  const latencies: number[] = [];
  const joins: number[] = [];
  let provisioned = 0;
  for (const size of SIZES) {
    const startedAt = performance.now();
    const added = size - provisioned;
    await provision(bench, provisioned, size);
    const perSecond = (added * 1000) / (performance.now() - startedAt);
    provisioned = size;
    const times = await latency(bench);
    const join = await joining(bench, size);
    latencies.push(median(times));
    joins.push(join);
    rows.push({
      mailboxes: String(size),
      'p50 ms': median(times).toFixed(2),
      'p99 ms': percentile(times, 0.99).toFixed(2),
      '/ first': (median(times) / (latencies[0] ?? NaN)).toFixed(2),
      'joining a group of all of them, ms': join.toFixed(2),
      '/ the first': (join / (joins[0] ?? NaN)).toFixed(2),
      'provisioned/s': perSecond.toFixed(0),
    });
  }
  printTable('As it grows: publish to handler for one user, and joining a group', rows);
  await besideBroadcasts(bench);
}

async function provision(bench: Bench, from: number, to: number): Promise<void> {
  const users = Array.from({ length: to - from }, (_, index) => `grown-${String(from + index)}`);
  const next = users.values();
  const work = async (): Promise<void> => {
    for (const user of next) await bench.api('PUT', `/v1/users/${user}`);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  for (let start = 0; start < users.length; start += 5000) {
    const add = users.slice(start, start + 5000);
    await bench.api('POST', '/v1/groups/grown/members', { add });
  }
}

/** How long it takes, one message at a time. */
async function latency(bench: Bench, messages = MESSAGES): Promise<number[]> {
  const user = 'grown-reader';
  const client = bench.sdk(user, 'stomp');
  let arrived: (at: number) => void = () => undefined;
  client.handle('*', () => {
    arrived(performance.now());
  });
  client.handle('broadcast', () => undefined);
  client.start();
  await client.ready();
  const times: number[] = [];
  for (let index = 0; index < messages; index++) {
    const arrival = new Promise<number>((resolve) => (arrived = resolve));
    const startedAt = performance.now();
    await bench.publisher.toUser(user, 'bench', { index });
    times.push((await arrival) - startedAt);
  }
  await client.stop();
  return times;
}

/** How long it takes to take one provisioned user into the group that all others are in. */
async function joining(bench: Bench, size: number): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < JOINS; index++) {
    const user = `joiner-${String(size)}-${String(index)}`;
    await bench.api('PUT', `/v1/users/${user}`);
    const startedAt = performance.now();
    await bench.api('PUT', `/v1/groups/grown/members/${user}`);
    times.push(performance.now() - startedAt);
  }
  return median(times);
}

/** Messages to one user while others go to everybody. */
async function besideBroadcasts(bench: Bench): Promise<void> {
  const quiet = await latency(bench);
  const over = new AbortController();
  const broadcasting = (async () => {
    let sent = 0;
    while (!over.signal.aborted) {
      await bench.publisher.broadcast('broadcast', { text: 'x'.repeat(180) }, { ttlMs: 1000 });
      sent++;
    }
    return sent;
  })();
  const busy = await latency(bench, 3000);
  over.abort();
  const sent = await broadcasting;
  printTable(
    `Beside ${String(sent)} broadcasts to ${String(SIZES.at(-1))} mailboxes, one after the other`,
    [
      {
        '': 'quiet',
        'p50 ms': median(quiet).toFixed(2),
        'p99 ms': percentile(quiet, 0.99).toFixed(2),
      },
      {
        '': 'busy',
        'p50 ms': median(busy).toFixed(2),
        'p99 ms': percentile(busy, 0.99).toFixed(2),
      },
    ],
  );
}
