import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { TransportError, type Delivery, type TransportConnection } from '@warren/client';
import type { SessionGrant } from '@warren/protocol';
import { Proxy, via } from '../support/proxy.js';
import { seeded } from '../support/seeded.js';
import { startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
const open: TransportConnection[] = [];
beforeAll(async () => {
  stack = await startStack();
});
afterAll(async () => {
  await Promise.all(open.map((connection) => connection.close(500)));
  await stack.close();
});

/** What every transport has to do, whichever protocol it speaks. */
describe.each(['stomp', 'amqp'] as const)('the %s transport', (name) => {
  let user: string;
  let grant: SessionGrant;
  beforeEach(async () => {
    user = uniqueUser();
    grant = await stack.session(user, { deviceId: name });
  });

  async function connect(more: { token?: string; url?: string; signal?: AbortSignal } = {}) {
    const connection = await TRANSPORTS[name]().connect({
      url: grant.endpoints[name][0]!,
      vhost: grant.vhost,
      login: grant.queue,
      token: grant.token,
      signal: new AbortController().signal,
      timeoutMs: 5000,
      ...more,
    });
    open.push(connection);
    return connection;
  }

  async function consume(connection: TransportConnection, prefetch = 10): Promise<Delivery[]> {
    const deliveries: Delivery[] = [];
    await connection.consume(grant.queue, prefetch, (delivery) => deliveries.push(delivery));
    return deliveries;
  }

  const text = ({ body }: Delivery): string => Buffer.from(body).toString('utf8');
  const depth = async () => (await stack.user(user)).devices[0]!.depth;

  it('hands over body and properties', async () => {
    const { body } = await stack.send(
      { user },
      { text: 'ü🐇' },
      { type: 'chat.message', ttlMs: 60_000 },
    );
    const deliveries = await consume(await connect());
    await until(() => deliveries.length === 1);
    expect(text(deliveries[0]!)).toBe('{"text":"ü🐇"}');
    const { properties, redelivered } = deliveries[0]!;
    expect(redelivered).toBe(false);
    expect(properties).toMatchObject({
      messageId: body.id,
      type: 'chat.message',
      contentType: 'application/json',
    });
    expect(Math.abs(properties.timestamp! - Date.now())).toBeLessThan(60_000);
  });

  it('keeps types with colons and non-ASCII letters whole', async () => {
    const type = 'a:b c é:ü 🐇';
    await stack.send({ user }, 1, { type, id: 'x:y/%z' });
    const deliveries = await consume(await connect());
    await until(() => deliveries.length === 1);
    expect(deliveries[0]!.properties).toMatchObject({ type, messageId: 'x:y/%z' });
  });

  it('takes an acked message off the queue, and gives an unacked one out again', async () => {
    await stack.send({ user }, 'first');
    await stack.send({ user }, 'second');
    const connection = await connect();
    const deliveries = await consume(connection);
    await until(() => deliveries.length === 2);
    expect(deliveries[0]!.ack()).toBe(true);
    await connection.close(2000);
    await until(async () => (await depth()) === 1, 'the ack');
    const again = await consume(await connect());
    await until(() => again.length === 1);
    expect([text(again[0]!), again[0]!.redelivered]).toEqual(['"second"', true]);
  });

  it('sends a rejected message to the dead letters, not back to the queue', async () => {
    await stack.send({ user }, 'bad');
    const deliveries = await consume(await connect());
    await until(() => deliveries.length === 1);
    expect(deliveries[0]!.reject()).toBe(true);
    await until(async () => (await depth()) === 0);
    expect(deliveries).toHaveLength(1);
  });

  it('settles each message as it was told, in whatever order and company', async () => {
    const random = seeded(7);
    const connection = await connect();
    const deliveries = await consume(connection, 100);
    const live: Delivery[] = [];
    await connection.consume(grant.liveQueue, 100, (delivery) => live.push(delivery));
    for (let index = 0; index < 60; index++) {
      const delivery = index % 4 === 3 ? 'live' : 'queued';
      await stack.send({ user }, index, { id: String(index), delivery });
    }
    await until(() => deliveries.length + live.length === 60);
    const fates: Record<'ack' | 'reject' | 'open', number[]> = { ack: [], reject: [], open: [] };
    const numberOf = ({ properties }: Delivery) => Number(properties.messageId);
    const shuffled = [...deliveries, ...live]
      .map((delivery) => ({ delivery, at: random() }))
      .sort((one, other) => one.at - other.at);
    for (const { delivery, at } of shuffled) {
      const drawn = random();
      const fate = live.includes(delivery) || drawn < 0.6 ? 'ack' : drawn < 0.8 ? 'reject' : 'open';
      fates[fate].push(numberOf(delivery));
      if (fate !== 'open') expect(delivery[fate]()).toBe(true);
      // Some in one turn of the event loop, some not.
      if (at % 0.1 < 0.03) await new Promise(setImmediate);
    }
    await connection.close(2000);
    const again = await consume(await connect(), 100);
    await until(() => again.length >= fates.open.length);
    const sorted = (numbers: number[]) => numbers.sort((one, other) => one - other);
    expect(again.map(numberOf)).toEqual(sorted(fates.open));
    expect(again.every(({ redelivered }) => redelivered)).toBe(true);
    const rejected = async (): Promise<number[]> =>
      (await stack.admin('GET', `dead-letters?user=${user}`)).body.letters.map(({ messageId }) =>
        Number(messageId),
      );
    await until(async () => (await rejected()).length >= fates.reject.length);
    expect(sorted(await rejected())).toEqual(sorted(fates.reject));
  });

  it('is sent no more than the prefetch ahead', async () => {
    for (let index = 0; index < 5; index++) await stack.send({ user }, index);
    const deliveries = await consume(await connect(), 2);
    await until(() => deliveries.length === 2);
    await depth();
    expect(deliveries).toHaveLength(2);
    deliveries[0]!.ack();
    await until(() => deliveries.length === 3);
  });

  it('tells that an ack came too late for its connection', async () => {
    await stack.send({ user }, 1);
    const connection = await connect();
    const deliveries = await consume(connection);
    await until(() => deliveries.length === 1);
    await connection.close(2000);
    expect(deliveries[0]!.ack()).toBe(false);
    expect(deliveries[0]!.reject()).toBe(false);
    expect(await connection.ended).toBeInstanceOf(TransportError);
  });

  it('ends when its network is cut', async () => {
    const proxy = await Proxy.to(inject('broker').ports[name]);
    const connection = await connect({ url: via(grant.endpoints[name][0]!, proxy) });
    await consume(connection);
    proxy.cut();
    expect((await connection.ended).failure).toBe('lost');
    await proxy.close();
  });

  it('ends when its queue is deleted', async () => {
    const connection = await connect();
    await consume(connection);
    await stack.api('DELETE', `/v1/users/${user}`);
    expect(['cancelled', 'lost']).toContain((await connection.ended).failure);
  });

  it('refuses to connect with a token that the broker does not accept', async () => {
    const wrong = connect({ token: `${grant.token.slice(0, -8)}AAAAAAAA` });
    await expect(wrong).rejects.toBeInstanceOf(TransportError);
  });

  it('rejects for an address that is none, and when it is given up before it has begun', async () => {
    await expect(connect({ url: 'nonsense' })).rejects.toBeInstanceOf(TransportError);
    await expect(connect({ signal: AbortSignal.abort() })).rejects.toMatchObject({
      failure: 'lost',
    });
    const controller = new AbortController();
    const attempt = connect({ signal: controller.signal });
    controller.abort();
    await expect(attempt).rejects.toMatchObject({ failure: 'lost' });
  });

  it('refuses to connect where nothing listens, and gives up when it is told to', async () => {
    const proxy = await Proxy.to(inject('broker').ports[name]);
    const url = via(grant.endpoints[name][0]!, proxy);
    proxy.silence();
    const controller = new AbortController();
    const attempt = connect({ url, signal: controller.signal });
    await until(() => proxy.accepted === 1);
    controller.abort();
    await expect(attempt).rejects.toBeInstanceOf(TransportError);
    await proxy.close();
    await expect(connect({ url })).rejects.toMatchObject({ failure: 'lost' });
  });
});
