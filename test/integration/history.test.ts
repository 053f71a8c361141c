import { connect, type ConfirmChannel, type ChannelModel, type Options } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { DeadLetterLog, reasonOf } from '../support/dead-letter-log.js';
import { consumeByAmqp } from '../support/liar.js';
import { QueueWatch } from '../support/queue-watch.js';
import {
  request,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type ApiReply,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let model: ChannelModel;
let channel: ConfirmChannel;
beforeAll(async () => {
  // What users may send to each other: anything.
  stack = await startStack();
  model = await connect(inject('broker').endpoints.backendAmqpUrl);
  channel = await model.createConfirmChannel();
});
afterAll(async () => {
  await model.close();
  await stack.close();
});

const read = (query: object): Promise<ApiReply> =>
  stack.api(
    'GET',
    `/v1/history?${new URLSearchParams(query as Record<string, string>).toString()}`,
  );

const readAs = (user: string, query: object = {}): Promise<ApiReply> =>
  request(
    `${stack.apiUrl}/v1/me/history?${new URLSearchParams(query as Record<string, string>).toString()}`,
    'GET',
    userToken(user),
  );

/** When so many are written down; the worker may lag. */
async function readAll(query: object, count: number): Promise<ApiReply['body']['items']> {
  let items: ApiReply['body']['items'] = [];
  await until(
    async () => {
      ({ items } = (await read(query)).body);
      return items.length >= count;
    },
    () => `${String(count)} in ${JSON.stringify(query)}, ${String(items.length)} are there`,
  );
  return items;
}

const store = (to: object, data: unknown, more: object = {}): Promise<ApiReply> =>
  stack.send(to, data, { delivery: 'stored', ...more });

const dataOf = (items: { data?: unknown }[]): unknown[] => items.map(({ data }) => data);

/** Stores messages for a user that are 0, 1, 2 … */
async function fill(user: string, count: number): Promise<string[]> {
  const messages = Array.from({ length: count }, (_, data) => ({
    to: { user },
    type: 'note',
    data,
    delivery: 'stored',
  }));
  const { body } = await stack.api('POST', '/v1/messages/batch', { messages });
  await readAll({ user, limit: '200' }, Math.min(count, 200));
  return body.results.map(({ id }) => id);
}

describe('a stored message', () => {
  it('is in the mailbox and in the history, and says to whom it went', async () => {
    const user = uniqueUser();
    const { queue } = await stack.session(user, { deviceId: 'phone' });
    const { status, body } = await store({ user }, { n: 1 });
    expect(status).toBe(202);
    expect(body.recipients).toEqual([{ user, outcome: 'queued' }]);
    const [item] = await readAll({ user }, 1);
    expect(item).toEqual({
      id: body.id,
      type: 'note',
      data: { n: 1 },
      to: { user },
      at: expect.stringMatching(/^\d{4}-.*Z$/) as string,
    });
    expect(Math.abs(Date.parse(item!.at) - Date.now())).toBeLessThan(20_000);
    const watch = await QueueWatch.open();
    expect(await watch.waiting(queue)).toBe(1);
    await watch.close();
  });

  it('to somebody without a mailbox is kept all the same, and its sender is told', async () => {
    const user = uniqueUser();
    const { body } = await store({ user }, 1);
    expect(body.recipients).toEqual([{ user, outcome: 'unprovisioned' }]);
    expect(dataOf(await readAll({ user }, 1))).toEqual([1]);
    // Nor has a user who is known every device.
    await stack.session(user, { deviceId: 'phone' });
    for (const [device, outcome] of [
      ['phone', 'queued'],
      ['tablet', 'unprovisioned'],
    ] as const) {
      const reply = await store({ device: { user, device } }, 2);
      expect(reply.body.recipients).toEqual([{ user, outcome }]);
    }
  });

  it('of any kind of recipient is in the history of those that it went to', async () => {
    const [a, b, c] = [uniqueUser(), uniqueUser(), uniqueUser()];
    const group = `g-${a}`;
    await stack.api('POST', `/v1/groups/${group}/members`, { add: [a, b] });
    await stack.session(a, { deviceId: 'phone' });
    await store({ user: a }, 'user');
    await store({ device: { user: a, device: 'phone' } }, 'device');
    expect((await store({ users: [a, c, a] }, 'list')).body.recipients).toEqual([
      { user: a, outcome: 'queued' },
      { user: c, outcome: 'unprovisioned' },
    ]);
    expect((await store({ group }, 'group')).body.outcome).toBe('stored');
    expect((await store({ broadcast: true }, `to all ${a}`)).body.outcome).toBe('stored');
    await readAll({ user: a }, 5);
    const own = async (user: string) =>
      (await readAll({ user }, 1)).filter(({ to }) => !('broadcast' in to));
    const tos = (items: { data?: unknown; to: unknown }[]) =>
      items.map(({ data, to }) => [data, to]);
    expect(tos(await own(a)).toReversed()).toEqual([
      ['user', { user: a }],
      ['device', { device: { user: a, device: 'phone' } }],
      // Nobody learns who else is on a list.
      ['list', { user: a }],
      ['group', { group }],
    ]);
    expect(tos(await own(b))).toEqual([['group', { group }]]);
    expect(tos(await own(c))).toEqual([['list', { user: c }]]);
    // Everybody is who was known then.
    expect(dataOf((await read({ user: a })).body.items)).toContain(`to all ${a}`);
    await stack.session(c, { deviceId: 'phone' });
    expect(dataOf((await read({ user: c })).body.items)).toEqual(['list']);
    expect(dataOf(await readAll({ group }, 1))).toEqual(['group']);
  });

  it('is kept once, whether it was sent twice by one process or by two', async () => {
    const user = uniqueUser();
    const id = `twice-${user}`;
    const all = Array.from({ length: 20 }, () => store({ user }, 'twice', { id }));
    expect((await Promise.all(all)).map(({ status }) => status)).toEqual(
      Array.from({ length: 20 }, () => 202),
    );
    await store({ user }, 'last');
    await until(async () => dataOf((await read({ user })).body.items).includes('last'));
    expect(dataOf((await read({ user })).body.items)).toEqual(['last', 'twice']);
  });

  it('with an id that was used for another recipient is another message', async () => {
    const users = [uniqueUser(), uniqueUser()];
    for (const user of users) await store({ user }, user, { id: 'welcome' });
    for (const user of users) expect(dataOf(await readAll({ user }, 1))).toEqual([user]);
  });

  it('outlives its time in the mailbox', async () => {
    const user = uniqueUser();
    const { queue } = await stack.session(user, { deviceId: 'phone' });
    await store({ user }, 'short', { ttlMs: 1 });
    await store({ users: [user] }, 'short list', { ttlMs: 1 });
    const watch = await QueueWatch.open();
    await until(async () => (await watch.waiting(queue)) === 0);
    await watch.close();
    expect(dataOf(await readAll({ user }, 2))).toEqual(['short list', 'short']);
  });

  it('that nobody follows is told from one that nobody knows', async () => {
    const user = uniqueUser();
    const { body } = await store({ user }, 1);
    await readAll({ user }, 1);
    const state = async (id: string) => (await stack.api('GET', `/v1/messages/${id}`)).body.code;
    expect(await state(body.id)).toBe('message_not_tracked');
    expect(await state('no-such-id')).toBe('message_unknown');
    const tracked = await store({ user }, 2, { track: true });
    const { counts } = (await stack.api('GET', `/v1/messages/${tracked.body.id}`)).body;
    expect(counts).toEqual({ unprovisioned: 1 });
  });

  it('can be sent by warren.send', async () => {
    const user = uniqueUser();
    const body = { to: { user }, type: 'note', data: 'by AMQP', delivery: 'stored' };
    channel.publish('warren.send', '', Buffer.from(JSON.stringify(body)));
    await channel.waitForConfirms();
    expect(dataOf(await readAll({ user }, 1))).toEqual(['by AMQP']);
  });

  it('can be sent by the publish helper, which cannot tell who has a mailbox', async () => {
    const user = uniqueUser();
    const { publisher } = stack.server.warren;
    const result = await publisher.toUser(user, 'note', 'helper', { delivery: 'stored' });
    expect(result.outcome).toBe('stored');
    expect(dataOf(await readAll({ user }, 1))).toEqual(['helper']);
  });
});

describe('a page of the history', () => {
  it('goes from the newest or the oldest, before and after a message, without a gap', async () => {
    const user = uniqueUser();
    const ids = await fill(user, 25);
    const walk = async (order: 'asc' | 'desc') => {
      const seen: unknown[] = [];
      for (let next: string | undefined; ;) {
        const cursor = next && { [order === 'asc' ? 'after' : 'before']: next };
        const { body } = await read({ user, order, limit: '10', ...cursor });
        seen.push(...dataOf(body.items).filter((data) => typeof data === 'number'));
        next = body.next;
        if (next === undefined) return seen;
      }
    };
    const all = Array.from({ length: 25 }, (_, index) => index);
    expect(await walk('asc')).toEqual(all);
    expect(await walk('desc')).toEqual(all.toReversed());
    const between = await read({ user, after: ids[4]!, before: ids[8]!, order: 'asc' });
    expect(dataOf(between.body.items)).toEqual([5, 6, 7]);
    expect(between.body).not.toHaveProperty('next');
  });

  it('stays where it was when newer messages come', async () => {
    const user = uniqueUser();
    await fill(user, 6);
    const first = await read({ user, limit: '3' });
    await store({ user }, 'newer');
    await until(async () => dataOf((await read({ user })).body.items).includes('newer'));
    const second = await read({ user, limit: '3', before: first.body.next });
    expect(dataOf([...first.body.items, ...second.body.items])).toEqual([5, 4, 3, 2, 1, 0]);
  });

  it('is not longer than an answer should be, and goes on', async () => {
    const user = uniqueUser();
    for (let index = 0; index < 6; index++) {
      await stack.server.warren.publisher.toUser(user, 'note', 'x'.repeat(1_000_000), {
        delivery: 'stored',
      });
    }
    let count = 0;
    await until(async () => {
      count = 0;
      let body: ApiReply['body'];
      let next: string | undefined;
      do {
        ({ body } = await read({ user, ...(next !== undefined && { before: next }) }));
        count += body.items.length;
        ({ next } = body);
      } while (next !== undefined);
      return count === 6;
    });
    expect((await read({ user })).body.items).toHaveLength(5);
  });

  it.each([
    [{}, 400, 'invalid_request'],
    [{ user: 'a', group: 'b' }, 400, 'invalid_request'],
    [{ with: 'a' }, 400, 'invalid_request'],
    [{ user: '' }, 400, 'invalid_id'],
    [{ user: 'a', limit: '0' }, 400, 'invalid_request'],
    [{ user: 'a', limit: '201' }, 400, 'invalid_request'],
    [{ user: 'a', order: 'sideways' }, 400, 'invalid_request'],
    [{ user: 'a', befor: 'x' }, 400, 'unknown_field'],
    [{ user: 'a', before: 'no-such-message' }, 404, 'message_unknown'],
    [{ group: 'no such group' }, 404, 'group_unknown'],
  ])('refuses %o', async (query, status, code) => {
    const reply = await read(query);
    expect([reply.status, reply.body.code]).toEqual([status, code]);
  });

  it('has nothing for a user who is not known', async () => {
    const { body } = await read({ user: uniqueUser(), limit: '1', with: 'somebody' });
    expect(body.items).toEqual([]);
  });
});

describe('a conversation', () => {
  it('has what two users have sent to each other, in one order, for each of them', async () => {
    const [a, b, c] = [uniqueUser(), uniqueUser(), uniqueUser()];
    for (let index = 0; index < 6; index++) {
      const [from, user] = index % 2 === 0 ? [a, b] : [b, a];
      await store({ user }, index, { from });
    }
    await store({ user: b }, 'of a third', { from: c });
    await store({ user: b }, 'of the server');
    await readAll({ user: b }, 5);
    const seen = (reply: ApiReply) => reply.body.items.map(({ from, data }) => [from, data]);
    const expected = [0, 1, 2, 3, 4, 5].map((index) => [index % 2 === 0 ? a : b, index]);
    expect(seen(await read({ user: a, with: b, order: 'asc' }))).toEqual(expected);
    expect(seen(await readAs(b, { with: a, order: 'asc' }))).toEqual(expected);
    expect(seen(await readAs(c, { with: a }))).toEqual([]);
    expect(seen(await readAs(c, { with: b }))).toEqual([[c, 'of a third']]);
  });
});

describe('what users see', () => {
  it('is their own alone', async () => {
    const [a, b] = [uniqueUser(), uniqueUser()];
    const group = `private-${a}`;
    await stack.api('PUT', `/v1/groups/${group}/members/${a}`);
    const { body } = await store({ user: a }, 'private');
    await store({ group }, 'for members');
    await readAll({ user: a }, 2);
    expect(dataOf((await readAs(a)).body.items)).toEqual(
      expect.arrayContaining(['private', 'for members']),
    );
    const mine = (await readAs(b)).body.items;
    expect(dataOf(mine)).not.toContain('private');
    expect(dataOf(mine)).not.toContain('for members');
    // Neither by a group, nor by asking whether there is such a message.
    expect((await readAs(b, { group })).body.code).toBe('not_a_member');
    expect((await readAs(b, { group: 'no such group' })).body.code).toBe('not_a_member');
    const cursor = await readAs(b, { before: body.id });
    const nonsense = await readAs(b, { before: 'no-such-message' });
    expect([cursor.status, cursor.body.code]).toEqual([nonsense.status, nonsense.body.code]);
    expect((await readAs(b, { user: a })).body.items).toEqual(mine);
  });

  it('of a group begins where they have joined, if the group says so', async () => {
    const [early, late] = [uniqueUser(), uniqueUser()];
    const [open, closed] = [`open-${early}`, `closed-${early}`];
    expect((await stack.api('PUT', `/v1/groups/${open}`, {})).body.history).toBe('all');
    const put = await stack.api('PUT', `/v1/groups/${closed}`, { history: 'joined' });
    expect(put.body.history).toBe('joined');
    for (const group of [open, closed]) {
      await stack.api('PUT', `/v1/groups/${group}/members/${early}`);
      await store({ group }, 'before');
      await readAll({ group }, 1);
      await stack.api('PUT', `/v1/groups/${group}/members/${late}`);
      await store({ group }, 'after');
      await readAll({ group }, 2);
    }
    const seen = async (user: string, group: string) =>
      dataOf((await readAs(user, { group })).body.items);
    expect(await seen(early, closed)).toEqual(['after', 'before']);
    expect(await seen(late, open)).toEqual(['after', 'before']);
    expect(await seen(late, closed)).toEqual(['after']);
    // What went to a user is what could have reached its mailbox.
    const own = dataOf((await readAs(late)).body.items);
    expect(own.filter((data) => data === 'before' || data === 'after')).toEqual(['after', 'after']);
    // It can be changed, and stays when nothing is said.
    await stack.api('PUT', `/v1/groups/${closed}`, { history: 'all' });
    expect((await stack.api('PUT', `/v1/groups/${closed}`, {})).body.history).toBe('all');
    expect(await seen(late, closed)).toEqual(['after', 'before']);
    expect((await stack.api('PUT', `/v1/groups/${closed}`, { history: 'some' })).status).toBe(400);
  });

  it('of a group ends when they leave it', async () => {
    const user = uniqueUser();
    const group = `left-${user}`;
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    await store({ group }, 'secret');
    await readAll({ group }, 1);
    await stack.api('DELETE', `/v1/groups/${group}/members/${user}`);
    expect((await readAs(user, { group })).body.code).toBe('not_a_member');
    expect(dataOf((await readAs(user)).body.items)).not.toContain('secret');
  });

  it('is what the SDK gets, as messages', async () => {
    const [a, b] = [uniqueUser(), uniqueUser()];
    await store({ user: a }, { text: 'hi' }, { from: b, collapseKey: 'k' });
    await store({ user: b }, 'back', { from: a });
    await readAll({ user: a, with: b }, 2);
    const client = stack.client(a, TRANSPORTS.stomp());
    const { messages, next } = await client.history({ with: b, order: 'asc', limit: 1 });
    expect(messages).toMatchObject([
      { type: 'note', data: { text: 'hi' }, from: b, to: { user: a }, recovered: false },
    ]);
    expect(messages[0]?.headers['x-warren-collapse-key']).toBe('k');
    expect(messages[0]?.timestamp).toBeInstanceOf(Date);
    const rest = await client.history({ with: b, order: 'asc', after: next! });
    expect(rest.messages.map(({ data }) => data)).toEqual(['back']);
    expect(rest.next).toBeUndefined();
    await expect(client.history({ group: 'no such group' })).rejects.toMatchObject({
      code: 'history_refused',
      message: expect.stringContaining('not_a_member') as string,
    });
  });
});

describe('erasing', () => {
  it('a user takes what only that user sees, also what is not written down yet', async () => {
    const [gone, other] = [uniqueUser(), uniqueUser()];
    await stack.api('PUT', `/v1/users/${gone}`, {});
    await store({ user: gone }, 'to gone');
    await store({ user: other }, 'of gone', { from: gone });
    await store({ user: gone }, 'of other', { from: other });
    await store({ users: [gone, other] }, 'to both');
    const unread = Array.from({ length: 300 }, () => store({ user: gone }, 'on its way'));
    await Promise.all(unread);
    expect((await stack.api('DELETE', `/v1/users/${gone}`)).status).toBe(204);
    // Behind what was asked of the history.
    await store({ user: other }, 'last');
    await until(async () => dataOf((await read({ user: other })).body.items).includes('last'));
    const notBroadcast = ({ to }: { to: object }) => !('broadcast' in to);
    const own = (await read({ user: gone })).body.items.filter(notBroadcast);
    expect(own).toEqual([]);
    expect((await read({ user: gone, with: other })).body.items).toEqual([]);
    // Those are the other one's, too.
    const theirs = (await read({ user: other })).body.items.filter(notBroadcast);
    expect(dataOf(theirs)).toEqual(['last', 'to both', 'of gone']);
    expect(dataOf((await read({ user: other, with: gone })).body.items)).toEqual([
      'of other',
      'of gone',
    ]);
    // Nobody is left to whom it would belong.
    expect((await stack.api('DELETE', `/v1/users/${other}`)).status).toBe(204);
    expect((await read({ user: other, with: gone })).body.items).toEqual([]);
    expect((await stack.api('DELETE', `/v1/users/${gone}`)).body.code).toBe('user_unknown');
  });

  it('a group takes its messages; one that is made again has none of them', async () => {
    const user = uniqueUser();
    const group = `again-${user}`;
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    await Promise.all(Array.from({ length: 200 }, () => store({ group }, 'old')));
    await stack.api('DELETE', `/v1/groups/${group}`);
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    await store({ group }, 'new');
    expect(dataOf(await readAll({ group }, 1))).toEqual(['new']);
    expect(dataOf((await readAs(user, { group })).body.items)).toEqual(['new']);
  });
});

describe('messages of back ends that write AMQP themselves', () => {
  /** As docs/wire.md says. */
  async function put(user: string, body: Buffer | string, properties: Options.Publish = {}) {
    const headers = {
      'x-warren-to': `user:${encodeURIComponent(user)}`,
      ...(properties.headers as object | undefined),
    };
    channel.publish('warren.direct', `user.${user}`, Buffer.from(body), {
      messageId: `raw-${user}-${String(Math.random())}`,
      persistent: true,
      BCC: ['history'],
      ...properties,
      headers,
    });
    await channel.waitForConfirms();
  }

  it('are kept byte by byte', async () => {
    const user = uniqueUser();
    const exact = '{"big":12345678901234567890,"small":1.0,"text":"\\u0000é"}';
    await put(user, exact, { contentType: 'application/json', type: 'raw' });
    await put(user, 'plain “text”', { contentType: 'text/plain' });
    await put(user, Buffer.from([0, 255, 128]), { contentType: 'application/x-bytes' });
    await put(user, 'says nothing');
    const odd = { 'x-own': 'header', 'x-warren-at': '9007199254740991', 'x-warren-ttl': 'soon' };
    await put(user, '[1, 2]', { correlationId: 'c', headers: odd });
    await readAll({ user }, 5);
    const url = `${stack.apiUrl}/v1/me/history?order=asc`;
    const response = await fetch(url, { headers: { authorization: `Bearer ${userToken(user)}` } });
    const text = await response.text();
    expect(text).toContain(`"data":${exact}`);
    const { items } = JSON.parse(text) as ApiReply['body'];
    const own = items.filter(({ to }) => 'user' in to);
    expect(own).toMatchObject([
      { type: 'raw' },
      { type: 'message', data: 'plain “text”', contentType: 'text/plain' },
      { base64: 'AP+A', contentType: 'application/x-bytes' },
      { data: 'says nothing', contentType: 'text/plain' },
      { data: [1, 2], correlationId: 'c', headers: { 'x-own': 'header' } },
    ]);
    const { messages } = await stack
      .client(user, TRANSPORTS.stomp())
      .history({ order: 'asc', limit: 200 });
    const bytes = messages.find(({ data }) => data instanceof Uint8Array);
    expect(bytes?.data).toEqual(new Uint8Array([0, 255, 128]));
  });

  it('that cannot be kept are dead letters that say why, and hold up no other', async () => {
    const user = uniqueUser();
    const dead = await DeadLetterLog.open();
    await put(user, '1', { messageId: '' });
    await put(user, '2', { headers: { 'x-warren-to': 'nonsense' } });
    await put(user, '3', { contentType: 'application/vnd.warren.listed' });
    await put(user, '4');
    expect(dataOf(await readAll({ user }, 1))).toEqual([4]);
    await until(() => dead.letters.length >= 3);
    expect(dead.letters.map(reasonOf)).toEqual([
      expect.stringContaining('message_id') as string,
      expect.stringContaining('x-warren-to') as string,
      expect.stringContaining('must begin with a line of its users') as string,
    ]);
    await dead.close();
  });

  it('cannot have the history erased', async () => {
    const user = uniqueUser();
    await put(user, '"stays"');
    const command = JSON.stringify({ kind: 'erase-user', userId: user });
    // As a message it is none that can be kept; and the exchange for such is not a back end's.
    channel.publish('warren.direct', 'history', Buffer.from(command), { type: 'warren.history' });
    await channel.waitForConfirms();
    await put(user, '"after"');
    expect(dataOf(await readAll({ user }, 2))).toEqual(['after', 'stays']);
    const other = await connect(inject('broker').endpoints.backendAmqpUrl);
    const forbidden = await other.createConfirmChannel();
    const refused = new Promise((resolve) => forbidden.on('error', resolve));
    forbidden.publish('warren.retry', 'warren.history', Buffer.from(command));
    expect(String(await refused)).toContain('ACCESS_REFUSED');
    await other.close();
  });
});

describe('a client', () => {
  it('cannot read the history’s queue', async () => {
    const grant = await stack.session(uniqueUser(), { deviceId: 'phone' });
    await expect(consumeByAmqp(grant, { queue: 'warren.history' })).rejects.toThrow(
      'ACCESS_REFUSED',
    );
  });
});
