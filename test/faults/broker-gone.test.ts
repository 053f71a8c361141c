import { connect as connectAmqp } from 'amqplib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Broker } from '@warren/rabbitmq';
import { createBroker } from '../support/broker.js';
import { Proxy, via } from '../support/proxy.js';
import {
  collect,
  request,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type Stack,
  untilDepths,
} from '../support/stack.js';
import { QueueWatch } from '../support/queue-watch.js';
import { until } from '../support/until.js';

let broker: Broker;
let remove: () => Promise<void>;
let proxy: Proxy;
let stack: Stack;
beforeAll(async () => {
  ({ broker, remove } = await createBroker());
  await broker.start();
  proxy = await Proxy.to(broker.ports.amqp);
  const { endpoints } = broker;
  stack = await startStack({
    endpoints: { ...endpoints, amqpUrl: via(endpoints.amqpUrl, proxy) },
    signingKey: broker.signingKey.privateKey,
  });
});
afterAll(async () => {
  await stack.close();
  await proxy.close();
  await remove();
});

const ready = () => request(`${stack.apiUrl}/health/ready`, 'GET');

/** Every route that needs the broker, with how long each took to answer. */
async function askAll(user: string) {
  const startedAt = performance.now();
  const session = { deviceId: 'new' };
  const replies = {
    message: await stack.send({ user }, 1),
    provision: await stack.api('PUT', `/v1/users/${user}-new`),
    session: await request(
      `${stack.apiUrl}/v1/sessions`,
      'POST',
      userToken(`${user}-new`),
      session,
    ),
    remove: await stack.api('DELETE', `/v1/users/${user}`),
  };
  return { replies, slowest: performance.now() - startedAt };
}

/** The same of those for many users. */
async function askMany(user: string) {
  const startedAt = performance.now();
  const tracked = { track: true, id: 'never-sent' };
  const [list, group, everybody, followed, made, joined, asked, present] = await Promise.all([
    stack.send({ users: [user] }, 1),
    stack.send({ group: 'gone' }, 1),
    stack.send({ broadcast: true }, 1),
    stack.send({ user }, 1, tracked),
    stack.api('PUT', '/v1/groups/new'),
    stack.api('PUT', `/v1/groups/gone/members/${user}`),
    stack.api('POST', '/v1/requests', { to: { user }, type: 'question', data: 1 }),
    stack.api('POST', '/v1/presence', { users: [user] }),
  ]);
  return {
    replies: { list, group, everybody, followed, made, joined, asked, present },
    slowest: performance.now() - startedAt,
  };
}

describe('when the broker is gone', () => {
  it('each route says so with 503, nothing is half-done, and all goes on when it is back', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.stomp());
    const messages = collect(client);
    client.start();
    await client.ready();
    await client.stop();
    await stack.send({ user }, 'kept');
    await stack.api('PUT', '/v1/groups/gone');

    await broker.kill();
    await until(async () => (await ready()).status === 503, 'the notice');
    expect((await ready()).body).toEqual({
      status: 'unavailable',
      checks: { broker: 'down', database: 'up' },
    });
    const { replies } = await askAll(user);
    const many = await askMany(user);
    process.stdout.write(`  many: 503 after ${(many.slowest / 1000).toFixed(1)} s\n`);
    Object.assign(replies, many.replies);
    expect((await stack.api('GET', '/v1/messages/never-sent')).body.code).toBe('message_unknown');
    for (const [route, { status, body, headers }] of Object.entries(replies)) {
      expect([route, status, body.code]).toEqual([route, 503, 'broker_unavailable']);
      // Sessions are told when there will be room, as far as that is known.
      expect(headers.has('retry-after')).toBe(route === 'session');
    }
    expect((await request(`${stack.apiUrl}/health/live`, 'GET')).status).toBe(200);

    await broker.start();
    await until(async () => (await ready()).status === 200, 'the recovery');
    expect((await stack.api('GET', `/v1/users/${user}-new`)).body.code).toBe('user_unknown');
    // The queue and its message have outlived the broker's kill -9.
    await stack.send({ user }, 'after');
    client.start();
    await until(() => messages.length === 2);
    expect(messages.map(({ data }) => data)).toEqual(['kept', 'after']);
  });

  it('a revocation says 503, refuses tokens at once, and is finished when it is back', async () => {
    const user = uniqueUser();
    const old = userToken(user, { iat: Math.floor(Date.now() / 1000) - 5 });
    const grant = await stack.session(user, { deviceId: 'phone' });
    await broker.kill();
    await until(async () => (await ready()).status === 503, 'the notice');
    const { status, body } = await stack.api('POST', `/v1/users/${user}/revoke`, {});
    expect([status, body.code]).toEqual([503, 'broker_unavailable']);
    const open = () => request(`${stack.apiUrl}/v1/sessions`, 'POST', old, { deviceId: 'phone' });
    expect((await open()).body.code).toBe('token_revoked');
    await broker.start();
    const watch = await QueueWatch.open(broker.endpoints.amqpUrl);
    await until(async () => !(await watch.exists(grant.queue)), 'the deletion');
    await watch.close();
    const code = async () => (await stack.api('GET', `/v1/users/${user}`)).body.code;
    await until(async () => (await code()) === 'user_unknown', 'the record to go');
  });

  it('a client that was connected comes back by itself', async () => {
    const user = uniqueUser();
    const clients = [stack.client(user, TRANSPORTS.stomp()), stack.client(user, TRANSPORTS.amqp())];
    const seen = clients.map((client) => collect(client));
    for (const client of clients) client.start();
    await Promise.all(clients.map((client) => client.ready()));
    await broker.kill();
    await until(() => clients.every((client) => client.getSnapshot().state !== 'connected'));
    await broker.start();
    await until(async () => (await stack.send({ user }, 'back')).status === 202);
    await until(() => seen.every((messages) => messages.some(({ data }) => data === 'back')));
  });

  it('a broker that no longer answers is one that is gone', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    proxy.silence();
    const sent = await stack.send({ user }, 1);
    expect([sent.status, sent.body.code]).toEqual([503, 'outcome_unknown']);
    expect(sent.body.detail).toMatch(/id is [0-9a-f-]{36}/);
    const session = await request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(user), {
      deviceId: 'x',
    });
    expect([session.status, session.body.code]).toEqual([503, 'broker_unavailable']);
    proxy.cut();
    proxy.open();
    await until(async () => (await stack.send({ user }, 2)).status === 202);
    await until(async () => (await ready()).status === 200);
  });
});

describe('when the broker has a memory alarm', () => {
  it('what was sent may still arrive, what was not is refused, and readiness says so', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    await broker.control('set_vm_memory_high_watermark', 'absolute', '1000000');
    // The broker tells of its alarm when it is sent something.
    const first = await stack.send({ user }, 'first');
    expect([first.status, first.body.code]).toEqual([503, 'outcome_unknown']);
    const second = await stack.send({ user }, 'second');
    expect([second.status, second.body.code]).toEqual([503, 'broker_unavailable']);
    expect((await ready()).status).toBe(503);
    await broker.control('set_vm_memory_high_watermark', '0.4');
    await until(async () => (await stack.send({ user }, 'third')).status === 202);
    // The first has arrived after all, as it was said that it might.
    await until(async () => (await stack.user(user)).devices[0]!.depth === 2);
    expect((await ready()).status).toBe(200);
  });
});

describe('when somebody deletes the exchange', () => {
  it('sends say so, and the next session makes it again', async () => {
    const connection = await connectAmqp(broker.endpoints.amqpUrl);
    await (await connection.createChannel()).deleteExchange('warren.direct');
    await connection.close();
    const user = uniqueUser();
    const sent = await stack.send({ user }, 1);
    expect([sent.status, sent.body.code]).toEqual([503, 'broker_unavailable']);
    const open = () =>
      request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(user), { deviceId: 'phone' });
    await until(async () => (await open()).status === 201, 'a session');
    await until(async () => (await stack.send({ user }, 2)).status === 202, 'a send');
    await untilDepths(stack, user, 1);
  });
});

describe('a server that starts before its broker', () => {
  it('listens, says that it is not ready, and gets ready by itself', async () => {
    proxy.block();
    const early = await startStack({
      endpoints: { ...broker.endpoints, amqpUrl: via(broker.endpoints.amqpUrl, proxy) },
      signingKey: broker.signingKey.privateKey,
      readyMs: 100,
    });
    expect((await request(`${early.apiUrl}/health/ready`, 'GET')).status).toBe(503);
    proxy.open();
    await until(async () => (await request(`${early.apiUrl}/health/ready`, 'GET')).status === 200);
    await early.session(uniqueUser(), { deviceId: 'phone' });
    await early.close();
  });

  it('ends when it is told to, also while it waits for the broker', async () => {
    proxy.block();
    const early = await startStack({
      endpoints: { ...broker.endpoints, amqpUrl: via(broker.endpoints.amqpUrl, proxy) },
      signingKey: broker.signingKey.privateKey,
      readyMs: 100,
    });
    await early.close();
    proxy.open();
  });
});
