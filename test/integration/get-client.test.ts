import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  getClient,
  stomp,
  UnauthorizedError,
  type Client,
  type StateChange,
  type WarrenError,
} from '@warren/client';
import {
  collect,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

async function failure(client: Client): Promise<string> {
  client.start();
  try {
    await client.ready();
  } catch (error) {
    return (error as WarrenError).code;
  }
  return 'none';
}

describe('getClient', () => {
  const amqp = TRANSPORTS.amqp;

  it('gives one client for a device, however often it is called, and takes the newest getToken', async () => {
    const user = uniqueUser();
    const first = stack.client(user, amqp(), {
      getToken: () => Promise.reject(new Error('the old one')),
    });
    const second = stack.client(user, amqp());
    expect(second).toBe(first);
    expect(stack.client(user, amqp(), { deviceId: 'another' })).not.toBe(first);
    second.start();
    await second.ready();
    expect(() => stack.client(user, TRANSPORTS.stomp(), { deviceId: 'amqp' })).toThrow(
      expect.objectContaining({ code: 'conflicting_options' }),
    );
  });

  it('refuses options that cannot work', () => {
    const good = { apiUrl: 'http://127.0.0.1:1', userId: 'a', deviceId: 'd', getToken: () => 'x' };
    for (const bad of [
      { apiUrl: 'ftp://x' },
      { apiUrl: '' },
      { userId: '' },
      { deviceId: '' },
      { deviceName: '' },
      { deviceName: 'x'.repeat(101) },
      { getToken: 'x' as never },
      { drainMs: -1 },
      { handlerAttempts: 0 },
      { concurrency: 0 },
      { prefetch: Number.NaN },
      { background: 'never' as never },
      { background: { graceMs: -1 } },
      { dedupe: 'disk' as never },
    ]) {
      expect(() => getClient({ ...good, ...bad })).toThrow(
        expect.objectContaining({ code: 'invalid_options' }),
      );
    }
    const { deviceId: _device, ...without } = good;
    expect(() => getClient(without)).toThrow(/deviceId is required in Node/);
  });

  it('refuses a second call with other values, and takes the same ones', () => {
    const user = uniqueUser();
    const chosen = { concurrency: 2, background: { graceMs: 10 }, handlerTimeoutMs: 7 };
    const client = stack.client(user, amqp(), chosen);
    expect(stack.client(user, amqp(), chosen)).toBe(client);
    for (const other of [{ concurrency: 3 }, { background: 'keep' } as const, { prefetch: 1 }]) {
      expect(() => stack.client(user, amqp(), other)).toThrow(
        expect.objectContaining({ code: 'conflicting_options' }),
      );
    }
  });

  it.runIf(!('WebSocket' in globalThis))(
    'says what to do where there is no WebSocket',
    async () => {
      const client = stack.client(uniqueUser(), stomp());
      client.start();
      await until(() => client.getSnapshot().state === 'failed');
      expect(client.getSnapshot().reason?.message).toMatch(/use amqp\(\), or .*createWebSocket/);
    },
  );

  it('does not let a stopped client come back beside a newer one', async () => {
    const user = uniqueUser();
    const old = stack.client(user, amqp());
    await old.stop();
    const newer = stack.client(user, amqp());
    expect(newer).not.toBe(old);
    expect(() => {
      old.start();
    }).toThrow(expect.objectContaining({ code: 'conflicting_options' }));
  });

  it.each([
    ['nobody is logged in', { getToken: () => null }, 'logged_out'],
    [
      'the application refuses',
      { getToken: () => Promise.reject(new UnauthorizedError()) },
      'unauthorized',
    ],
    ['the server refuses the token twice', { getToken: () => 'nonsense' }, 'unauthorized'],
    [
      'the token is somebody else’s',
      { getToken: () => userToken('somebody-else') },
      'user_mismatch',
    ],
  ])('ends in failed when %s', async (_what, options, code) => {
    const client = stack.client(uniqueUser(), amqp(), options);
    expect(await failure(client)).toBe(code);
    expect(client.getSnapshot()).toMatchObject({ state: 'failed', reason: { code } });
  });

  describe('when the login is switched under it', () => {
    let first: string;
    let second: string;
    let token: string;
    let client: Client;
    beforeEach(async () => {
      [first, second] = [uniqueUser(), uniqueUser()];
      token = userToken(first);
      client = stack.client(first, amqp(), { getToken: () => token, deviceId: 'phone' });
      await stack.session(second, { deviceId: 'phone' });
      client.start();
      await client.ready();
      token = userToken(second);
    });

    it('leaves the other user’s devices alone, and says that its own is still there', async () => {
      await expect(client.logout()).rejects.toMatchObject({ code: 'logout_incomplete' });
      expect((await stack.user(first)).devices).toHaveLength(1);
      expect((await stack.user(second)).devices).toHaveLength(1);
    });

    it('does nothing for the other user, and ends', async () => {
      await stack.api('POST', `/v1/users/${first}/revoke`, {});
      const calls = [
        () => client.history(),
        () => client.send({ user: first }, 'note', 'not from the second'),
        () => client.devices(),
      ];
      for (const call of calls)
        await expect(call()).rejects.toMatchObject({ code: 'user_mismatch' });
      expect(client.getSnapshot()).toMatchObject({ state: 'failed' });
      expect((await stack.user(second)).devices.map(({ deviceId }) => deviceId)).toEqual(['phone']);
    });
  });

  it('asks for a fresh token when the server refuses one', async () => {
    const user = uniqueUser();
    const reasons: string[] = [];
    const client = stack.client(user, amqp(), {
      getToken: ({ reason }) => {
        reasons.push(reason);
        return reason === 'connect' ? 'stale' : userToken(user);
      },
    });
    client.start();
    await client.ready();
    expect(reasons).toEqual(['connect', 'unauthorized']);
  });

  it('tries again when getToken fails or the server cannot be reached', async () => {
    const user = uniqueUser();
    let calls = 0;
    const client = stack.client(user, amqp(), {
      getToken: () =>
        ++calls < 3 ? Promise.reject(new Error('the login server is away')) : userToken(user),
    });
    const changes: StateChange[] = [];
    client.on('state', (change) => changes.push(change));
    client.start();
    await client.ready();
    const waits = changes.filter(({ current }) => current === 'waiting');
    expect(waits.map(({ reason }) => reason?.code)).toEqual([
      'token_unavailable',
      'token_unavailable',
    ]);
    expect(waits.every(({ retryAt }) => retryAt !== undefined)).toBe(true);

    const lost = stack.client(user, amqp(), { deviceId: 'lost', apiUrl: 'http://127.0.0.1:1' });
    lost.start();
    await until(() => lost.getSnapshot().reason?.code === 'api_unreachable');
    await lost.stop();
    expect(lost.getSnapshot().state).toBe('closed');
  });

  it('ends ready() when it is stopped, and refuses it before start()', async () => {
    const client = stack.client(uniqueUser(), amqp(), {
      getToken: () => new Promise<string>(() => undefined),
    });
    await expect(client.ready()).rejects.toMatchObject({ code: 'not_started' });
    client.start();
    const ready = client.ready();
    await client.stop();
    await expect(ready).rejects.toMatchObject({ code: 'stopped' });
  });

  it.each(['stomp', 'amqp'] as const)(
    'can be started and stopped in any order by %s, and ends with one connection',
    async (name) => {
      const user = uniqueUser();
      const client = stack.client(user, TRANSPORTS[name]());
      collect(client);
      for (let index = 0; index < 10; index++) {
        client.start();
        if (index % 3 === 0) await client.ready();
        void client.stop();
      }
      client.start();
      client.start();
      await client.ready();
      expect(stack.client(user, TRANSPORTS[name]())).toBe(client);
      const { devices } = await stack.user(user);
      expect(devices[0]!.online).toBe(true);
      await stack.send({ user }, 1);
      await client.stop();
      await until(async () => !(await stack.user(user)).online);
    },
  );

  it('gives up on an answer that does not end, and can be stopped meanwhile', async () => {
    const server = createServer((_request, response) => {
      response.writeHead(201, { 'content-type': 'application/json' });
      response.write('{"protocol":');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const apiUrl = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
    const client = stack.client(uniqueUser(), amqp(), { apiUrl, timeoutMs: 100 });
    client.start();
    await until(() => client.getSnapshot().state === 'waiting');
    await until(() => client.getSnapshot().state === 'authorizing');
    await client.stop();
    server.closeAllConnections();
    server.close();
  });

  it('stops asking for a token when it is stopped', async () => {
    let aborted = false;
    const client = stack.client(uniqueUser(), amqp(), {
      getToken: ({ signal }) =>
        new Promise(() => {
          signal.addEventListener('abort', () => (aborted = true));
        }),
    });
    client.start();
    await client.stop();
    expect(aborted).toBe(true);
  });
});
