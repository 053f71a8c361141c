import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import jwt from 'jsonwebtoken';
import { Proxy, via } from '../support/proxy.js';
import { QueueWatch } from '../support/queue-watch.js';
import { CONSUMERS, consumeByAmqp, consumeByStomp } from '../support/liar.js';
import {
  collect,
  request,
  startStack,
  TRANSPORTS,
  uniqueUser,
  USER_SECRET,
  userToken,
  type Stack,
  untilDepths,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let watch: QueueWatch;
let user: string;
beforeAll(async () => {
  stack = await startStack({ config: { maxDevices: 3 } });
  watch = await QueueWatch.open();
});
afterAll(async () => {
  await watch.close();
  await stack.close();
});
beforeEach(() => {
  user = uniqueUser();
});

const open = (token: string, body: object) =>
  request(`${stack.apiUrl}/v1/sessions`, 'POST', token, body);
const olderToken = (userId: string) =>
  userToken(userId, { iat: Math.floor(Date.now() / 1000) - 60 });
const isIn = async (userId: string) => (await stack.user(userId)).online;

describe('a user’s devices', () => {
  it('are reached all by the user’s key, and one by its own', async () => {
    const phone = await stack.session(user, { deviceId: 'phone' });
    const tablet = await stack.session(user, { deviceId: 'tablet' });
    await stack.send({ user }, 'to all');
    await stack.send({ device: { user, device: 'phone' } }, 'to one');
    const { devices } = await stack.user(user);
    expect(devices.map(({ queue }) => queue)).toEqual([phone.queue, tablet.queue]);
    await untilDepths(stack, user, 2, 1);
  });

  it('are online while they are connected, and last seen when that ended', async () => {
    const grant = await stack.session(user, { deviceId: 'phone' });
    const opened = (await stack.user(user)).devices[0]!.lastSeenAt!;
    const consumer = await consumeByAmqp(grant);
    await until(() => isIn(user));
    await consumer.close();
    await until(async () => !(await isIn(user)));
    await until(async () => (await stack.user(user)).devices[0]!.lastSeenAt! > opened);
  });

  it('are as many as are allowed, and no more, until one is logged out', async () => {
    for (const deviceId of ['a', 'b', 'c']) await stack.session(user, { deviceId });
    const refused = await open(userToken(user), { deviceId: 'd' });
    expect(refused).toMatchObject({ status: 403, body: { code: 'too_many_devices' } });
    expect((await stack.session(user, { deviceId: 'a' })).resumed).toBe(true);
    await request(`${stack.apiUrl}/v1/sessions/b`, 'DELETE', userToken(user));
    await stack.session(user, { deviceId: 'd' });
    const devices = ['1', '2', '3', '4'];
    const provisioned = await stack.api('PUT', `/v1/users/${user}-x`, { devices });
    expect(provisioned.body.code).toBe('too_many_devices');
    expect((await stack.api('GET', `/v1/users/${user}-x`)).status).toBe(404);
  });

  it('tell their client when there are too many', async () => {
    for (const deviceId of ['a', 'b', 'c']) await stack.session(user, { deviceId });
    const client = stack.client(user, TRANSPORTS.amqp());
    client.start();
    await until(() => client.getSnapshot().state === 'failed');
    expect(client.getSnapshot().reason?.code).toBe('too_many_devices');
  });

  it('are forgotten when their queue has expired on the broker', async () => {
    const { queue } = await stack.session(user, { deviceId: 'phone' });
    const kept = await stack.session(user, { deviceId: 'tablet' });
    await watch.remove(queue);
    await until(async () => (await stack.user(user)).devices.length === 1);
    expect((await stack.user(user)).devices[0]!.queue).toBe(kept.queue);
    await watch.remove(kept.queue);
    await until(async () => (await stack.api('GET', `/v1/users/${user}`)).status === 404);
  });

  it('are forgotten when their queue expired while no server looked', async () => {
    const dataDir = stack.dataDir;
    const { queue } = await stack.session(user, { deviceId: 'phone' });
    await stack.server.close();
    await watch.remove(queue);
    stack = await startStack({ config: { maxDevices: 3, dataDir } });
    await until(async () => (await stack.api('GET', `/v1/users/${user}`)).status === 404);
  });
});

/** Of all reasons, as the metrics count them. */
async function closedConnections(): Promise<number> {
  const { body } = await request(`${stack.apiUrl}/metrics`, 'GET');
  const counts = (body as unknown as string).matchAll(
    /^warren_connections_closed_total\{.*\} (\d+)$/gm,
  );
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

describe('one consumer for a device', () => {
  it.each([
    ['by stomp', consumeByStomp, {}],
    ['by stomp under a false name', consumeByStomp, { login: 'mallory' }],
    ['by stomp under an account’s name', consumeByStomp, { login: 'warren-server' }],
    ['by amqp', consumeByAmqp, {}],
    ['by amqp under a false name', consumeByAmqp, { login: 'mallory' }],
  ] as const)(
    'a takeover closes the older one, %s, and what it held comes first',
    async (...args) => {
      const [, consume, lie] = args;
      const grant = await stack.session(user, { deviceId: 'phone' });
      for (const data of ['1', '2', '3']) await stack.send({ user }, data);
      const closedBefore = await closedConnections();
      const older = await consume(grant, lie);
      await until(() => older.isGone() || older.bodies.length === 3);
      const next = await stack.session(user, { deviceId: 'phone' });
      expect(next.queue).toBe(grant.queue);
      const newer = await consumeByAmqp(next);
      await stack.send({ user }, '4');
      await until(() => newer.bodies.length === 4);
      expect(newer.bodies).toEqual(['"1"', '"2"', '"3"', '"4"']);
      await until(older.isGone);
      expect(await closedConnections()).toBe(closedBefore + 1);
      await newer.close();
      await older.close();
      const renewal = await open(userToken(user), {
        deviceId: 'phone',
        sessionId: grant.sessionId,
      });
      expect(renewal).toMatchObject({ status: 409, body: { code: 'session_replaced' } });
    },
  );

  it('a takeover closes one that is half open: its network swallows everything', async () => {
    const proxy = await Proxy.to(inject('broker').ports.stomp);
    const grant = await stack.session(user, { deviceId: 'phone' });
    await stack.send({ user }, '1');
    const older = await consumeByStomp(grant, {
      url: via(inject('broker').endpoints.stompUrl, proxy),
    });
    await until(() => older.bodies.length === 1);
    proxy.silence();
    const newer = await consumeByAmqp(await stack.session(user, { deviceId: 'phone' }));
    await stack.send({ user }, '2');
    await until(() => newer.bodies.length === 2);
    expect(newer.bodies).toEqual(['"1"', '"2"']);
    await newer.close();
    await proxy.close();
    await older.close();
  });

  it.each(['mallory', 'warren-backend', 'another device of the same user', 'another user'])(
    'a client that lied before the server was started is found by its consumer: as %s',
    async (lie) => {
      const grant = await stack.session(user, { deviceId: 'phone' });
      const others: Record<string, string> = {
        'another device of the same user': (await stack.session(user, { deviceId: 'tablet' }))
          .queue,
        'another user': (await stack.session(uniqueUser(), { deviceId: 'phone' })).queue,
      };
      const bystander = await consumeByAmqp(
        await stack.session(uniqueUser(), { deviceId: 'phone' }),
      );
      // No server sees the login.
      await stack.server.close();
      const liar = await consumeByStomp(grant, { login: others[lie] ?? lie });
      stack = await startStack({ config: { maxDevices: 3, dataDir: stack.dataDir } });
      await stack.session(user, { deviceId: 'phone' });
      await until(liar.isGone);
      await liar.close();
      // Honest ones go only when it can be told from nobody.
      if (lie !== 'another user') expect(bystander.isGone()).toBe(false);
      await bystander.close();
      // It may have gone with others that had logged in before the server began.
      await watch.close();
      watch = await QueueWatch.open();
      await until(async () => (await fetch(`${stack.apiUrl}/health/ready`)).ok);
    },
  );
});

describe('connections that have no business being there', () => {
  it.each(['mallory', 'warren-backend', 'user.somebody.phone.1'])(
    'under the false name %s are closed at once',
    async (login) => {
      const grant = await stack.session(user, { deviceId: 'phone' });
      const liar = await consumeByStomp(grant, { login }).catch(() => undefined);
      if (liar !== undefined) await until(liar.isGone);
    },
  );

  it.each(['stomp', 'amqp'] as const)(
    'with a token of a queue that is gone, by %s',
    async (name) => {
      const grant = await stack.session(user, { deviceId: 'phone' });
      await request(`${stack.apiUrl}/v1/sessions/phone`, 'DELETE', userToken(user));
      // It asks for nothing, so that the broker has no reason of its own.
      const late = await CONSUMERS[name](grant, { idle: true }).catch(() => undefined);
      if (late !== undefined) await until(late.isGone);
    },
  );

  it('do not include back ends', async () => {
    const { connect } = await import('amqplib');
    const backend = await connect(inject('broker').endpoints.backendAmqpUrl);
    const channel = await backend.createConfirmChannel();
    await stack.session(user, { deviceId: 'phone' });
    channel.publish('warren.direct', `user.${user}`, Buffer.from('"still here"'));
    await channel.waitForConfirms();
    await backend.close();
  });
});

describe('disconnecting', () => {
  it.each(['stomp', 'amqp'] as const)('lets the client come back, by %s', async (name) => {
    const client = stack.client(user, TRANSPORTS[name]());
    const messages = collect(client);
    const states: string[] = [];
    client.on('state', ({ current }) => states.push(current));
    client.start();
    await client.ready();
    expect((await stack.api('POST', `/v1/users/${user}/disconnect`, {})).status).toBe(204);
    await until(() => states.filter((state) => state === 'connected').length === 2);
    await stack.send({ user }, 'hello');
    await until(() => messages.length === 1);
  });

  it('leaves everybody else alone, also those who were there before the server', async () => {
    const other = await stack.session(uniqueUser(), { deviceId: 'phone' });
    const bystander = await consumeByAmqp(other);
    const { dataDir } = stack;
    await stack.server.close();
    stack = await startStack({ config: { maxDevices: 3, dataDir } });
    const client = stack.client(user, TRANSPORTS.amqp(), { backoffBaseMs: 1, backoffMaxMs: 2 });
    client.start();
    await client.ready();
    for (let round = 0; round < 3; round++) {
      await stack.api('POST', `/v1/users/${user}/disconnect`, {});
      await client.ready();
    }
    expect(bystander.isGone()).toBe(false);
    await bystander.close();
  });

  it('is for one device, when it is named, and says when there is no such user', async () => {
    const grants = [
      await stack.session(user, { deviceId: 'phone' }),
      await stack.session(user, { deviceId: 'tablet' }),
    ];
    const [phone, tablet] = await Promise.all(grants.map((grant) => consumeByAmqp(grant)));
    await stack.api('POST', `/v1/users/${user}/disconnect`, { deviceId: 'phone' });
    await until(phone!.isGone);
    expect(tablet!.isGone()).toBe(false);
    await tablet!.close();
    const unknown = await stack.api('POST', '/v1/users/nobody-at-all/disconnect', {});
    expect(unknown.body.code).toBe('user_unknown');
  });
});

describe('revoking', () => {
  const revoke = (body: object = {}) => stack.api('POST', `/v1/users/${user}/revoke`, body);

  it('refuses tokens of before and takes those of after, from the moment it answers', async () => {
    const older = userToken(user);
    await stack.session(user, { deviceId: 'phone' });
    expect((await revoke()).status).toBe(204);
    const newer = userToken(user);
    const refused = await open(older, { deviceId: 'phone' });
    expect(refused).toMatchObject({ status: 401, body: { code: 'token_revoked' } });
    expect((await open(newer, { deviceId: 'phone' })).status).toBe(201);
    const ageless = jwt.sign({ sub: user }, USER_SECRET, { noTimestamp: true });
    expect((await open(ageless, {})).body.code).toBe('token_revoked');
    const logout = await request(`${stack.apiUrl}/v1/sessions/phone`, 'DELETE', older);
    expect(logout.body.code).toBe('token_revoked');
  });

  it('goes on after the user was removed, and holds for users who were never here', async () => {
    await stack.session(user, { deviceId: 'phone' });
    await revoke();
    await stack.api('DELETE', `/v1/users/${user}`);
    expect((await open(olderToken(user), {})).body.code).toBe('token_revoked');
    user = uniqueUser();
    expect((await revoke()).status).toBe(204);
    expect((await open(olderToken(user), {})).body.code).toBe('token_revoked');
  });

  it('of one device leaves the others alone, and its token makes no new device', async () => {
    const old = olderToken(user);
    await stack.session(user, { deviceId: 'phone' });
    const tablet = await stack.session(user, { deviceId: 'tablet' });
    const consumer = await consumeByAmqp(tablet);
    await revoke({ deviceId: 'phone' });
    expect(consumer.isGone()).toBe(false);
    await consumer.close();
    expect((await open(old, { deviceId: 'phone' })).body.code).toBe('token_revoked');
    expect((await open(old, { deviceId: 'another' })).body.code).toBe('token_revoked');
    expect((await open(old, {})).body.code).toBe('token_revoked');
    const { sessionId } = tablet;
    expect((await open(old, { deviceId: 'tablet', sessionId })).status).toBe(201);
  });

  it.each(['stomp', 'amqp'] as const)(
    'ends the client in failed though it gets a fresh token, by %s',
    async (name) => {
      const client = stack.client(user, TRANSPORTS[name]());
      const states: string[] = [];
      client.start();
      await client.ready();
      client.on('state', ({ current }) => states.push(current));
      await revoke();
      await until(() => client.getSnapshot().state === 'failed');
      expect(['session_ended', 'unauthorized']).toContain(client.getSnapshot().reason?.code);
      // No loop: it tried once more and gave up.
      expect(states.filter((state) => state === 'authorizing').length).toBeLessThanOrEqual(2);
      await stack.send({ user }, 'to nobody');
      client.start();
      await client.ready();
      expect((await stack.user(user)).devices[0]!.depth).toBe(0);
    },
  );

  it.each(['stomp', 'amqp'] as const)(
    'closes connections that consume nothing, too, by %s',
    async (name) => {
      const grant = await stack.session(user, { deviceId: 'phone' });
      const idle = await CONSUMERS[name](grant, { idle: true });
      await until(async () => (await stack.user(user)).online);
      await revoke();
      await until(idle.isGone);
      await idle.close();
    },
  );

  it('leaves a mailbox that no device has taken', async () => {
    await stack.api('PUT', `/v1/users/${user}`, {});
    await stack.send({ user }, 'for the first device');
    await revoke();
    const { queue } = await stack.session(user, { deviceId: 'phone' });
    expect((await stack.user(user)).devices).toMatchObject([{ queue }]);
    await untilDepths(stack, user, 1);
  });

  it('and opening at the same time never end with a queue that the old token reads', async () => {
    const grant = await stack.session(user, { deviceId: 'phone' });
    const opens = Array.from({ length: 30 }, () =>
      open(userToken(user, { iat: Math.floor(Date.now() / 1000) - 5 }), { deviceId: 'phone' }),
    );
    const [revoked, ...answers] = await Promise.all([revoke(), ...opens]);
    expect(revoked.status).toBe(204);
    for (const { status } of answers) expect([201, 401]).toContain(status);
    expect(await watch.exists(grant.queue)).toBe(false);
    expect(await watch.exists(grant.liveQueue)).toBe(false);
    expect((await stack.send({ user }, 'x')).body.recipients[0]!.outcome).toBe('unprovisioned');
  });
});

describe('tokens for applications without any', () => {
  it('let the user in until they end, and nobody else', async () => {
    const made = await stack.api('POST', `/v1/users/${encodeURIComponent(user)}/tokens`, {
      ttlSeconds: 60,
    });
    expect(made.status).toBe(201);
    const { body } = await open(made.body.token, { deviceId: 'phone' });
    expect(body.userId).toBe(user);
    // The broker's tokens are signed with the same key, and are none for the API; nor the reverse.
    const grant = await stack.session(user, { deviceId: 'phone' });
    expect((await open(grant.token, {})).body.code).toBe('token_invalid');
    await expect(consumeByAmqp({ ...grant, token: made.body.token })).rejects.toThrow();
    const key = inject('broker').signingKey;
    const keyid = jwt.decode(made.body.token, { complete: true })!.header.kid!;
    const sign = (claims: object) => jwt.sign(claims, key, { algorithm: 'RS256', keyid });
    const exp = Math.floor(Date.now() / 1000) - 1;
    expect((await open(sign({ sub: user, aud: 'warren-api', exp }), {})).body.code).toBe(
      'token_expired',
    );
    expect((await open(sign({ sub: user, aud: 'warren' }), {})).body.code).toBe('token_invalid');
    const wrong = await stack.api('POST', `/v1/users/${user}/tokens`, { ttlSeconds: 0 });
    expect(wrong.body.code).toBe('invalid_request');
  });
});

describe('sessions that have ended by time', () => {
  it.each(['stomp', 'amqp'] as const)(
    'are cut within the grace time, and those that renew are not, by %s',
    async (name) => {
      const short = await startStack({ config: { sessionTtlSeconds: 2, expiryGraceMs: 1500 } });
      const other = uniqueUser();
      const left = await CONSUMERS[name](await short.session(user, { deviceId: 'phone' }));
      const grant = await short.session(other, { deviceId: 'phone' });
      const renewing = await CONSUMERS[name](grant);
      let renewals = 0;
      const timer = setInterval(() => {
        void short
          .session(other, { deviceId: 'phone', sessionId: grant.sessionId })
          .then(() => renewals++);
      }, 1000);
      await until(left.isGone);
      await until(() => renewals >= 4);
      expect(renewing.isGone()).toBe(false);
      clearInterval(timer);
      await renewing.close();
      await left.close();
      await short.close();
    },
  );

  it('are cut also under a false name from before the server was started', async () => {
    const { dataDir } = stack;
    await stack.server.close();
    const short = await startStack({ config: { sessionTtlSeconds: 2, dataDir } });
    const grant = await short.session(user, { deviceId: 'phone' });
    await short.server.close();
    const liar = await consumeByStomp(grant, { login: 'mallory' });
    stack = await startStack({ config: { maxDevices: 3, dataDir, expiryGraceMs: 500 } });
    await until(liar.isGone);
    await liar.close();
  });
});
