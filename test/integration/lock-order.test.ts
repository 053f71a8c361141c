import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openStorage, type Storage } from '../../server/dist/storage/index.js';
import { startPostgres, type Postgres } from '../support/postgres.js';
import { until } from '../support/until.js';

const NOW = Date.now();
const COUNT = 40;

let postgres: Postgres;
let storage: Storage;
/** Somebody else who has a row. */
let other: pg.Client;
beforeAll(async () => {
  postgres = await startPostgres();
  storage = await openStorage({ dataDir: '', url: postgres.url }, () => undefined);
  other = new pg.Client({ connectionString: postgres.url });
  await other.connect();
});
afterAll(async () => {
  await other.end();
  await storage.close();
  await postgres.close();
});

async function begin(id: string): Promise<void> {
  const message = { id, fingerprint: id, type: 'note', target: { user: 'ann' }, queue: null };
  const times = { createdAt: NOW, expiresAt: NOW + 1000, deadline: NOW + 2000 };
  const none = { from: undefined, push: undefined };
  await storage.messages.begin({ ...message, ...times, ...none }, [
    { user: 'ann', outcome: 'queued' },
  ]);
}

const untilSomebodyWaits = () =>
  until(async () => {
    const { rows } = await other.query('select 1 from pg_locks where not granted');
    return rows.length > 0;
  });

/** Ids of messages whose rows nobody has locked. */
async function free(): Promise<string[]> {
  const { rows } = await other.query<{ message_id: string }>(
    'select message_id from recipients where deadline is not null for update skip locked',
  );
  return rows.map(({ message_id: id }) => id).sort();
}

it.each<[what: string, call: (ids: string[]) => Promise<unknown>]>([
  ['have been handled', (ids) => storage.outcomes.setDelivered('ann', ids, NOW)],
  ['have been read', (ids) => storage.outcomes.setRead('ann', ids, NOW)],
  [
    'are in a mailbox no more',
    (ids) => storage.outcomes.failCopies(ids, 'ann', 'user.ann.x', 'rejected', NOW),
  ],
  ['had no word of them in time', () => storage.outcomes.expire(NOW + 3000)],
])(
  'servers that learn that messages %s lock them in one order, and so never each other',
  async (what, call) => {
    const ids = Array.from({ length: COUNT }, (_, index) => `${what} ${String(100 + index)}`);
    // As they lie in the table, which is another order.
    for (const id of [...ids].reverse()) await begin(id);
    const middle = ids[COUNT / 2]!;
    await other.query('begin');
    await other.query('select 1 from recipients where message_id = $1 for update', [middle]);
    const called = call([...ids].reverse());
    await untilSomebodyWaits();
    // The one in the middle is its own.
    expect(await free()).toEqual(ids.slice(COUNT / 2));
    await other.query('commit');
    await called;
    expect(await free()).toEqual([]);
  },
);
