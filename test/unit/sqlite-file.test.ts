import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kysely, sql } from 'kysely';
import { expect, it, onTestFinished } from 'vitest';
import { FileDialect } from '../../server/dist/storage/sqlite-file.js';

interface Things {
  things: { id: number; name: string };
}

/** Statements are kept prepared: what may come in between must not make an answer of before, or none. */
async function open(): Promise<Kysely<Things>> {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-sqlite-'));
  const database = new Kysely<Things>({ dialect: new FileDialect(dataDir) });
  onTestFinished(async () => {
    await database.destroy();
    await rm(dataDir, { recursive: true, force: true });
  });
  await sql`create table things (id integer primary key, name text not null)`.execute(database);
  return database;
}

const add = (database: Kysely<Things>, id: number, name: string) =>
  database.insertInto('things').values({ id, name }).execute();
const all = (database: Kysely<Things>) =>
  database.selectFrom('things').selectAll().orderBy('id').execute();

it('a statement is good again after it has failed, in a transaction and outside', async () => {
  const database = await open();
  await add(database, 1, 'one');
  for (const attempt of [1, 2]) {
    await expect(add(database, 1, `again ${String(attempt)}`)).rejects.toThrow(/UNIQUE/);
    const inTransaction = database.transaction().execute(async (transaction) => {
      await add(transaction, 2, 'two');
      await add(transaction, 1, 'again');
    });
    await expect(inTransaction).rejects.toThrow(/UNIQUE/);
  }
  await add(database, 2, 'two');
  expect(await all(database)).toEqual([
    { id: 1, name: 'one' },
    { id: 2, name: 'two' },
  ]);
});

it('a statement sees the columns that a table was given since', async () => {
  const database = await open();
  await add(database, 1, 'one');
  expect(await all(database)).toEqual([{ id: 1, name: 'one' }]);
  await sql`alter table things add column size integer not null default 3`.execute(database);
  expect(await all(database)).toEqual([{ id: 1, name: 'one', size: 3 }]);
});

it('any number of statements can be asked, one after the other and again', async () => {
  const database = await open();
  await add(database, 1, 'one');
  for (const round of [1, 2]) {
    for (let index = 0; index < 500; index++) {
      const { rows } = await sql<{ sum: number }>`
        select id + ${sql.raw(String(index))} as sum from things
      `.execute(database);
      expect([round, rows[0]?.sum]).toEqual([round, 1 + index]);
    }
  }
});
