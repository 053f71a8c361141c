import { connect, type ConfirmChannel, type ChannelModel, type Options } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { DeadLetterLog, reasonOf } from '../support/dead-letter-log.js';
import { EventLog } from '../support/events.js';
import { collect, startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let log: EventLog;
let dead: DeadLetterLog;
let model: ChannelModel;
let channel: ConfirmChannel;
beforeAll(async () => {
  stack = await startStack();
  log = await EventLog.open('message.#');
  dead = await DeadLetterLog.open();
  model = await connect(inject('broker').endpoints.backendAmqpUrl);
  channel = await model.createConfirmChannel();
});
afterAll(async () => {
  await Promise.all([model.close(), log.close(), dead.close()]);
  await stack.close();
});

/** As a back end in any language does it. */
async function put(body: unknown, properties: Options.Publish = {}): Promise<void> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  channel.publish('warren.send', '', Buffer.from(text), properties);
  await channel.waitForConfirms();
}

describe('warren.send', () => {
  it('does what POST /v1/messages does, in the order of one channel', async () => {
    const user = uniqueUser();
    const group = `send-${user}`;
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    const client = stack.client(user, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    for (let index = 0; index < 200; index++)
      await put({ to: { user }, type: 'note', data: index, track: index % 3 === 0 });
    await until(() => got.length === 200);
    expect(got.map(({ data }) => data)).toEqual(Array.from({ length: 200 }, (_, index) => index));
    await put({ to: { group }, type: 'note', data: 'group' });
    await put({ to: { users: [user, 'nobody'] }, type: 'note', data: 'list' });
    await until(() => got.length === 202);
  });

  it('tells the outcome of tracked messages by event', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.stomp());
    collect(client);
    client.start();
    await client.ready();
    const message = { to: { users: [user, 'nobody'] }, type: 'note', data: 1, track: true };
    await put(message, { messageId: `tracked-${user}` });
    await until(() => log.of(user).includes('message.delivered delivered'));
    const told = log.events.filter((event) => 'messageId' in event);
    expect(told.filter(({ messageId }) => messageId === `tracked-${user}`)).toHaveLength(2);
    const { body } = await stack.api('GET', `/v1/messages/tracked-${user}`);
    expect(body.counts).toEqual({ delivered: 1, unprovisioned: 1 });
  });

  it('has hundreds of one account wait for one another, and no other account for them', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    // Each takes the database a while.
    const users = Array.from({ length: 1000 }, (_, index) => `${user}-${String(index)}`);
    const account = new URL(inject('broker').endpoints.backendAmqpUrl).username;
    const idOf = (index: number) => `${user}-many-${String(index)}`;
    const body = Buffer.from(JSON.stringify({ to: { users }, type: 'many', data: 1, track: true }));
    for (let index = 0; index < 100; index++) {
      channel.publish('warren.send', '', body, { userId: account, messageId: idOf(index) });
    }
    await put({ to: { user }, type: 'note', data: 'another account' });
    await until(() => got.length > 0);
    const statusOf = async (index: number) =>
      (await stack.api('GET', `/v1/messages/${idOf(index)}`)).status;
    expect(await statusOf(30)).toBe(404);
    await until(async () => (await statusOf(99)) === 200);
  });

  it.each([
    ['no JSON', '{"to":', {}, 'invalid_request'],
    ['JSON that is none, though it says so', '{', { contentType: 'application/json' }, ''],
    ['another content type', '{}', { contentType: 'text/plain' }, 'invalid_request'],
    ['an unknown field', { to: { user: 'a' }, type: 't', data: 1, pusch: 1 }, {}, 'unknown_field'],
    ['an unknown group', { to: { group: 'none' }, type: 't', data: 1 }, {}, 'group_unknown'],
    ['nothing at all', '', {}, 'invalid_request'],
  ])('gives up %s, and says so', async (_what, body, properties, code) => {
    const messageId = uniqueUser();
    const account = new URL(inject('broker').endpoints.backendAmqpUrl).username;
    await put(body, { ...properties, messageId, userId: account });
    const find = () =>
      log.events.find(
        (event) => event.event === 'message.refused' && event.messageId === messageId,
      );
    await until(() => find() !== undefined);
    expect(find()).toMatchObject({ account, code: code || 'invalid_request' });
    await until(() => dead.of(messageId) !== undefined);
    const letter = dead.of(messageId);
    expect(letter?.content.toString()).toBe(typeof body === 'string' ? body : JSON.stringify(body));
    expect(reasonOf(letter)).toContain(code);
  });

  it('refuses a message_id that is none, as one in the body, and sends what has an empty one', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    const messageId = `no id of ${user}`;
    await put({ to: { user }, type: 'note', data: 'refused' }, { messageId });
    // As one without comes back that had to wait for the broker or the database.
    await put({ to: { user }, type: 'note', data: 'sent' }, { messageId: '' });
    const find = () =>
      log.events.find(
        (event) => event.event === 'message.refused' && event.messageId === messageId,
      );
    await until(() => find() !== undefined && got.length > 0);
    expect(find()).toMatchObject({ code: 'invalid_request' });
    expect(got.map(({ data }) => data)).toEqual(['sent']);
  });
});
