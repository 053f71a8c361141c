import type { Bench } from './setup.js';
import { median, percentile, printTable } from './statistics.js';

const STORED = Number(process.env['WARREN_BENCH_STORED'] ?? 1_000_000);
const USERS = 1000;
/** Every tenth message goes to the same user. */
const BUSY = 'history-busy';
const GROUPS = 20;
const AT_ONCE = 1000;
const READS = 300;

/**
 * Fills the history by way of the broker, and reads it over HTTP. With `WARREN_DATABASE_URL` it is that
 * PostgreSQL's, else a file's.
 */
export async function compareHistory(bench: Bench): Promise<void> {
  const member = 'history-member';
  for (let index = 0; index < GROUPS; index++) {
    await bench.api('PUT', `/v1/groups/history-${String(index)}/members/${member}`);
  }
  const startedAt = performance.now();
  let sent = 0;
  const publishing = Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (sent < STORED) await publish(bench, sent++);
    }),
  );
  await publishing;
  const published = performance.now() - startedAt;
  await bench.publisher.toUser('history-last', 'bench', {}, { delivery: 'stored' });
  while ((await read(bench, 'user=history-last')) === 0) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const stored = performance.now() - startedAt;
  const database = process.env['WARREN_DATABASE_URL'] === undefined ? 'SQLite' : 'PostgreSQL';
  printTable(`${String(STORED)} stored messages on ${database}`, [
    {
      '': 'published, confirmed',
      'per second': ((STORED * 1000) / published).toFixed(0),
    },
    {
      '': 'written down',
      'per second': ((STORED * 1000) / stored).toFixed(0),
    },
  ]);
  const rows: Record<string, string>[] = [];
  for (const [what, query] of [
    ['a user’s latest 50', 'user=history-7'],
    ['of one with a tenth of all', `user=${BUSY}`],
    [`of one in ${String(GROUPS)} groups`, `user=${member}`],
    ['a group’s', 'group=history-3'],
    ['a user’s oldest 50', `user=${BUSY}&order=asc`],
  ] as const) {
    const times: number[] = [];
    for (let index = 0; index < READS; index++) {
      const askedAt = performance.now();
      await read(bench, query);
      times.push(performance.now() - askedAt);
    }
    rows.push({
      '': what,
      'p50 ms': median(times).toFixed(2),
      'p99 ms': percentile(times, 0.99).toFixed(2),
    });
  }
  printTable('GET /v1/history, one request at a time', rows);
}

function publish(bench: Bench, index: number): Promise<unknown> {
  const data = { index, text: 'x'.repeat(200) };
  const options = { delivery: 'stored' } as const;
  if (index % 10 === 0) return bench.publisher.toUser(BUSY, 'bench', data, options);
  if (index % 10 === 1) {
    const group = `history-${String(Math.floor(index / 10) % GROUPS)}`;
    return bench.publisher.toGroup(group, 'bench', data, options);
  }
  return bench.publisher.toUser(`history-${String(index % USERS)}`, 'bench', data, options);
}

async function read(bench: Bench, query: string): Promise<number> {
  const { items } = (await bench.api('GET', `/v1/history?${query}`)) as { items: unknown[] };
  return items.length;
}
