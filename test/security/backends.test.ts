import { connect, type Channel, type ChannelModel } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { EventLog } from '../support/events.js';
import { QueueWatch } from '../support/queue-watch.js';
import {
  collect,
  request,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

/*
 * What a back end's account can do to others with the queues, exchanges and bindings that it may have.
 */

let stack: Stack;
let model: ChannelModel;
let channel: Channel;
let log: EventLog;
let watch: QueueWatch;
beforeAll(async () => {
  stack = await startStack({
    config: { history: { limits: { days: 0, count: 2 }, hasWorker: true } },
  });
  model = await connect(inject('broker').endpoints.backendAmqpUrl);
  channel = await model.createChannel();
  log = await EventLog.open('message.#');
  watch = await QueueWatch.open();
});
afterAll(async () => {
  await watch.close();
  await log.close();
  await model.close();
  await stack.close();
});

const EXCHANGE = 'warren.events.warren-backend';
const QUEUE = 'warren.replies.warren-backend.loop';

const sendQueue = (body: object, messageId: string, userId?: string): void => {
  const properties = { contentType: 'application/json', messageId };
  channel.publish('warren.send', '', Buffer.from(JSON.stringify(body)), {
    ...properties,
    ...(userId !== undefined && { userId }),
  });
};
const refused = () => log.events.filter(({ event }) => event === 'message.refused');
const refusedOf = (messageId: string) =>
  refused().filter((event) => 'messageId' in event && event.messageId === messageId);

describe('what is told of what could not be sent', () => {
  /** Each leads what is told on `warren.events` back to `warren.send`. */
  const LOOPS: Record<string, [make: () => Promise<unknown>, unmake: () => Promise<unknown>]> = {
    'a binding between the two exchanges': [
      () => channel.bindExchange('warren.send', 'warren.events', '#'),
      () => channel.unbindExchange('warren.send', 'warren.events', '#'),
    ],
    'an exchange of its own between them': [
      async () => {
        await channel.assertExchange(EXCHANGE, 'fanout');
        await channel.bindExchange(EXCHANGE, 'warren.events', '#');
        await channel.bindExchange('warren.send', EXCHANGE, '');
      },
      () => channel.deleteExchange(EXCHANGE),
    ],
    'the dead letters of a queue of its own': [
      async () => {
        const args = { 'x-message-ttl': 0, 'x-dead-letter-exchange': 'warren.send' };
        await channel.assertQueue(QUEUE, { arguments: args });
        await channel.bindQueue(QUEUE, 'warren.events', '#');
      },
      () => channel.deleteQueue(QUEUE),
    ],
  };

  it.each(Object.entries(LOOPS))('is not told of again, by %s', async (_, [make, unmake]) => {
    await make();
    const prefix = uniqueUser();
    const before = refused().length;
    const total = async () => (await stack.admin('GET', 'dead-letters?reason=job')).body.total;
    const dead = await total();
    const ids = Array.from({ length: 5 }, (_value, index) => `${prefix}-${String(index)}`);
    // What was told of one has come round when the next one's is told.
    for (const id of ids) {
      sendQueue({ to: 'nobody' }, id);
      await until(() => refusedOf(id).length > 0);
    }
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    sendQueue({ to: { user }, type: 'note', data: 'behind them' }, `${prefix}-good`);
    await until(() => got.length === 1);
    await unmake();
    expect(refused().slice(before)).toHaveLength(ids.length);
    await until(async () => (await total()) >= dead + ids.length);
    expect(await total()).toBe(dead + ids.length);
    await until(async () => (await watch.waiting('warren.send')) === 0);
  });
});

describe('a queue of a back end', () => {
  const managed = async (path: string, method = 'GET', body?: unknown): Promise<unknown> => {
    const { origin, username, password } = new URL(inject('broker').endpoints.managementUrl);
    const response = await fetch(`${origin}/api/${path}`, {
      method,
      headers: {
        authorization: `Basic ${btoa(`${username}:${password}`)}`,
        'content-type': 'application/json',
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    expect(response.ok, path).toBe(true);
    return method === 'GET' ? response.json() : undefined;
  };

  it.each(['classic', 'quorum'])('does not grow without end, if it is a %s one', async (type) => {
    const [queue, exchange] = [`warren.replies.warren-backend.${type}`, EXCHANGE];
    const path = 'policies/warren/warren-replies';
    const policy = (await managed(path)) as { definition: object };
    expect(policy.definition).toEqual({ 'max-length-bytes': 1024 ** 3 });
    // The same, as nobody wants to wait for a gigabyte.
    await managed(path, 'PUT', { ...policy, definition: { 'max-length-bytes': 3000 } });
    onTestFinished(() => managed(path, 'PUT', policy).then(() => undefined));
    await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': type } });
    await channel.assertExchange(exchange, 'fanout');
    await channel.bindQueue(queue, exchange, '');
    for (let number = 0; number < 10; number++) channel.publish(exchange, '', Buffer.alloc(1000));
    channel.publish(exchange, '', Buffer.from('last'));
    await until(async () => (await watch.waiting(queue)) === 3);
    await channel.deleteQueue(queue);
    await channel.deleteExchange(exchange);
  });
});

it("one back end's message for thousands keeps no other back end's waiting", async () => {
  const MEMBERS = 20_000;
  const group = uniqueUser();
  const members = Array.from({ length: MEMBERS }, (_, index) => `${group}-${String(index)}`);
  for (let start = 0; start < MEMBERS; start += 10_000) {
    const add = members.slice(start, start + 10_000);
    expect((await stack.api('POST', `/v1/groups/${group}/members`, { add })).status).toBe(200);
  }
  const user = uniqueUser();
  const client = stack.client(user, TRANSPORTS.amqp());
  const got = collect(client);
  client.start();
  await client.ready();
  const id = `${group}-all`;
  sendQueue({ to: { group }, type: 'note', data: 1, track: true }, id, 'warren-backend');
  sendQueue({ to: { user }, type: 'note', data: 2 }, `${group}-one`);
  await until(() => got.length === 1);
  const written = async () =>
    (await stack.api('GET', `/v1/messages/${id}`)).body.counts.unprovisioned ?? 0;
  // Not yet begun, perhaps.
  const { status } = await stack.api('GET', `/v1/messages/${id}`);
  if (status === 200) expect(await written()).toBeLessThan(MEMBERS);
  await until(async () => {
    const reply = await stack.api('GET', `/v1/messages/${id}`);
    return reply.status === 200 && (await written()) === MEMBERS;
  });
});

it('what says that it was sent in the future has nobody told of a loss', async () => {
  const user = uniqueUser();
  await stack.session(user, { deviceId: 'phone' });
  const publish = (number: number) => {
    const headers = { 'x-warren-to': 'broadcast', 'x-warren-at': '8640000000000000' };
    const messageId = `${user}-${String(number)}`;
    channel.publish('warren.direct', 'history', Buffer.from('1'), { messageId, headers });
  };
  for (let number = 0; number < 4; number++) publish(number);
  const broadcasts = async (): Promise<string[]> =>
    (await stack.api('GET', `/v1/history?user=${user}`)).body.items.map(({ id }) => id);
  await until(async () => (await broadcasts()).some((id) => id === `${user}-3`));
  // The oldest are removed a moment later.
  await until(async () => !(await broadcasts()).includes(`${user}-1`));
  const recovery = async (query: string) => {
    const path = `/v1/me/recovery?deviceId=phone&${query}`;
    return (await request(`${stack.apiUrl}${path}`, 'GET', userToken(user))).body.complete;
  };
  expect(await recovery(`lastAt=${String(Date.now())}`)).toBe(true);
});
