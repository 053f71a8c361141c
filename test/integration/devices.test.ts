import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  inject,
  it,
  onTestFinished,
} from 'vitest';
import jwt from 'jsonwebtoken';
import type { OwnDevices, SessionGrant } from '@warren/protocol';
import { isAtLeast, parseVersion } from '@warren/rabbitmq';
import { Proxy, via } from '../support/proxy.js';
import { EventLog } from '../support/events.js';
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
  stack = await startStack({ config: { maxDevices: 3, passingDeviceMs: 500 } });
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
/** Devices of the user of this test, connected until its end. */
async function stayConnected(...deviceIds: string[]): Promise<void> {
  for (const deviceId of deviceIds) {
    const consumer = await consumeByAmqp(await stack.session(user, { deviceId }));
    onTestFinished(() => consumer.close());
  }
  await until(async () => (await stack.user(user)).devices.every(({ online }) => online));
}
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
    await stayConnected('a', 'b', 'c');
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

  it('make room: those that are connected never, before those with mail those without', async () => {
    const events = await EventLog.open('session.#');
    for (const deviceId of ['lost', 'old', 'new']) await stack.session(user, { deviceId });
    const held = await consumeByAmqp(await stack.session(user, { deviceId: 'lost' }));
    await until(() => isIn(user));
    await stack.send({ device: { user, device: 'old' } }, 'waits');
    await untilDepths(stack, user, 0, 1, 0);
    const ids = async () => (await stack.user(user)).devices.map(({ deviceId }) => deviceId);
    await stack.session(user, { deviceId: 'fourth' });
    expect(await ids()).toEqual(['lost', 'old', 'fourth']);
    // All that are not connected have mail: the one that was not seen for longest.
    await stack.send({ user }, 'to all');
    await stack.session(user, { deviceId: 'fifth' });
    expect(await ids()).toEqual(['lost', 'fourth', 'fifth']);
    const told = () =>
      events.events.filter((event) => event.event === 'session.ended' && event.user === user);
    await until(() => told().length >= 2);
    expect(told()).toMatchObject([
      { deviceId: 'new', reason: 'device_retired' },
      { deviceId: 'old', reason: 'device_retired' },
    ]);
    await held.close();
    await events.close();
    // Whoever comes back after all learns that something was missed.
    const back = await stack.session(user, { deviceId: 'old' });
    expect(back).toMatchObject({ resumed: false, missed: true });
  });

  it('that are known as long as a page is, end soon after their connection', async () => {
    const body = { deviceId: 'page', passing: true };
    const page = await stack.session(user, body);
    const consumer = await consumeByAmqp(page);
    await until(() => isIn(user));
    await stack.session(user, { deviceId: 'never connected', passing: true });
    await stack.session(user, { deviceId: 'kept' });
    const ids = async () => (await stack.user(user)).devices.map(({ deviceId }) => deviceId);
    await until(async () => (await ids()).join() === 'page,kept');
    await consumer.close();
    await until(async () => (await ids()).join() === 'kept');
    // One that was only asleep has missed what came meanwhile.
    const back = await stack.session(user, { ...body, sessionId: page.sessionId });
    expect(back).toMatchObject({ resumed: false, missed: true });
  });

  it('that are connected stay while a server that has just begun does not know it', async () => {
    const config = { maxDevices: 2, passingDeviceMs: 300 };
    const first = await startStack({ config });
    const { dataDir } = first;
    const body = { deviceId: 'page', passing: true };
    const consumer = await consumeByAmqp(await first.session(user, body));
    await first.session(user, { deviceId: 'gone', passing: true });
    await first.server.close();
    const { endpoints, ports } = inject('broker');
    const proxy = await Proxy.to(ports.management);
    proxy.block();
    const managementUrl = via(endpoints.managementUrl, proxy);
    const next = await startStack({
      config: { ...config, dataDir },
      endpoints: { ...endpoints, managementUrl },
    });
    // It listens by now, and cannot ask who was connected before.
    expect((await next.api('GET', `/v1/presence?users=${user}`)).status).toBe(503);
    // A database that other servers share has room by now: one that knows who is connected has ended the other device.
    if (inject('databaseUrl') === undefined) {
      const third = await request(`${next.apiUrl}/v1/sessions`, 'POST', userToken(user), {
        deviceId: 'third',
      });
      expect([third.status, third.body.code]).toEqual([503, 'broker_unavailable']);
    }
    proxy.open();
    const ids = async () => (await next.user(user)).devices.map(({ deviceId }) => deviceId);
    await until(
      async () => (await ids().catch(() => [])).join() === 'page',
      async () =>
        `${(await ids()).join()}, of which page is ${consumer.isGone() ? 'gone' : 'there'}`,
    );
    expect(consumer.isGone()).toBe(false);
    await consumer.close();
    await next.close();
    await proxy.close();
  });

  it('take no name or platform that could not be shown, and no time from a made-up session', async () => {
    for (const bad of ['', 'a\0b', 'a\u001b[31mb', '\ud800', 'x'.repeat(101)]) {
      for (const field of ['name', 'platform']) {
        const { status, body } = await open(userToken(user), { deviceId: 'phone', [field]: bad });
        expect([status, body.code]).toEqual([400, 'invalid_request']);
      }
    }
    for (const far of ['-', '']) {
      const sessionId = `${far}${'z'.repeat(50)}.x`;
      const { status, body } = await open(userToken(user), { deviceId: `d${far}`, sessionId });
      expect([status, (body as unknown as SessionGrant).missed]).toEqual([201, true]);
    }
  });

  it('are listed for their user, by name and platform, and can be logged out', async () => {
    const phone = { deviceId: 'phone', name: 'Ann’s phone', platform: 'Android' };
    await stack.session(user, phone);
    await stack.session(user, { deviceId: 'phone' });
    await stack.session(user, { deviceId: 'cat' });
    await stack.session(`${user}-other`, { deviceId: 'other' });
    const list = async () => {
      const { body } = await request(`${stack.apiUrl}/v1/me/devices`, 'GET', userToken(user));
      return (body as unknown as OwnDevices).devices;
    };
    expect(await list()).toMatchObject([
      { ...phone, online: false },
      { deviceId: 'cat', name: null, platform: null },
    ]);
    const client = stack.client(user, TRANSPORTS.amqp(), { deviceId: 'cat', deviceName: 'Cat' });
    client.start();
    await client.ready();
    await until(async () => (await client.devices()).some(({ online }) => online));
    expect(await client.devices()).toMatchObject([phone, { deviceId: 'cat', name: 'Cat' }]);
    await client.removeDevice('phone');
    expect(await client.devices()).toMatchObject([{ deviceId: 'cat' }]);
    await client.stop();
  });

  it('tell their client when there are too many', async () => {
    await stayConnected('a', 'b', 'c');
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
      expect(bystander.isGone()).toBe(false);
      await bystander.close();
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

describe('a login whose clock is ahead', () => {
  // Of their own: what a server has learned of a login's clock lasts for a day.
  let ahead: Stack;
  const begin = async (seconds: number): Promise<void> => {
    ahead = await startStack({
      config: { userTokens: { key: { secret: USER_SECRET }, clockToleranceSeconds: seconds } },
    });
  };
  afterEach(() => ahead.close());
  const later = (claim: 'iat' | 'nbf', seconds: number) =>
    userToken(user, { [claim]: Math.floor(Date.now() / 1000) + seconds });
  const show = (token: string) =>
    request(`${ahead.apiUrl}/v1/sessions`, 'POST', token, { deviceId: 'phone' });

  it.each([5, 25, 300])(
    'opens no session after a revocation with what it issued before, %i s ahead',
    async (seconds) => {
      await begin(30);
      const unseen = later('iat', seconds);
      await ahead.api('PUT', `/v1/users/${user}`);
      await ahead.api('POST', `/v1/users/${user}/revoke`, {});
      expect((await show(unseen)).status).toBe(401);
      user = uniqueUser();
      const seen = later('iat', seconds);
      expect((await show(seen)).status).toBe(seconds <= 30 ? 201 : 401);
      await ahead.api('POST', `/v1/users/${user}/revoke`, {});
      expect((await show(seen)).status).toBe(401);
    },
  );

  it('is not let in with a token of before a revocation whose time has come since', async () => {
    await begin(0);
    await ahead.api('PUT', `/v1/users/${user}`);
    const early = later('iat', 5);
    // Seen while it is well ahead: what the server learns of the clock is learned then.
    expect((await show(early)).body.code).toBe('token_not_yet_valid');
    await ahead.api('POST', `/v1/users/${user}/revoke`, {});
    await until(async () => (await show(early)).body.code !== 'token_not_yet_valid');
    expect((await show(early)).body.code).toBe('token_revoked');
  });

  it('is let in when it is ahead by seconds, and told to wait when by more', async () => {
    await begin(30);
    expect((await show(later('nbf', 3))).status).toBe(201);
    expect((await show(later('iat', 3))).status).toBe(201);
    const refused = await show(later('nbf', 300));
    expect([refused.status, refused.body.code]).toEqual([401, 'token_not_yet_valid']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(260);
    expect((await show(later('iat', 1e15))).body.code).toBe('token_invalid');
  });

  it('keeps a client waiting, not for good', async () => {
    await begin(0);
    const client = ahead.client(user, TRANSPORTS.amqp(), { getToken: () => token });
    const token = later('nbf', 3);
    const reasons: (string | undefined)[] = [];
    client.on('state', ({ reason }) => reasons.push(reason?.code));
    client.start();
    await until(() => client.getSnapshot().state === 'connected');
    expect(reasons).toContain('token_not_yet_valid');
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

/** Whether this broker itself ends connections by AMQP whose token has ended. */
async function endsWithToken(): Promise<boolean> {
  const { origin, username, password } = new URL(inject('broker').endpoints.managementUrl);
  const response = await fetch(`${origin}/api/overview`, {
    headers: { authorization: `Basic ${btoa(`${username}:${password}`)}` },
  });
  const { rabbitmq_version: text } = (await response.json()) as { rabbitmq_version: string };
  return isAtLeast(parseVersion(text), [4, 2, 6]);
}

describe('sessions that have ended by time', () => {
  it.each(['stomp', 'amqp'] as const)(
    'are cut within the grace time, and those that renew are not, by %s',
    async (name) => {
      // Renewed every second: a busy machine may be late by two.
      const short = await startStack({ config: { sessionTtlSeconds: 4, expiryGraceMs: 1500 } });
      const other = uniqueUser();
      const left = await CONSUMERS[name](await short.session(user, { deviceId: 'phone' }));
      const grant = await short.session(other, { deviceId: 'phone' });
      const renewing = await CONSUMERS[name](grant);
      // By STOMP one connects anew. Newer brokers end connections by AMQP, too, that are not given the next token.
      const isLeft = name === 'amqp' && !(await endsWithToken());
      let renewals = 0;
      const timer = setInterval(() => {
        void short
          .session(other, { deviceId: 'phone', sessionId: grant.sessionId })
          .then((next) => (isLeft ? undefined : renewing.renew(next)))
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
