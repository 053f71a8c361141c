import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EventLog } from '../support/events.js';
import { startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let log: EventLog;
beforeAll(async () => {
  stack = await startStack({ extras: { timing: { offlineGraceMs: 300 } } });
  log = await EventLog.open('user.#', 'session.#');
});
afterAll(async () => {
  await log.close();
  await stack.close();
});

const presenceOf = async (...users: string[]) =>
  (await stack.api('POST', '/v1/presence', { users })).body.users;
const isOnline = async (user: string): Promise<boolean> => (await presenceOf(user))[0]!.online;

const changesOf = (user: string): string[] =>
  log.of(user).filter((name) => name.startsWith('user.'));

async function connected(user: string, deviceId = 'phone') {
  const client = stack.client(user, TRANSPORTS.stomp(), { deviceId });
  client.handle('*', () => undefined);
  client.start();
  await client.ready();
  return client;
}

describe('presence', () => {
  it('tells of many users at once, also of those whom nobody knows, in the order asked for', async () => {
    const [here, away] = [uniqueUser(), uniqueUser()];
    await connected(here);
    await stack.api('PUT', `/v1/users/${away}`);
    await until(() => isOnline(here));
    const many = Array.from({ length: 3000 }, (_, index) => `nobody-${String(index)}`);
    const users = await presenceOf(...many, here, away);
    expect(users.map(({ user }) => user)).toEqual([...many, here, away]);
    expect(users.filter(({ online }) => online).map(({ user }) => user)).toEqual([here]);
    expect(users.at(-1)).toEqual({ user: away, online: false, lastSeenAt: null });
    expect(Date.parse(users.at(-2)!.lastSeenAt ?? '')).toBeGreaterThan(Date.now() - 60_000);
    const { body } = await stack.api('GET', `/v1/presence?users=${away},${here}`);
    expect(body.users.map(({ online }) => online)).toEqual([false, true]);
  });

  it.each(['', '?users=', '?user=a', `?users=${'a'.repeat(300)}`])(
    'refuses the query "%s"',
    async (query) => {
      expect((await stack.api('GET', `/v1/presence${query}`)).status).toBe(400);
    },
  );

  it('is told when the first device comes and when the last one has gone, not in between', async () => {
    const user = uniqueUser();
    const phone = await connected(user, 'phone');
    await until(() => log.of(user).includes('user.online'));
    const tablet = await connected(user, 'tablet');
    await phone.stop();
    const marker = await connected(uniqueUser());
    await marker.stop();
    await until(() => log.of(marker.userId).includes('user.offline'));
    expect(changesOf(user)).toEqual(['user.online']);
    await tablet.stop();
    await until(() => log.of(user).includes('user.offline'));
    expect(await isOnline(user)).toBe(false);
    expect(changesOf(user)).toEqual(['user.online', 'user.offline']);
  });

  it('ends with the device that is revoked, and with the user who is removed', async () => {
    const [revoked, removed] = [uniqueUser(), uniqueUser()];
    await connected(revoked);
    await connected(removed);
    await until(() => [revoked, removed].every((user) => log.of(user).includes('user.online')));
    await stack.api('POST', `/v1/users/${revoked}/revoke`, {});
    await stack.api('DELETE', `/v1/users/${removed}`);
    for (const user of [revoked, removed]) {
      await until(async () => !(await isOnline(user)));
      await until(() => log.of(user).includes('user.offline'));
    }
    expect(log.of(revoked)).toContain('session.revoked');
    expect(log.of(removed)).toContain('session.ended');
  });

  it('is right again after a restart of the server, of those who went meanwhile too', async () => {
    const first = await startStack({ extras: { timing: { offlineGraceMs: 300 } } });
    const [stayer, leaver] = [uniqueUser(), uniqueUser()];
    const open = async (user: string) => {
      const client = first.client(user, TRANSPORTS.amqp(), { deviceId: 'phone' });
      client.handle('*', () => undefined);
      client.start();
      await client.ready();
      return client;
    };
    await open(stayer);
    const leaving = await open(leaver);
    await until(() => log.of(leaver).includes('user.online') && log.of(stayer).length > 0);
    const { dataDir } = first;
    await first.server.close();
    await leaving.stop();
    const second = await startStack({
      config: { dataDir },
      extras: { timing: { offlineGraceMs: 300 } },
    });
    try {
      const reply = await second.api('POST', '/v1/presence', { users: [stayer, leaver] });
      expect(reply.body.users.map(({ online }) => online)).toEqual([true, false]);
      await until(() => log.of(leaver).includes('user.offline'));
      expect(log.of(stayer).filter((name) => name === 'user.online')).toHaveLength(1);
    } finally {
      await second.close();
      await first.close();
    }
  });
});
