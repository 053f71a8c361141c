import { connect, type Channel, type ChannelModel, type Options } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import type { DeadLetter } from '@warren/protocol';
import { keepUnreadable } from '@warren/protocol/amqp';
import { Application } from '../support/application.js';
import { ConsoleClient } from '../support/console.js';
import { EventLog } from '../support/events.js';
import { nested, type Entries } from '../support/amqp-fields.js';
import { nestedJson } from '../support/nested-json.js';
import { QueueWatch } from '../support/queue-watch.js';
import { RawAmqp } from '../support/raw-amqp.js';
import { collect, startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/*
 * What a back end's account can do to the queues that servers work through: it may publish to users and to
 * warren.send, with any headers and any body.
 */

let application: Application;
let stack: Stack;
let model: ChannelModel;
let channel: Channel;
let log: EventLog;
let watch: QueueWatch;
beforeAll(async () => {
  application = await Application.start();
  const { url, secret } = application;
  stack = await startStack({ config: { webhooks: { url, secret, patterns: ['message.read.#'] } } });
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
  await application.close();
});

const JSON_TYPE = 'application/json';
const lettersOf = async (user: string): Promise<DeadLetter[]> =>
  (await stack.admin('GET', `dead-letters?user=${user}`)).body.letters;
const mailboxOf = async (user: string): Promise<string> =>
  (await stack.user(user)).devices[0]!.queue;
const sendQueue = (body: string, properties: Options.Publish = {}): void => {
  channel.publish('warren.send', '', Buffer.from(body), { contentType: JSON_TYPE, ...properties });
};
const refusedOf = (messageId: string) =>
  log.events.find((event) => event.event === 'message.refused' && event.messageId === messageId);

/** When it has come, so has what was published before. */
async function untilSent(): Promise<void> {
  const user = uniqueUser();
  const client = stack.client(user, TRANSPORTS.amqp());
  const got = collect(client);
  client.start();
  await client.ready();
  sendQueue(JSON.stringify({ to: { user }, type: 'note', data: 'good' }));
  await until(() => got.length === 1);
  await client.stop();
}

describe('a message that says that it is a job', () => {
  /** Dies in somebody's mailbox, with all that could make it look like a job of this queue. */
  async function forge(queue: string, body: object): Promise<DeadLetter> {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    const headers = {
      CC: [await mailboxOf(user)],
      'x-warren-reason': 'failed',
      'x-warren-attempt': '9',
    };
    const properties = { headers, expiration: '1', contentType: JSON_TYPE, messageId: `f-${user}` };
    channel.publish('warren.direct', queue, Buffer.from(JSON.stringify(body)), properties);
    await until(async () => (await lettersOf(user)).length === 1);
    return (await lettersOf(user))[0]!;
  }

  it('has nobody’s history erased, also when an operator sends it again', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    for (let number = 0; number < 3; number++) {
      await stack.send({ user }, number, { delivery: 'stored', ttlMs: 86_400_000 });
    }
    const stored = async (): Promise<number> =>
      (await stack.api('GET', `/v1/history?user=${user}`)).body.items.length;
    await until(async () => (await stored()) === 3);
    const letter = await forge('warren.history', { kind: 'erase-user', userId: user });
    expect(letter.reason).toBe('expired');
    expect(letter.detail).toBeUndefined();
    const { body } = await stack.admin('POST', 'dead-letters/resend', { ids: [letter.id] });
    expect(body).toMatchObject({ done: 1 });
    // Behind whatever the history may have been told.
    await stack.send({ user }, 'last', { delivery: 'stored' });
    await until(async () => (await stored()) >= 4);
    expect(await stored()).toBe(4);
  });

  it('is signed for no webhook, whatever it is to be handed on to', async () => {
    const user = uniqueUser();
    const event = { event: 'message.read', user, messageId: 'never sent', forged: true };
    const letter = await forge('warren.webhook', event);
    await stack.admin('POST', 'dead-letters/resend', { ids: [letter.id] });
    // A job that waits is handed back by the broker, to every key that it was published with.
    const due = String(Date.now() + 200);
    const headers = { CC: ['warren.webhook'], BCC: ['warren.webhook'], 'x-warren-due': due };
    sendQueue(JSON.stringify(event), { headers, messageId: `w-${user}` });
    await until(() => refusedOf(`w-${user}`) !== undefined);
    for (const { id } of (await stack.admin('GET', 'dead-letters?reason=job')).body.letters) {
      await stack.admin('POST', 'dead-letters/resend', { ids: [id] });
    }
    // A real one comes after it.
    const reader = uniqueUser();
    const client = stack.client(reader, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    const { id } = (await stack.send({ user: reader }, 1, { track: true })).body;
    await until(() => got.length === 1);
    client.markRead(id);
    await until(() => JSON.stringify(application.received).includes(id));
    expect(JSON.stringify(application.received)).not.toContain('forged');
  });

  it('is parked nowhere, and is tried as often as any other', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    const inAnHour = String(Date.now() + 3_600_000);
    sendQueue(JSON.stringify({ to: { user }, type: 'note', data: 'at once' }), {
      headers: { 'x-warren-due': inAnHour, 'x-warren-attempt': '1000', 'x-warren-account': 'root' },
    });
    await until(() => got.length === 1);
  });
});

describe('a body that nothing can write again', () => {
  it('is refused like any other, seventy of them, and good ones behind them are sent', async () => {
    const prefix = uniqueUser();
    for (let number = 0; number < 70; number++) {
      sendQueue(nestedJson(20_000), { messageId: `${prefix}-${String(number)}` });
    }
    await untilSent();
    await until(() => refusedOf(`${prefix}-69`) !== undefined);
    expect(refusedOf(`${prefix}-0`)).toMatchObject({
      code: 'invalid_request',
      detail: expect.stringContaining('128 deep') as string,
    });
    expect(await watch.waiting('warren.send')).toBe(0);
    // With the bytes that were published, for an operator to look at.
    const { letters } = (await stack.admin('GET', 'dead-letters?reason=job&limit=200')).body;
    const letter = letters.find(({ messageId }) => messageId === `${prefix}-0`)!;
    const { body } = await stack.admin('GET', `dead-letters/${String(letter.id)}`);
    expect(body.body).toBe(nestedJson(20_000));
  });

  it('is refused by HTTP, up to the depth that everybody reads', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`);
    const send = (depth: number) =>
      stack.api(
        'POST',
        '/v1/messages',
        `{"to":{"user":"${user}"},"type":"note","data":${nestedJson(depth)}}`,
      );
    expect((await send(127)).status).toBe(202);
    const { status, body } = await send(128);
    expect([status, body.code]).toEqual([400, 'invalid_request']);
    expect(body.detail).toContain('128 deep');
    expect((await send(20_000)).status).toBe(400);
  });

  it('changes nothing for whoever watches the user that it goes to', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.amqp());
    collect(client);
    client.start();
    await client.ready();
    const console = await ConsoleClient.open(stack);
    onTestFinished(() => console.close());
    await console.feed({ watch: [user] });
    const publish = (body: string, messageId: string) =>
      channel.publish('warren.direct', `user.${user}`, Buffer.from(body), {
        messageId,
        type: 'note',
        contentType: JSON_TYPE,
      });
    publish(nestedJson(20_000), `deep-${user}`);
    publish('{"n":12345678901234567890}', `exact-${user}`);
    expect(await console.untilTraced(user, 'sent', `deep-${user}`)).toMatchObject({ size: 40_000 });
    expect(await console.untilTraced(user, 'sent', `exact-${user}`)).toMatchObject({
      preview: '{"n":12345678901234567890}',
    });
  });
});

describe('headers that nothing can read', () => {
  /** Most libraries cannot even write them. */
  const headers: Entries = [['x-nested', nested(5000)]];

  async function publishNested(
    exchange: string,
    routingKey: string,
    messageId: string,
    body: string,
  ): Promise<void> {
    const raw = await RawAmqp.open(inject('broker').endpoints.backendAmqpUrl);
    expect(await raw.publish(exchange, routingKey, body, { headers, messageId })).toBe('ack');
    raw.close();
  }

  it('stop no worker: a message goes out without them', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    const body = JSON.stringify({ to: { user }, type: 'note', data: 'deep' });
    const messageId = `h-${user}`;
    await publishNested('warren.send', '', messageId, body);
    await until(() => got.length === 1);
    expect(got[0]).toMatchObject({ id: messageId, data: 'deep' });
  });

  it.each(['amqp', 'stomp'] as const)(
    'keep no client from what is behind them by %s',
    async (transport) => {
      const user = uniqueUser();
      const client = stack.client(user, TRANSPORTS[transport]());
      const got = collect(client);
      client.start();
      await client.ready();
      await publishNested('warren.direct', `user.${user}`, `d-${user}`, '"deep"');
      await stack.send({ user }, 'good');
      await until(() => got.some(({ data }) => data === 'good'));
    },
  );

  it('keep no server from what died in other mailboxes', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    await publishNested('warren.direct', `user.${user}`, `e-${user}`, '"deep"');
    const waiting = async () => watch.waiting(await mailboxOf(user));
    await until(async () => (await waiting()) === 1);
    // As a client does that cannot handle it: it goes to the dead letters.
    const own = await connect(inject('broker').endpoints.amqpUrl);
    keepUnreadable(own);
    const ownChannel = await own.createChannel();
    const message = await ownChannel.get(await mailboxOf(user));
    if (message !== false) ownChannel.reject(message, false);
    await ownChannel.close();
    await own.close();
    const other = uniqueUser();
    await stack.api('PUT', `/v1/users/${other}`, { devices: ['phone'] });
    await stack.send({ user: other }, 'expires', { ttlMs: 1 });
    await until(async () => (await lettersOf(other)).length === 1);
  });
});
