import { connect as connectAmqp } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import {
  createPublisher,
  PublishError,
  type Publisher,
  type PublisherOptions,
} from '@warren/server/publisher';
import { Proxy, via } from '../support/proxy.js';
import { startStack, uniqueUser, type Stack, untilDepths } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let proxy: Proxy;
const open: Publisher[] = [];

beforeAll(async () => {
  stack = await startStack();
  proxy = await Proxy.to(inject('broker').ports.amqp);
});
afterAll(async () => {
  await Promise.all(open.map((publisher) => publisher.close(100)));
  await stack.close();
  await proxy.close();
});

/** A publisher with the account of a back end, by way of the proxy. */
function publisher(options: Partial<PublisherOptions> = {}): Publisher {
  const amqpUrl = via(inject('broker').endpoints.backendAmqpUrl, proxy);
  const made = createPublisher({ amqpUrl, ...options });
  open.push(made);
  return made;
}

async function provisioned(): Promise<string> {
  const user = uniqueUser();
  await stack.api('PUT', `/v1/users/${user}`);
  return user;
}

const codeOf = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
    return 'resolved';
  } catch (error) {
    return error instanceof PublishError ? error.code : String(error);
  }
};

describe('the publish helper', () => {
  it('resolves to "queued" after the confirm, and to "unprovisioned" when nobody has a queue', async () => {
    const user = await provisioned();
    const helper = publisher();
    expect(await helper.toUser(user, 'note', { a: 1 })).toMatchObject({ outcome: 'queued' });
    expect(await helper.toUser(uniqueUser(), 'note', {})).toMatchObject({
      outcome: 'unprovisioned',
    });
    const device = { user, device: 'unheard-of' };
    expect(await helper.toDevice(device, 'note', {})).toMatchObject({ outcome: 'unprovisioned' });
    const live = { delivery: 'live' as const };
    expect(await helper.toUser(user, 'note', {}, live)).toMatchObject({ outcome: 'offline' });
    await untilDepths(stack, user, 1);
  });

  it('tells returned and routed messages apart when thousands are under way at once', async () => {
    const user = await provisioned();
    const helper = publisher();
    const sends = Array.from({ length: 2000 }, (_, index) =>
      helper.toUser(index % 2 === 0 ? user : `${user}-nobody`, 'note', index),
    );
    const outcomes = (await Promise.all(sends)).map(({ outcome }) => outcome);
    expect(outcomes).toEqual(
      outcomes.map((_, index) => (index % 2 === 0 ? 'queued' : 'unprovisioned')),
    );
  });

  it('writes what the wire contract says: payload alone as body, the rest as properties', async () => {
    const user = await provisioned();
    const { id } = await publisher().toUser(
      user,
      'note',
      { text: 'ü' },
      { ttlMs: 5000, correlationId: 'c1' },
    );
    const connection = await connectAmqp(inject('broker').endpoints.amqpUrl);
    const channel = await connection.createChannel();
    const queue = (await stack.user(user)).devices[0]!.queue;
    const message = await channel.get(queue, { noAck: true });
    await connection.close();
    if (message === false) throw new Error('the queue is empty');
    expect(message.content.toString('utf8')).toBe('{"text":"ü"}');
    expect(message.properties).toMatchObject({
      messageId: id,
      type: 'note',
      contentType: 'application/json',
      deliveryMode: 2,
      expiration: '5000',
      correlationId: 'c1',
    });
    expect(message.properties.timestamp).toBeGreaterThan(Date.now() / 1000 - 60);
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  });

  it('holds senders back once its window is full, and lets all through in order', async () => {
    const user = await provisioned();
    const helper = publisher({ maxInFlight: 5 });
    await helper.ready();
    const sends = Array.from({ length: 200 }, (_, index) => helper.toUser(user, 'note', index));
    expect(helper.pending).toBe(200);
    await Promise.all(sends);
    expect(helper.pending).toBe(0);
    const client = stack.client(user, (await import('@warren/client/amqp')).amqp());
    const seen: unknown[] = [];
    client.handle('note', ({ data }) => {
      seen.push(data);
    });
    client.start();
    await until(() => seen.length === 200);
    expect(seen).toEqual(Array.from({ length: 200 }, (_, index) => index));
  });

  it('waits for a broker that is away, then rejects: nothing was sent', async () => {
    const user = await provisioned();
    const helper = publisher({ timeoutMs: 400 });
    await helper.ready();
    proxy.block();
    await until(() => helper.state !== 'ready', 'the loss');
    expect(await codeOf(helper.toUser(user, 'note', 1))).toBe('broker_unavailable');
    const patient = publisher({ timeoutMs: 20_000 });
    const waiting = patient.toUser(user, 'note', 2);
    proxy.open();
    expect(await waiting).toMatchObject({ outcome: 'queued' });
    await untilDepths(stack, user, 1);
  });

  it('rejects what was under way when the connection broke: it may still arrive', async () => {
    const user = await provisioned();
    const helper = publisher();
    await helper.ready();
    proxy.silence();
    const sent = codeOf(helper.toUser(user, 'note', 1, { id: 'the-same' }));
    await new Promise((resolve) => setImmediate(resolve));
    proxy.cut();
    proxy.open();
    expect(await sent).toBe('outcome_unknown');
    expect(await helper.toUser(user, 'note', 1, { id: 'the-same' })).toEqual({
      id: 'the-same',
      outcome: 'queued',
    });
  });

  it('gives up on a confirm that does not come, though the connection looks well', async () => {
    const user = await provisioned();
    const helper = publisher({ timeoutMs: 300 });
    await helper.ready();
    proxy.silence();
    expect(await codeOf(helper.toUser(user, 'note', 1))).toBe('outcome_unknown');
    proxy.cut();
    proxy.open();
  });

  it('does not take the late return of an attempt that it gave up for that of the next one', async () => {
    const user = uniqueUser();
    const helper = publisher({ timeoutMs: 300 });
    await helper.ready();
    proxy.hold();
    const sent = helper.toUser(user, 'note', 1, { id: 'late' });
    expect(await codeOf(sent)).toBe('outcome_unknown');
    proxy.open();
    // What comes back on the same connection later, comes after the late ones.
    await helper.toUser(uniqueUser(), 'note', 1);
    await stack.api('PUT', `/v1/users/${user}`);
    for (const attempt of [1, 2]) {
      const { outcome } = await helper.toUser(user, 'note', attempt, { id: 'late' });
      expect(outcome).toBe('queued');
    }
  });

  it('gives its errors the status that a handler is to answer with', async () => {
    proxy.block();
    const helper = publisher({ timeoutMs: 200 });
    const error = await helper.toUser(uniqueUser(), 'note', 1).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      status: 503,
      statusCode: 503,
      expose: true,
      headers: { 'Retry-After': '1' },
    });
    proxy.open();
    const large = publisher({ maxMessageBytes: 1 }).toUser('x', 'note', 'too long');
    await expect(large).rejects.toMatchObject({ status: 413 });
  });

  it('rejects at once what is beyond its limits, and sends none of it', async () => {
    const user = await provisioned();
    const helper = publisher({ maxMessageBytes: 100, maxInFlight: 1, maxWaiting: 1 });
    await helper.ready();
    expect(await codeOf(helper.toUser(user, 'note', 'x'.repeat(100)))).toBe('payload_too_large');
    expect(await codeOf(helper.toUser(user, 'note', undefined))).toBe('payload_not_serializable');
    expect(await codeOf(helper.toUser(user, 'note', 1n))).toBe('payload_not_serializable');
    await expect(helper.toUser('', 'note', 1)).rejects.toThrow(RangeError);
    await expect(helper.toUser(user, '', 1)).rejects.toThrow(RangeError);
    await expect(helper.toUser(user, 'note', 1, { id: 'a b' })).rejects.toThrow(RangeError);
    await expect(helper.toUser(user, 'note', 1, { ttlMs: 0.5 })).rejects.toThrow(RangeError);
    const sends = [1, 2, 3].map((number) => codeOf(helper.toUser(user, 'note', number)));
    expect(await Promise.all(sends)).toEqual(['resolved', 'resolved', 'broker_unavailable']);
    await untilDepths(stack, user, 2);
  });

  it('survives a message that the broker refuses, and says so', async () => {
    const user = await provisioned();
    const helper = publisher({ exchange: 'no-such-exchange' });
    expect(await codeOf(helper.toUser(user, 'note', 1))).toBe('broker_refused');
    expect(await codeOf(helper.toUser(user, 'note', 2))).toBe('broker_refused');
  });

  it('ends what is under way when it is closed, takes no more, and can be closed twice', async () => {
    const user = await provisioned();
    const helper = publisher();
    const sends = Array.from({ length: 50 }, (_, index) => helper.toUser(user, 'note', index));
    await Promise.all([helper.close(), helper.close()]);
    expect((await Promise.all(sends)).every(({ outcome }) => outcome === 'queued')).toBe(true);
    expect(await codeOf(helper.toUser(user, 'note', 1))).toBe('publisher_closed');
    await untilDepths(stack, user, 50);
  });

  it('can be closed while the broker is away', async () => {
    proxy.block();
    const helper = publisher();
    const sent = codeOf(helper.toUser(uniqueUser(), 'note', 1));
    await helper.close(100);
    expect(await sent).toBe('broker_unavailable');
    proxy.open();
  });
});
