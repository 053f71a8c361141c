import type { Bench } from './setup.js';
import { median, percentile, printTable } from './statistics.js';

const WAITING = Number(process.env['WARREN_BENCH_PUSHES'] ?? 100_000);
const BATCH = 1000;
const MESSAGES = 1000;
const HOUR_MS = 60 * 60 * 1000;

const push = { title: 'Anna', body: 'Are you there?', afterMs: HOUR_MS };

/** What an API call costs while many pushes wait for their time. */
export async function comparePushes(bench: Bench): Promise<void> {
  const users = Array.from({ length: BATCH }, (_, index) => `pushed-${String(index)}`);
  for (const each of users) await bench.api('PUT', `/v1/users/${each}`);
  const [user = ''] = users;
  const ways: Record<string, object> = {
    plain: {},
    tracked: { track: true },
    'with a push': { push },
  };
  const measure = async (more: object): Promise<number[]> => {
    const times: number[] = [];
    for (let index = 0; index < MESSAGES; index++) {
      const startedAt = performance.now();
      const body = { to: { user }, type: 'note', data: { index }, ttlMs: HOUR_MS * 2, ...more };
      await bench.api('POST', '/v1/messages', body);
      times.push(performance.now() - startedAt);
    }
    return times;
  };
  const all = async (): Promise<Record<string, number[]>> => {
    const entries: [string, number[]][] = [];
    for (const [name, more] of Object.entries(ways)) entries.push([name, await measure(more)]);
    return Object.fromEntries(entries);
  };
  // So that nothing is measured that is done only once.
  await all();
  const none = await all();
  const startedAt = performance.now();
  for (let sent = 0; sent < WAITING; sent += BATCH) {
    const messages = users.map((each) => ({ to: { user: each }, type: 'note', data: 1, push }));
    await bench.api('POST', '/v1/messages/batch', { messages });
  }
  const perSecond = (WAITING * 1000) / (performance.now() - startedAt);
  const many = await all();
  const rows = Object.keys(ways).map((name) => {
    const [before = [], during = []] = [none[name], many[name]];
    return {
      'POST /v1/messages': name,
      'p50 ms': median(during).toFixed(2),
      '/ with none': (median(during) / median(before)).toFixed(2),
      'p99 ms': percentile(during, 0.99).toFixed(2),
      '/ with none ': (percentile(during, 0.99) / percentile(before, 0.99)).toFixed(2),
    };
  });
  const title = `While ${String(WAITING)} pushes wait (asked for at ${perSecond.toFixed(0)}/s)`;
  printTable(title, rows);
}
