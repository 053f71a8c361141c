import { spawn, spawnSync } from 'node:child_process';
import { copyFile, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startPostgres, type Postgres } from '../support/postgres.js';
import { QueueWatch } from '../support/queue-watch.js';
import { request, startStack, uniqueUser, userToken, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let watch: QueueWatch;
beforeAll(async () => {
  watch = await QueueWatch.open();
});
afterAll(async () => {
  await watch.close();
});

async function open(config: object, log?: string[]): Promise<Stack> {
  const stack = await startStack({
    config,
    ...(log !== undefined && { log: (line: string) => log.push(line) }),
  });
  onTestFinished(() => stack.close());
  return stack;
}

const store = (stack: Stack, user: string, data: unknown) =>
  stack.send({ user }, data, { delivery: 'stored' });

/** All that a user has in the history, the oldest first. */
async function read(stack: Stack, user: string): Promise<unknown[]> {
  const all: unknown[] = [];
  for (let after: string | undefined; ;) {
    const cursor = after === undefined ? '' : `&after=${after}`;
    const { body } = await stack.api(
      'GET',
      `/v1/history?user=${user}&order=asc&limit=200${cursor}`,
    );
    all.push(...body.items.map(({ data }) => data));
    after = (body as { next?: string }).next;
    if (after === undefined) return all;
  }
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
const isRoot = process.getuid?.() === 0;

describe('a database that cannot be written', () => {
  // Only root may mount a disk that is small.
  it.runIf(isRoot)('because its disk is full holds up no message, and loses none', async () => {
    const disk = await mkdtemp(join(tmpdir(), 'warren-full-'));
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', disk]).status).toBe(0);
    onTestFinished(async () => {
      spawnSync('umount', ['-l', disk]);
      await rm(disk, { recursive: true, force: true });
    });
    const log: string[] = [];
    const stack = await open({ dataDir: join(disk, 'data') }, log);
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    expect((await store(stack, user, 0)).status).toBe(202);
    await until(async () => (await read(stack, user)).length === 1);
    const filler = join(disk, 'filler');
    await writeFile(filler, Buffer.alloc(16 * 1024 * 1024)).catch(() => undefined);
    for (let index = 1; index < 300; index++) {
      const { status, body } = await store(stack, user, index);
      expect([status, body.recipients]).toEqual([202, [{ user, outcome: 'queued' }]]);
    }
    await until(
      () => log.some((line) => line.includes('SQLITE_FULL')),
      () => log.filter((line) => !line.includes('"level":20')).join(''),
    );
    // What needs the database at once is refused, and says why.
    const refused = await stack.api('PUT', `/v1/users/${uniqueUser()}`, {});
    expect([refused.status, refused.body.code]).toEqual([503, 'database_unavailable']);
    expect((await read(stack, user)).length).toBeLessThan(300);
    expect((await stack.api('GET', '/health/live')).status).toBe(200);
    await rm(filler);
    await until(async () => (await read(stack, user)).length === 300);
    expect(await read(stack, user)).toEqual(numbers(300));
    expect(log.filter((line) => line.includes('they wait on the broker'))).toHaveLength(1);
    expect(log.some((line) => line.includes('written down again'))).toBe(true);
    expect((await stack.api('PUT', `/v1/users/${uniqueUser()}`, {})).status).toBe(200);
  });

  it('because somebody has locked it loses nothing, and goes on', async () => {
    const log: string[] = [];
    const stack = await open({}, log);
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    const file = join(stack.dataDir, 'warren.sqlite');
    const script = `
      const Libsql = require('libsql');
      const database = new Libsql(${JSON.stringify(file)});
      database.exec('begin exclusive');
      console.log('locked');
      process.stdin.once('data', () => { database.exec('rollback'); process.exit(); });`;
    const holder = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    expect((await stack.send({ user }, 'too late', { ttlMs: 100 })).status).toBe(202);
    for (let index = 0; index < 20; index++) {
      expect((await store(stack, user, index)).status).toBe(202);
    }
    const refused = await stack.api('PUT', `/v1/users/${uniqueUser()}`, {});
    expect(refused.body.code).toBe('database_unavailable');
    expect(await read(stack, user)).toEqual([]);
    await until(() => log.some((line) => line.includes('dead letters cannot be kept')));
    holder.stdin.write('go on');
    await until(async () => (await read(stack, user)).length === 20);
    expect(await read(stack, user)).toEqual(numbers(20));
    await until(async () => {
      const { body } = await stack.admin('GET', `dead-letters?user=${user}`);
      return body.letters.some(({ reason }) => reason === 'expired');
    });
    // It waits with the connection that it has.
    expect(log.filter((line) => line.includes('dead letters cannot be kept'))).toHaveLength(1);
    expect(log.some((line) => line.includes('takes dead letters had an error'))).toBe(false);
  });

  it('because it is damaged is told of at the start; a backup makes all good', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-damaged-'));
    onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
    const first = await startStack({ config: { dataDir } });
    const user = uniqueUser();
    await store(first, user, 0);
    await until(async () => (await read(first, user)).length === 1);
    await first.server.close();
    const file = join(dataDir, 'warren.sqlite');
    await copyFile(file, `${file}.backup`);
    await writeFile(file, 'this is no database'.repeat(1000));
    await expect(startStack({ config: { dataDir } })).rejects.toMatchObject({
      code: 'database_unusable',
      message: expect.stringMatching(
        /warren\.sqlite is damaged, or no database \(SQLITE_NOTADB\)/,
      ) as string,
      remedy: expect.stringContaining('backup') as string,
    });
    expect((await stat(file)).size).toBe(19_000);
    // A publisher needs no server; what is stored waits on the broker.
    const helper = await startStack({ config: { history: off() } });
    await helper.server.warren.publisher.toUser(user, 'note', 1, { delivery: 'stored' });
    await helper.close();
    expect(await watch.waiting('warren.history')).toBe(1);
    await copyFile(`${file}.backup`, file);
    const second = await open({ dataDir });
    await until(async () => (await read(second, user)).length === 2);
    expect(await read(second, user)).toEqual([0, 1]);
  });
});

it('a worker that comes late writes nothing of users and groups that were removed meanwhile', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-late-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  const early = await startStack({ config: { dataDir, history: off() } });
  const [gone, other] = [uniqueUser(), uniqueUser()];
  const group = `late-${gone}`;
  await early.api('PUT', `/v1/users/${gone}`, {});
  await early.api('PUT', `/v1/groups/${group}/members/${other}`);
  const toGroup = (data: unknown) => early.send({ group }, data, { delivery: 'stored' });
  for (let index = 0; index < 10; index++) {
    await store(early, gone, index);
    await toGroup('old');
  }
  expect((await early.api('DELETE', `/v1/users/${gone}`)).status).toBe(204);
  expect((await early.api('DELETE', `/v1/groups/${group}`)).status).toBe(204);
  await early.api('PUT', `/v1/groups/${group}/members/${other}`);
  await toGroup('new');
  await store(early, gone, 'after');
  // Its time in the mailbox, where there is one, is over long before.
  await early.send({ user: other }, 'short', { delivery: 'stored', ttlMs: 1 });
  await early.server.close();
  const stack = await open({ dataDir });
  await until(async () => (await read(stack, gone)).length > 0);
  expect(await read(stack, gone)).toEqual(['after']);
  const { body } = await stack.api('GET', `/v1/history?group=${group}`);
  expect(body.items.map(({ data }) => data)).toEqual(['new']);
  expect(await read(stack, other)).toContain('short');
});

it('a history that is behind says so to a device that recovers, until it has caught up', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-behind-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  const stack = await open({ dataDir, history: off() });
  const user = uniqueUser();
  await stack.session(user, { deviceId: 'd' });
  await store(stack, user, 'not written down yet');
  const recover = () =>
    request(`${stack.apiUrl}/v1/me/recovery?deviceId=d&lastAt=0`, 'GET', userToken(user));
  const behind = await recover();
  expect([behind.status, behind.body.code]).toEqual([503, 'history_behind']);
  expect(Number(behind.headers.get('retry-after'))).toBeGreaterThan(0);
  await open({ dataDir });
  await until(async () => (await recover()).status === 200);
  expect((await recover()).body.items.map(({ data }) => data)).toEqual(['not written down yet']);
});

it('a history that is to keep so many of each user keeps the newest', async () => {
  const stack = await open({ history: { limits: { days: 0, count: 5 }, hasWorker: true } });
  const [user, other] = [uniqueUser(), uniqueUser()];
  for (let index = 0; index < 20; index++) await store(stack, user, index);
  for (let index = 0; index < 4; index++) await store(stack, other, index);
  await until(async () => (await read(stack, user)).length === 5);
  expect(await read(stack, user)).toEqual([15, 16, 17, 18, 19]);
  expect(await read(stack, other)).toEqual(numbers(4));
});

const off = () => ({ limits: { days: 0, count: 0 }, hasWorker: false });

describe('a PostgreSQL that is gone', () => {
  let postgres: Postgres;
  beforeAll(async () => {
    postgres = await startPostgres();
  });
  afterAll(async () => {
    await postgres.close();
  });

  it('holds up no stored message, and has them all when it is back', async () => {
    const stack = await open({ databaseUrl: postgres.url });
    const user = uniqueUser();
    const { queue } = await stack.session(user, { deviceId: 'phone' });
    await store(stack, user, 0);
    await until(async () => (await read(stack, user)).length === 1);
    await postgres.stop();
    const exported = await stack.api('GET', `/v1/users/${user}/export`);
    expect([exported.status, exported.body.code]).toEqual([503, 'database_unavailable']);
    for (let index = 1; index < 50; index++) {
      const { status, body } = await store(stack, user, index);
      // Whether there is a mailbox, nobody can say now.
      expect([status, body.recipients]).toEqual([202, [{ user, outcome: 'stored' }]]);
    }
    expect((await stack.api('GET', `/v1/history?user=${user}`)).body.code).toBe(
      'database_unavailable',
    );
    expect(await watch.waiting(queue)).toBe(50);
    await postgres.restart();
    await until(async () => (await stack.api('GET', `/v1/history?user=${user}`)).status === 200);
    await until(async () => (await read(stack, user)).length === 50);
    expect(await read(stack, user)).toEqual(numbers(50));
  });

  it('takes nothing with it that was written when its plug is pulled', async () => {
    const stack = await open({ databaseUrl: postgres.url });
    const user = uniqueUser();
    let sent = 0;
    for (let round = 0; round < 3; round++) {
      const pulling = postgres.restart();
      for (let index = 0; index < 100; index++) {
        expect((await store(stack, user, sent)).status).toBe(202);
        sent++;
      }
      await pulling;
    }
    await until(async () => (await read(stack, user).catch(() => [])).length >= sent);
    expect(await read(stack, user)).toEqual(numbers(sent));
  });

  it('with several workers has each message once, in order, whichever of them dies', async () => {
    const config = { databaseUrl: postgres.url };
    let stacks = await Promise.all([open(config), open(config), open(config)]);
    const user = uniqueUser();
    for (let round = 0; round < 3; round++) {
      const sending = (async () => {
        for (let index = 0; index < 200; index++) {
          await store(stacks[2], user, round * 200 + index);
        }
      })();
      // The worker that writes is the one that came first.
      await stacks[0].server.close();
      await sending;
      stacks = [stacks[1], await open(config), stacks[2]];
    }
    const stack = stacks[2];
    await until(async () => (await read(stack, user)).length >= 600);
    expect(await read(stack, user)).toEqual(numbers(600));
  });
});
