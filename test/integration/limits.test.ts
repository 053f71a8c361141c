import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import WebSocket from 'ws';
import { consumeByAmqp } from '../support/liar.js';
import { Proxy, via } from '../support/proxy.js';
import { QueueWatch } from '../support/queue-watch.js';
import { RawStomp } from '../support/raw-stomp.js';
import {
  request,
  SERVICE_KEY,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

const OTHER_KEY = 'another-service-key';
const { endpoints } = inject('broker');

let stack: Stack;
let watch: QueueWatch;
/** It never says a word. */
let silent: RawStomp;
beforeAll(async () => {
  watch = await QueueWatch.open();
  silent = await RawStomp.open(endpoints.stompUrl);
  stack = await startStack({
    config: {
      rateLimits: { perKey: 10, perUser: 5, broadcasts: 0 },
      serviceKeys: [SERVICE_KEY, OTHER_KEY],
    },
  });
});
afterAll(async () => {
  await watch.close();
  await stack.close();
});

describe('requests', () => {
  it('of one key over the limit get 429 with Retry-After, those of another do not', async () => {
    const ask = (key: string) => request(`${stack.apiUrl}/v1/users/nobody`, 'GET', key);
    const replies = await Promise.all(Array.from({ length: 30 }, () => ask(SERVICE_KEY)));
    const limited = replies.filter(({ status }) => status === 429);
    expect(limited.length).toBeGreaterThanOrEqual(10);
    expect(limited[0]!.body.code).toBe('rate_limited');
    expect(Number(limited[0]!.headers.get('retry-after'))).toBe(1);
    expect((await ask(OTHER_KEY)).status).toBe(404);
    await until(async () => (await ask(SERVICE_KEY)).status === 404);
  });

  it('of one user over the limit get 429, those of another do not, and the SDK waits', async () => {
    const user = uniqueUser();
    const open = (userId: string) =>
      request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(userId), { deviceId: 'phone' });
    for (let request = 0; request < 5; request++) expect((await open(user)).status).toBe(201);
    const refused = await open(user);
    expect(refused).toMatchObject({ status: 429, body: { code: 'rate_limited' } });
    const seconds = Number(refused.headers.get('retry-after'));
    expect(seconds).toBeGreaterThan(50);
    expect((await open(uniqueUser())).status).toBe(201);
    const client = stack.client(user, TRANSPORTS.amqp());
    client.start();
    await until(() => client.getSnapshot().state === 'waiting');
    const { reason, retryAt } = client.getSnapshot();
    expect(reason!.code).toBe('api_unavailable');
    expect(retryAt! - Date.now()).toBeGreaterThan((seconds - 5) * 1000);
  });

  it('of strangers are not counted against anybody', async () => {
    for (let attempt = 0; attempt < 30; attempt++) {
      const { status } = await request(`${stack.apiUrl}/v1/users/x`, 'GET', 'no-such-key-at-all');
      expect(status).toBe(401);
    }
  });

  it('for sessions, more than can be served, are told when to come again; those given up cost nothing', async () => {
    const proxy = await Proxy.to(inject('broker').ports.amqp);
    const slow = await startStack({
      endpoints: { ...endpoints, amqpUrl: via(endpoints.amqpUrl, proxy) },
    });
    // The broker does not answer, so that nobody is served.
    proxy.silence();
    const crowd = new AbortController();
    const waits: string[] = [];
    const codes = new Set<string>();
    for (let index = 0; index < 1000; index++) {
      const token = userToken(`storm-${String(process.pid)}-${String(index)}`);
      void fetch(`${slow.apiUrl}/v1/sessions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: '{}',
        signal: crowd.signal,
      })
        .then(async (response) => {
          const { code } = (await response.json()) as { code: string };
          // On a busy machine the first ones have waited for the broker as long as they may.
          if (code === 'broker_unavailable') return;
          codes.add(code);
          waits.push(response.headers.get('retry-after')!);
        })
        .catch(() => undefined);
    }
    await until(() => waits.length >= 300);
    expect(codes).toEqual(new Set(['overloaded']));
    expect(waits.every((seconds) => Number(seconds) >= 1)).toBe(true);
    // Not all at the same moment.
    expect(new Set(waits).size).toBeGreaterThan(1);
    crowd.abort();
    proxy.open();
    proxy.cut();
    const open = () =>
      request(`${slow.apiUrl}/v1/sessions`, 'POST', userToken(uniqueUser()), { deviceId: 'x' });
    await until(async () => (await open()).status === 201);
    await slow.close();
    await proxy.close();
  });
});

const limit = (method: string, value?: number) => {
  const { origin, username, password } = new URL(endpoints.managementUrl);
  return fetch(`${origin}/api/vhost-limits/warren/max-connections`, {
    method,
    headers: {
      authorization: `Basic ${btoa(`${username}:${password}`)}`,
      'content-type': 'application/json',
    },
    ...(value !== undefined && { body: JSON.stringify({ value }) }),
  });
};

describe('connections', () => {
  it.each(['stomp', 'amqp'] as const)(
    'over the vhost’s limit are told to wait, not refused for good, by %s',
    async (name) => {
      const client = stack.client(uniqueUser(), TRANSPORTS[name]());
      const reasons: string[] = [];
      client.on('state', ({ reason }) => {
        if (reason !== undefined) reasons.push(reason.code);
      });
      try {
        await limit('PUT', 1);
        client.start();
        await until(() => reasons.length >= 3);
        expect(new Set(reasons)).toEqual(new Set(['connection_lost']));
      } finally {
        await limit('PUT', 50_000);
      }
      await client.ready();
    },
  );

  it('that send a frame that is too large, or never log in, are closed', async () => {
    const { queue, token } = await stack.session(uniqueUser(), {});
    const large = await RawStomp.open(endpoints.stompUrl);
    await large.login({ login: queue, passcode: token, host: 'warren' });
    large.send('SEND', { destination: '/x' }, 'x'.repeat(100_000));
    await large.closed;
    await silent.closed;
  });

  it('are not compressed, whatever the client offers', async () => {
    const socket = new WebSocket(endpoints.stompUrl, ['v12.stomp'], { perMessageDeflate: true });
    await new Promise((resolve) => socket.once('open', resolve));
    expect(socket.extensions).toBe('');
    socket.terminate();
  });
});

describe('a mailbox', () => {
  it('is bounded in length and age by a policy, the oldest going first', async () => {
    const { origin, username, password } = new URL(endpoints.managementUrl);
    const headers = {
      authorization: `Basic ${btoa(`${username}:${password}`)}`,
      'content-type': 'application/json',
    };
    const user = uniqueUser();
    const grant = await stack.session(user, { deviceId: 'phone' });
    const policy = `${origin}/api/policies/warren/short-${user}`;
    const body = JSON.stringify({
      pattern: `^user\\.${user}\\.`,
      'apply-to': 'queues',
      // Above that of quorum mailboxes.
      priority: 10,
      definition: { 'max-length': 3, overflow: 'drop-head' },
    });
    await fetch(policy, { method: 'PUT', headers, body });
    const { publisher } = stack.server.warren;
    // A policy is in force a moment after it was set.
    await until(async () => {
      for (let index = 0; index < 5; index++) await publisher.toUser(user, 'note', index);
      return (await watch.waiting(grant.queue)) === 3;
    });
    await fetch(policy, { method: 'DELETE', headers });
    const consumer = await consumeByAmqp(grant);
    await until(() => consumer.bodies.length === 3);
    expect(consumer.bodies).toEqual(['2', '3', '4']);
    await consumer.close();
  });
});
