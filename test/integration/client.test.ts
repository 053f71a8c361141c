import { connect as connectAmqp } from 'amqplib';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import type { Client, Message, StateChange, WarrenError } from '@warren/client';
import { DeadLetterLog } from '../support/dead-letter-log.js';
import { Proxy, via } from '../support/proxy.js';
import {
  collect,
  startStack,
  TRANSPORTS,
  uniqueUser,
  type Stack,
  untilDepths,
} from '../support/stack.js';
import { QueueWatch } from '../support/queue-watch.js';
import { SlowNetwork } from '../support/slow-network.js';
import { until } from '../support/until.js';

let stack: Stack;
/** A server whose sessions end soon, so that renewals can be watched. */
let brief: Stack;
beforeAll(async () => {
  stack = await startStack();
  brief = await startStack({ config: { sessionTtlSeconds: 4 } });
});
afterAll(async () => {
  await stack.close();
  await brief.close();
});

function watch(client: Client): {
  changes: StateChange[];
  errors: WarrenError[];
  unhandled: Message[];
} {
  const seen = {
    changes: [] as StateChange[],
    errors: [] as WarrenError[],
    unhandled: [] as Message[],
  };
  client.on('state', (change) => seen.changes.push(change));
  client.on('error', ({ error }) => seen.errors.push(error));
  client.on('unhandled', (message) => seen.unhandled.push(message));
  return seen;
}

describe.each(['stomp', 'amqp'] as const)('a client by %s', (name) => {
  let user: string;
  const transport = () => TRANSPORTS[name]();
  beforeEach(() => {
    user = uniqueUser();
  });

  it('goes through its states, handles what waited and what comes, and stops', async () => {
    await stack.api('PUT', `/v1/users/${user}`);
    await stack.send({ user }, 'waited');
    const client = stack.client(user, transport());
    const { changes } = watch(client);
    const messages = collect(client, 'note');
    expect(client.getSnapshot().state).toBe('idle');
    client.start();
    await client.ready();
    const { body } = await stack.send({ user }, { text: 'now' });
    await until(() => messages.length === 2);
    expect(messages.map(({ data }) => data)).toEqual(['waited', { text: 'now' }]);
    expect(messages[1]).toMatchObject({
      id: body.id,
      type: 'note',
      delivery: 'queued',
      redelivered: false,
    });
    await client.stop();
    expect(changes.map(({ current }) => current)).toEqual([
      'authorizing',
      'connecting',
      'connected',
      'closed',
    ]);
    const { devices } = await stack.user(user);
    expect(devices).toMatchObject([{ deviceId: name, depth: 0, online: false }]);
  });

  it('gets live messages on the same connection, and misses those sent while it was away', async () => {
    const client = stack.client(user, transport());
    const messages = collect(client);
    client.start();
    await client.ready();
    await stack.send({ user }, 1, { delivery: 'live' });
    await until(() => messages.length === 1);
    expect(messages[0]).toMatchObject({ data: 1, delivery: 'live' });
    expect((await stack.user(user)).online).toBe(true);
  });

  it('keeps order and handles one at a time', async () => {
    const client = stack.client(user, transport());
    const seen: unknown[] = [];
    let running = 0;
    client.handle('note', async ({ data }) => {
      expect(++running).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, Number(data) % 3));
      running--;
      seen.push(data);
    });
    client.start();
    await client.ready();
    for (let index = 0; index < 30; index++) await stack.send({ user }, index);
    await until(() => seen.length === 30);
    expect(seen).toEqual(Array.from({ length: 30 }, (_, index) => index));
  });

  it('acks after the handler has resolved, not before', async () => {
    const client = stack.client(user, transport(), { drainMs: 100 });
    let finish: () => void = () => undefined;
    let started = false;
    client.handle('note', () => {
      started = true;
      return new Promise<void>((resolve) => {
        finish = resolve;
      });
    });
    client.start();
    await client.ready();
    await stack.send({ user }, 1);
    await until(() => started);
    // Given back, so that it was not acked.
    await client.stop();
    await untilDepths(stack, user, 1);
    // It comes again, and the handler that still runs stands for it.
    client.start();
    await client.ready();
    finish();
    await untilDepths(stack, user, 0);
    await client.stop();
    await untilDepths(stack, user, 0);
  });

  it('handles a message once though it was sent twice with one id', async () => {
    const client = stack.client(user, transport());
    const messages = collect(client);
    client.start();
    await client.ready();
    const id = `same-${user}`;
    await stack.send({ user }, 'once', { id });
    await stack.send({ user }, 'once', { id });
    await stack.send({ user }, 'last');
    await until(() => messages.some(({ data }) => data === 'last'));
    expect(messages.map(({ data }) => data)).toEqual(['once', 'last']);
    await until(
      async () => (await stack.user(user)).devices[0]!.depth === 0,
      'the ack of the second',
    );
  });

  it('calls a failing handler three times, then rejects, and goes on with the next message', async () => {
    const client = stack.client(user, transport());
    const { errors } = watch(client);
    let calls = 0;
    const seen: unknown[] = [];
    client.handle('bad', () => {
      calls++;
      throw new Error('the handler is broken');
    });
    client.handle('flaky', ({ data }) => {
      if (!seen.includes('tried')) {
        seen.push('tried');
        return Promise.reject(new Error('once'));
      }
      seen.push(data);
      return undefined;
    });
    client.start();
    await client.ready();
    const dead = await DeadLetterLog.open();
    const id = `bad-${user}`;
    await stack.send({ user }, 0, { type: 'bad', id });
    await stack.send({ user }, 'flaky', { type: 'flaky' });
    await until(() => seen.includes('flaky'));
    expect(calls).toBe(3);
    expect(errors.map(({ code }) => code)).toEqual(['handler_failed']);
    await until(() => dead.of(id) !== undefined, 'the dead letter');
    await dead.close();
  });

  it('rejects what nobody handles and what cannot be read, says so, and handles the next', async () => {
    const client = stack.client(user, transport());
    const { errors, unhandled } = watch(client);
    const messages = collect(client, 'note');
    client.start();
    await client.ready();
    await stack.send({ user }, 1, { type: 'strange' });
    const connection = await connectAmqp(inject('broker').endpoints.backendAmqpUrl);
    const channel = await connection.createConfirmChannel();
    channel.publish('warren.direct', `user.${user}`, Buffer.from('{oops'), {
      contentType: 'application/json',
    });
    await channel.waitForConfirms();
    await connection.close();
    await stack.send({ user }, 'next');
    await until(() => messages.length === 1);
    expect(unhandled.map(({ type }) => type)).toEqual(['strange']);
    expect(errors.map(({ code }) => code)).toEqual(['undecodable']);
    await untilDepths(stack, user, 0);
  });

  it('delivers what says nothing about itself: text, JSON and bytes', async () => {
    const client = stack.client(user, transport());
    const messages = collect(client, 'message');
    client.start();
    await client.ready();
    const connection = await connectAmqp(inject('broker').endpoints.backendAmqpUrl);
    const channel = await connection.createConfirmChannel();
    for (const body of [
      Buffer.from('hello, client!'),
      Buffer.from('{"a":1}'),
      Buffer.from([0xff, 0x00, 0xfe]),
      Buffer.alloc(0),
    ]) {
      channel.publish('warren.direct', `user.${user}`, body);
    }
    await channel.waitForConfirms();
    await connection.close();
    await until(() => messages.length === 4);
    expect(messages.map(({ data }) => data)).toEqual([
      'hello, client!',
      { a: 1 },
      new Uint8Array([0xff, 0, 0xfe]),
      '',
    ]);
    expect(messages[0]).toMatchObject({ id: undefined, type: 'message', timestamp: undefined });
  });

  it('comes back after its network was cut, and handles nothing twice', async () => {
    const proxy = await Proxy.to(inject('broker').ports[name]);
    const grants = (url: string) => via(url, proxy);
    const cut = await startStack({
      config: {
        endpoints: {
          stomp: [grants(inject('broker').endpoints.stompUrl)],
          amqp: [grants(inject('broker').endpoints.clientAmqpUrl)],
        },
      },
    });
    const client = cut.client(user, transport());
    const { changes } = watch(client);
    const seen: unknown[] = [];
    let release: (() => void) | undefined;
    client.handle('note', async ({ data }) => {
      seen.push(data);
      if (data === 'held') await new Promise<void>((resolve) => (release = resolve));
    });
    client.start();
    await client.ready();
    await cut.send({ user }, 'held');
    await cut.send({ user }, 'after');
    await until(() => release !== undefined);
    proxy.cut();
    await until(() => changes.some(({ current }) => current === 'waiting'));
    await until(() => client.getSnapshot().state === 'connected' && proxy.connections > 0);
    release?.();
    await until(() => seen.includes('after'));
    expect(seen).toEqual(['held', 'after']);
    await until(async () => (await cut.user(user)).devices[0]!.depth === 0);
    await cut.close();
    await proxy.close();
  });

  it('renews its session before it expires, and loses or doubles nothing meanwhile', async () => {
    const client = brief.client(user, transport());
    const { changes } = watch(client);
    const messages = collect(client);
    client.start();
    await client.ready();
    const first = (await brief.user(user)).devices[0]!;
    let sent = 0;
    const deadline = Date.now() + 9000;
    while (Date.now() < deadline) {
      await brief.send({ user }, sent++);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await until(() => messages.length >= sent);
    expect(messages.map(({ data }) => data)).toEqual(
      Array.from({ length: sent }, (_, index) => index),
    );
    const last = (await brief.user(user)).devices[0]!;
    expect(last.lastSeenAt! > first.lastSeenAt!).toBe(true);
    const reconnects = changes.filter(({ current }) => current === 'connected').length - 1;
    // AMQP hands the broker a fresh token; STOMP cannot and connects again.
    if (name === 'amqp') expect(reconnects).toBe(0);
    else expect(reconnects).toBeGreaterThanOrEqual(2);
    expect(changes.some(({ current }) => current === 'waiting')).toBe(false);
  });

  it('is replaced by a newer session of its device, and does not fight back', async () => {
    const client = stack.client(user, transport());
    const { changes } = watch(client);
    collect(client);
    client.start();
    await client.ready();
    await stack.session(user, { deviceId: name });
    await until(
      () => client.getSnapshot().state === 'failed',
      () => JSON.stringify(changes),
    );
    expect(client.getSnapshot().reason?.code).toBe('session_replaced');
  });

  it('gives back what it has not begun when it stops', async () => {
    const client = stack.client(user, transport());
    const seen: unknown[] = [];
    let finish: () => void = () => undefined;
    client.handle('note', async ({ data }) => {
      seen.push(data);
      if (data === 0) await new Promise<void>((resolve) => (finish = resolve));
    });
    client.start();
    await client.ready();
    for (let index = 0; index < 5; index++) await stack.send({ user }, index);
    await until(() => seen.length === 1);
    const stopped = client.stop();
    finish();
    await stopped;
    expect(seen).toEqual([0]);
    await until(async () => (await stack.user(user)).devices[0]!.depth === 4);
    client.start();
    await until(() => seen.length === 5);
    expect(seen).toEqual([0, 1, 2, 3, 4]);
  });

  it('handles of the messages that wait with one collapse key the newest alone', async () => {
    await stack.api('PUT', `/v1/users/${user}`);
    for (let score = 0; score < 120; score++) {
      const { status } = await stack.send({ user }, score, { collapseKey: 'the: score' });
      expect(status).toBe(202);
    }
    await stack.send({ user }, 'another matter');
    const client = stack.client(user, transport());
    const messages = collect(client);
    client.start();
    await until(() => messages.at(-1)?.data === 'another matter');
    const scores = messages.slice(0, -1).map(({ data }) => data as number);
    expect(scores.at(-1)).toBe(119);
    // One, where the broker sends on what was passed over within a moment; at most one of each 50.
    expect(scores.length).toBeLessThanOrEqual(3);
    expect(scores).toEqual([...scores].sort((one, other) => one - other));
    await until(async () => (await stack.user(user)).devices[0]!.depth === 0);
  });

  it('logs out: the queue goes with what waits, the next login finds nothing of it', async () => {
    const client = stack.client(user, transport());
    const { changes } = watch(client);
    const messages = collect(client);
    client.start();
    await client.ready();
    const { queue } = (await stack.user(user)).devices[0]!;
    await client.logout();
    expect(changes.at(-1)!.current).toBe('closed');
    expect((await stack.api('GET', `/v1/users/${user}`)).body.code).toBe('user_unknown');
    expect((await stack.send({ user }, 'to nobody')).body.recipients[0]!.outcome).toBe(
      'unprovisioned',
    );
    expect(() => {
      client.start();
    }).toThrow('logged out');
    const next = stack.client(user, transport());
    expect(next).not.toBe(client);
    const nextMessages = collect(next);
    next.start();
    await next.ready();
    expect((await stack.user(user)).devices[0]!.queue).not.toBe(queue);
    await stack.send({ user }, 'hello again');
    await until(() => nextMessages.length === 1);
    expect(messages).toEqual([]);
  });

  it('logs out for good while its request for a session is still on its way', async () => {
    const network = new SlowNetwork();
    const options = { deviceId: 'phone', platform: { fetch: network.fetch } };
    const client = stack.client(user, transport(), options);
    client.start();
    await until(() => network.held.length === 1);
    await client.logout();
    network.open();
    const reply = await network.held[0]!;
    expect([reply.status, await reply.json()]).toEqual([
      403,
      expect.objectContaining({ code: 'session_ended' }),
    ]);
    expect((await stack.api('GET', `/v1/users/${user}`)).body.code).toBe('user_unknown');
    const next = stack.client(user, transport(), { deviceId: 'phone' });
    next.start();
    await next.ready();
    expect((await stack.user(user)).devices).toHaveLength(1);
  });

  it('gets a new queue when its own was deleted', async () => {
    const client = stack.client(user, transport());
    const messages = collect(client);
    client.start();
    await client.ready();
    const watch = await QueueWatch.open();
    await watch.remove((await stack.user(user)).devices[0]!.queue);
    await watch.close();
    await until(
      async () => (await stack.send({ user }, 'again')).body.recipients[0]?.outcome === 'queued',
    );
    await until(() => messages.length > 0);
  });

  it('ends in failed when its user is removed, and does not come back by itself', async () => {
    const client = stack.client(user, transport());
    client.start();
    await client.ready();
    await stack.api('DELETE', `/v1/users/${user}`);
    await until(() => client.getSnapshot().state === 'failed');
    expect(client.getSnapshot().reason?.code).toBe('session_ended');
    expect((await stack.api('GET', `/v1/users/${user}`)).status).toBe(404);
  });
});
