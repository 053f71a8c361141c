import { chmod, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kysely, sql } from 'kysely';
import { expect, it, onTestFinished } from 'vitest';
import { FileDialect } from '../../server/dist/storage/sqlite-file.js';

it.each([
  ['a folder that was there before', ''],
  ['one that is made', 'new/folder'],
])('the database in %s is read by nobody else, whatever the umask', async (_what, path) => {
  const parent = await mkdtemp(join(tmpdir(), 'warren-private-'));
  const umask = process.umask(0);
  const dir = join(parent, path);
  const open = () => new Kysely<unknown>({ dialect: new FileDialect(dir) });
  const modes = async () => {
    const names = await readdir(dir);
    return Promise.all(names.map(async (name) => (await stat(join(dir, name))).mode & 0o777));
  };
  const databases: Kysely<unknown>[] = [];
  onTestFinished(async () => {
    process.umask(umask);
    for (const database of databases) await database.destroy();
    await rm(parent, { recursive: true });
  });
  await chmod(parent, 0o755);
  const database = open();
  databases.push(database);
  await sql`create table t (a)`.execute(database);
  // The log and its index beside it, too.
  expect(await modes()).toEqual([0o600, 0o600, 0o600]);
  if (path !== '') expect((await stat(dir)).mode & 0o777).toBe(0o700);
  // Of an older version, which left that to the umask.
  for (const name of await readdir(dir)) await chmod(join(dir, name), 0o644);
  const next = open();
  await sql`insert into t values (1)`.execute(next);
  await next.destroy();
  expect(new Set(await modes())).toEqual(new Set([0o600]));
});
