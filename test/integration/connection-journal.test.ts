import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { consumeByAmqp, consumeByStomp, type RawConsumer } from '../support/liar.js';
import { forgetDatabase, startStack, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

const { endpoints } = inject('broker');

let dataDir: string;
let stacks: Stack[];
let open: RawConsumer[];
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'warren-journal-'));
  stacks = [];
  open = [];
});
afterEach(async () => {
  await Promise.all(open.map((consumer) => consumer.close()));
  await Promise.all(stacks.map((stack) => stack.close()));
});

/** On a file, also where the other tests have PostgreSQL: a database of its own. */
async function start(amqpUrl = endpoints.amqpUrl, log?: (line: string) => void): Promise<Stack> {
  const stack = await startStack({
    endpoints: { ...endpoints, amqpUrl },
    config: { dataDir, databaseUrl: undefined },
    ...(log !== undefined && { log }),
  });
  stacks.push(stack);
  return stack;
}

async function connect(stack: Stack, user: string, login?: string): Promise<RawConsumer> {
  const grant = await stack.session(user, { deviceId: 'phone' });
  const consumer = await consumeByStomp(grant, { ...(login !== undefined && { login }) });
  open.push(consumer);
  return consumer;
}

const onlineOf = async (stack: Stack, users: string[]): Promise<boolean[]> =>
  (await stack.api('POST', '/v1/presence', { users })).body.users.map(({ online }) => online);

/** With an account of its own that has these permissions where the broker tells of connections. */
async function accountWith(permissions: object): Promise<{ url: string; remove: () => void }> {
  const { origin, username, password } = new URL(endpoints.managementUrl);
  const name = `server-${uniqueUser()}`;
  const put = async (path: string, method: string, body?: object): Promise<void> => {
    const response = await fetch(`${origin}/api/${path}`, {
      method,
      headers: {
        authorization: `Basic ${btoa(`${username}:${decodeURIComponent(password)}`)}`,
        'content-type': 'application/json',
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${path}: ${String(response.status)}`);
  };
  const all = { configure: '.*', write: '.*', read: '.*' };
  await put(`users/${name}`, 'PUT', { password: 'for-this-test', tags: 'administrator' });
  await put(`permissions/warren/${name}`, 'PUT', all);
  await put(`permissions/%2F/${name}`, 'PUT', permissions);
  const url = new URL(endpoints.amqpUrl);
  url.username = name;
  url.password = 'for-this-test';
  return { url: url.toString(), remove: () => void put(`users/${name}`, 'DELETE') };
}

describe('what a server knows of connections that are older than itself', () => {
  it('is all that happened while none ran: who came, who went, and under which name', async () => {
    const first = await start();
    const [stayer, leaver, newcomer, liar] = Array.from({ length: 4 }, uniqueUser) as [
      string,
      string,
      string,
      string,
    ];
    await connect(first, stayer);
    const leaving = await connect(first, leaver);
    const grants = [];
    for (const user of [newcomer, liar]) {
      grants.push(await first.session(user, { deviceId: 'phone' }));
    }
    await until(async () => (await onlineOf(first, [stayer, leaver])).every(Boolean));
    await first.server.close();
    await leaving.close();
    open.push(await consumeByAmqp(grants[0]!));
    const lying = await consumeByStomp(grants[1]!, { login: 'mallory' });
    open.push(lying);
    const second = await start();
    expect((await onlineOf(second, [stayer, leaver, newcomer])).join()).toBe('true,false,true');
    await until(lying.isGone);
    expect(open.filter((consumer) => consumer.isGone())).toEqual([leaving, lying]);
  });

  it('is the same for a server that another one takes the events from', async () => {
    const first = await start();
    const users = Array.from({ length: 30 }, uniqueUser);
    await Promise.all(users.map((user) => connect(first, user)));
    const second = await start();
    expect((await onlineOf(second, users)).every(Boolean)).toBe(true);
    // Whoever goes on from there knows them, too.
    await first.server.close();
    await second.server.close();
    const third = await start();
    expect((await onlineOf(third, users)).every(Boolean)).toBe(true);
  });

  it('is asked of the broker for each device, when the events were not kept', async () => {
    const first = await start();
    const [here, away] = [uniqueUser(), uniqueUser()];
    const consumer = await connect(first, here);
    await first.session(away, { deviceId: 'phone' });
    await first.server.close();
    // As after an upgrade, or when somebody deletes the queue, and the table has not heard of them.
    await forgetDatabase(endpoints.amqpUrl, dataDir);
    await forgetRows(dataDir);
    const second = await start();
    expect(await onlineOf(second, [here, away])).toEqual([true, false]);
    // Remembered, so that the next server need not ask.
    await second.server.close();
    const third = await start();
    expect(await onlineOf(third, [here, away])).toEqual([true, false]);
    await consumer.close();
    await until(async () => !(await onlineOf(third, [here]))[0]);
  });

  it('is asked for at each start by an account that may not keep the events, which says so once', async () => {
    const lines: string[] = [];
    const { url, remove } = await accountWith({
      configure: '^amq\\.gen.*$',
      write: '^amq\\.gen.*$',
      read: '^(amq\\.gen.*|amq\\.rabbitmq\\.event)$',
    });
    try {
      const first = await start(url, (line) => lines.push(line));
      const user = uniqueUser();
      await connect(first, user);
      await until(async () => (await onlineOf(first, [user]))[0]!);
      await first.server.close();
      const second = await start(url);
      expect(await onlineOf(second, [user])).toEqual([true]);
      const warnings = lines.filter((line) => line.includes('so that a restart forgets it'));
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toContain('warren doctor');
    } finally {
      await Promise.all(stacks.map((stack) => stack.server.close()));
      remove();
    }
  });
});

async function forgetRows(directory: string): Promise<void> {
  const { openDatabase } = await import('../../server/dist/storage/database.js');
  const database = await openDatabase({ dataDir: directory }, () => undefined);
  await database.deleteFrom('connections').execute();
  await database.destroy();
}
