import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CompiledQuery,
  Kysely,
  Migrator,
  PostgresDialect,
  SqliteDialect,
  type Dialect,
  type SqliteDatabase,
} from 'kysely';
import Libsql from 'libsql';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../../server/dist/storage/database.js';
import { HistoryErasure } from '../../server/dist/storage/history-erasure.js';
import {
  HistoryStore,
  timelineOf,
  type HistoryPage,
  type HistoryRecord,
} from '../../server/dist/storage/history.js';
import { fromStored } from '../../server/dist/storage/ids.js';
import { openStorage } from '../../server/dist/storage/index.js';
import { migrationsFor } from '../../server/dist/storage/migrations.js';
import { startPostgres, type Postgres } from '../support/postgres.js';

// What SQL is made, and what the databases make of it, shows nowhere outside.

let postgres: Postgres;
let dataDir: string;
beforeAll(async () => {
  postgres = await startPostgres();
  dataDir = await mkdtemp(join(tmpdir(), 'warren-store-'));
});
afterAll(async () => {
  await postgres.close();
  await rm(dataDir, { recursive: true, force: true });
});

interface Place {
  dataDir: string;
  url: string | undefined;
  dialect: () => Dialect;
}

let places = 0;
async function place(kind: 'sqlite' | 'postgres'): Promise<Place> {
  const name = `place${String(++places)}`;
  if (kind === 'sqlite') {
    const dir = await mkdtemp(join(dataDir, name));
    const file = join(dir, 'warren.sqlite');
    const open = () => new Libsql(file) as unknown as SqliteDatabase;
    return { dataDir: dir, url: undefined, dialect: () => new SqliteDialect({ database: open() }) };
  }
  const admin = new pg.Client({ connectionString: postgres.url });
  await admin.connect();
  await admin.query(`create database ${name}`);
  await admin.end();
  const url = postgres.url.replace(/postgres$/, name);
  const types: pg.CustomTypesConfig = {
    getTypeParser: (oid, format) =>
      oid === pg.types.builtins.INT8 ? Number : (pg.types.getTypeParser(oid, format) as never),
  };
  const pool = () => new pg.Pool({ connectionString: url, types, max: 1 });
  return { dataDir, url, dialect: () => new PostgresDialect({ pool: pool() }) };
}

const record = (index: number, timelines: string[], more: object = {}): HistoryRecord => ({
  messageId: `m${String(index)}`,
  type: 'note',
  at: 1_000_000_000_000 + index,
  expiresAt: null,
  from: null,
  target: '{"broadcast":true}',
  body: String(index),
  isBase64: false,
  properties: null,
  deviceId: null,
  timelines,
  ...more,
});

describe.each(['sqlite', 'postgres'] as const)('the history on %s', (kind) => {
  const queries: { sql: string; parameters: readonly unknown[] }[] = [];
  let database: Database;
  let store: HistoryStore;
  let erasure: HistoryErasure;
  beforeAll(async () => {
    const { dataDir: dir, url, dialect } = await place(kind);
    await (await openStorage({ dataDir: dir, url }, () => undefined)).close();
    database = new Kysely({
      dialect: dialect(),
      log: ({ query }) => {
        queries.push(query);
      },
    });
    store = new HistoryStore(database);
    erasure = new HistoryErasure(database);
    // 20,000 messages to 100 users and 10 groups.
    for (let start = 0; start < 20_000; start += 1000) {
      const records = Array.from({ length: 1000 }, (_, offset) => {
        const index = start + offset;
        const user = `u${String(index % 100)}`;
        return record(index, [timelineOf.user(user), timelineOf.group(index % 10)]);
      });
      await store.write(records, [], 2_000_000_000_000 + start);
    }
    if (kind === 'postgres') await database.executeQuery(CompiledQuery.raw('analyze'));
  });
  afterAll(async () => {
    await database.destroy();
  });

  const page = async (more: Partial<HistoryPage>) => {
    const whole = { ranges: [{ timeline: timelineOf.user('u7') }], order: 'desc' as const };
    return (await store.page({ ...whole, limit: 3, ...more })).rows;
  };
  const ids = async (more: Partial<HistoryPage>) =>
    (await page(more)).map(({ message_id: id }) => id);

  it('gives pages in order, from either end, of one view or of several', async () => {
    expect(await ids({})).toEqual(['m19907', 'm19807', 'm19707']);
    expect(await ids({ order: 'asc' })).toEqual(['m7', 'm107', 'm207']);
    const seq = (await store.find('m107'))!.seq;
    expect(await ids({ order: 'asc', afterSeq: seq })).toEqual(['m207', 'm307', 'm407']);
    expect(await ids({ beforeSeq: seq })).toEqual(['m7']);
    const both = [timelineOf.user('u7'), timelineOf.group(3)].map((timeline) => ({ timeline }));
    expect(await ids({ ranges: both, order: 'asc', limit: 4 })).toEqual(['m3', 'm7', 'm13', 'm23']);
    const later = [{ timeline: timelineOf.user('u7'), sentFrom: 1_000_000_019_800 }];
    expect(await ids({ ranges: later })).toEqual(['m19907', 'm19807']);
    // More than a query may have parts.
    const many = Array.from({ length: 1000 }, (_, index) => ({
      timeline: timelineOf.user(`u${String(index)}`),
    }));
    expect(await ids({ ranges: many })).toEqual(['m19999', 'm19998', 'm19997']);
  });

  it('ends a page that would be too long, and says that there are more', async () => {
    const timelines = [timelineOf.user('long')];
    const body = JSON.stringify('x'.repeat(1_500_000));
    const records = Array.from({ length: 5 }, (_, index) =>
      record(index, timelines, { messageId: `long${String(index)}`, body }),
    );
    await store.write(records, [], 1_999_999_999_999);
    const read = (afterSeq: number) =>
      store.page({ ranges: [{ timeline: timelines[0]! }], order: 'asc', limit: 50, afterSeq });
    const first = await read(0);
    expect([first.rows.map((row) => row.message_id), first.hasMore]).toEqual([
      ['long0', 'long1', 'long2'],
      true,
    ]);
    const second = await read(first.rows[2]!.seq);
    expect([second.rows.map((row) => row.message_id), second.hasMore]).toEqual([
      ['long3', 'long4'],
      false,
    ]);
  });

  it('keeps a message once for 24 hours, and takes its id again after that', async () => {
    const timelines = [timelineOf.user('again')];
    const at = 1_500_000_000_000;
    const day = 24 * 60 * 60 * 1000;
    const same = (time: number, body: string) =>
      record(0, timelines, { messageId: 'same', at: time, body });
    const write = (...records: HistoryRecord[]) => store.write(records, [], at);
    await write(same(at, '1'), same(at, 'in one batch'));
    await write(same(at, '2'));
    await write(same(at + day - 1, '3'));
    await write(same(at + day + 1, '4'));
    await write(same(at + 3 * day, '5'), same(at + 3 * day + 1, '6'), same(at + 5 * day, '7'));
    const rows = await page({ ranges: timelines.map((timeline) => ({ timeline })), limit: 10 });
    expect(rows.map(({ body }) => body)).toEqual(['7', '5', '4', '1']);
  });

  it('holds any text, any bytes and ids of any characters', async () => {
    const user = 'a%00b%/é.*';
    const body = JSON.stringify('\0\u2028 é 😀 \\u0000 "');
    const timelines = [timelineOf.user(user), timelineOf.conversation(user, user)];
    await store.write([record(0, timelines, { messageId: 'odd', body, from: user })], [], 1);
    const [row] = await page({ ranges: [{ timeline: timelineOf.user(user) }] });
    expect(row?.body).toBe(body);
    expect(fromStored(row?.from_user ?? '')).toBe(user);
  });

  it('keeps the body of a message to many once', async () => {
    const users = Array.from({ length: 5000 }, (_, index) => timelineOf.user(`l${String(index)}`));
    await store.write([record(0, users, { messageId: 'list' })], [], 1);
    const { count } = await database
      .selectFrom('history')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('message_id', '=', 'list')
      .executeTakeFirstOrThrow();
    expect(count).toBe(1);
    for (const timeline of [users[0]!, users[4999]!]) {
      expect(await ids({ ranges: [{ timeline }] })).toEqual(['list']);
    }
  });

  it('removes what is old or one of too many, and remembers that it has', async () => {
    const timelines = [timelineOf.user('trimmed'), timelineOf.user('other')];
    const records = Array.from({ length: 2500 }, (_, index) =>
      record(index, index < 10 ? timelines : timelines.slice(0, 1), {
        messageId: `t${String(index)}`,
        at: 1_600_000_000_000 + index,
      }),
    );
    await store.write(records, [], 2_100_000_000_000);
    const [trimmed, other] = timelines.map((timeline) => ({ timeline }));
    expect(await erasure.trimmedUntil(timelines)).toBe(0);
    await erasure.trim(trimmed!.timeline, 100);
    expect(await ids({ ranges: [trimmed!], limit: 5000 })).toHaveLength(100);
    expect(await ids({ ranges: [trimmed!] })).toEqual(['t2499', 't2498', 't2497']);
    expect(await erasure.trimmedUntil(timelines)).toBe(1_600_000_002_399);
    expect(await erasure.trimmedUntil([other!.timeline])).toBe(0);
    // What somebody else sees, too, is there still; the rest is gone.
    expect(await ids({ ranges: [other!], limit: 50 })).toHaveLength(10);
    expect(await store.find('t5')).toBeDefined();
    expect(await store.find('t20')).toBeUndefined();
    let removed = 0;
    for (let count = 1; count > 0; removed += count) {
      count = await erasure.removeOld(2_000_000_005_000);
    }
    expect(await ids({ ranges: [{ timeline: timelineOf.user('u7') }], order: 'asc' })).toEqual([
      'm5007',
      'm5107',
      'm5207',
    ]);
    expect(removed).toBeGreaterThanOrEqual(5000);
    expect(await erasure.trimmedUntil(['any'])).toBeGreaterThanOrEqual(1_000_000_004_999);
  });

  it('finds all that it looks for by an index', async () => {
    const write = [record(0, [timelineOf.user('plan')], { messageId: 'plan' })];
    queries.length = 0;
    await store.write(write, ['a mark'], 1);
    await page({});
    await page({ order: 'asc', afterSeq: 5, beforeSeq: 500, deviceId: 'd' });
    await page({ ranges: [{ timeline: timelineOf.group(1), sentFrom: 5, seqFrom: 3 }] });
    await store.find('m7');
    await store.findIn('m7', [timelineOf.user('u7')]);
    await store.seqFrom(1_000_000_000_000);
    await store.isMarked('a mark');
    await erasure.trimmedUntil([timelineOf.user('u7')]);
    await erasure.eraseUser('u9');
    await erasure.trim(timelineOf.user('u8'), 10);
    await erasure.removeOld(5);
    const looked = queries.filter(
      ({ sql }) => /\bhistory(_entries)?\b/.test(sql) && !/history_(state|marks)/.test(sql),
    );
    expect(looked.length).toBeGreaterThan(10);
    for (const { sql, parameters } of looked) {
      expect(await scans(sql, parameters), sql).toEqual([]);
    }
  });

  /** Tables that the database would read from end to end. */
  async function scans(sql: string, parameters: readonly unknown[]): Promise<string[]> {
    if (kind === 'sqlite') {
      const plan = CompiledQuery.raw(`explain query plan ${sql}`, [...parameters]);
      const { rows } = await database.executeQuery<{ detail: string }>(plan);
      return rows
        .map(({ detail }) => detail)
        .filter((detail) => /^SCAN (history|known|entry|sent)/.test(detail));
    }
    // So few rows are read from end to end unless that is made dear.
    await database.executeQuery(CompiledQuery.raw('set enable_seqscan = off'));
    const plan = CompiledQuery.raw(`explain ${sql}`, [...parameters]);
    const { rows } = await database.executeQuery<Record<string, string>>(plan);
    const lines = rows.map((row) => row['QUERY PLAN'] ?? '');
    return lines.filter((line) => line.includes('Seq Scan on history'));
  }
});

describe.each(['sqlite', 'postgres'] as const)('a database of an older version on %s', (kind) => {
  it('is brought up to date with all that it holds', async () => {
    const { dataDir: dir, url, dialect } = await place(kind);
    const old = new Kysely<{
      users: object;
      devices: object;
      groups: object;
      members: object;
    }>({ dialect: dialect() });
    const migrations = migrationsFor(kind);
    const migrator = new Migrator({
      db: old,
      provider: { getMigrations: () => Promise.resolve(migrations) },
    });
    const { error } = await migrator.migrateTo('005_tracking');
    expect(error).toBeUndefined();
    for (let index = 0; index < 200; index++) {
      const user = `old-${String(index)}`;
      await old.insertInto('users').values({ user_id: user, created_at: index }).execute();
      await old
        .insertInto('devices')
        .values({
          user_id: user,
          device_id: 'phone',
          queue: `user.${user}.phone.nonce`,
          live_queue: `live.${user}.phone.nonce`,
          created_at: index,
        })
        .execute();
    }
    await old.insertInto('groups').values({ group_id: 'room', created_at: 5 }).execute();
    await old
      .insertInto('members')
      .values({ group_ref: 1, user_id: 'old-7', joined_at: 9, pending: 0 })
      .execute();
    await old.destroy();

    const storage = await openStorage({ dataDir: dir, url }, () => undefined);
    const device = await storage.devices.find('old-199', 'phone');
    expect(device).toMatchObject({ created_at: 199, missed_at: null, missed_for_good: 0 });
    expect(await storage.groups.find('room')).toMatchObject({ ref: 1, history: 'all' });
    expect(await storage.groups.listMemberships('old-7')).toEqual([{ ref: 1, joinedAt: 9 }]);
    await storage.history.write([record(1, [timelineOf.user('old-7')])], [], 1);
    expect(await storage.history.lastSeq()).toBe(1);
    await storage.close();
    // A second start finds nothing to do.
    const again = await openStorage({ dataDir: dir, url }, () => undefined);
    expect(await again.history.lastSeq()).toBe(1);
    await again.close();
  });
});
