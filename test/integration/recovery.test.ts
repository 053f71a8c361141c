import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Client, type ClientStorage, type Gap, type Message } from '@warren/client';
import { limitMailboxes } from '../support/queue-policy.js';
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
let watch: QueueWatch;
let user: string;
beforeAll(async () => {
  stack = await startStack();
  watch = await QueueWatch.open();
});
afterAll(async () => {
  await watch.close();
  await stack.close();
});
beforeEach(() => {
  user = uniqueUser();
});

/** What a browser keeps between two starts of the app. */
function memoryStorage(): ClientStorage {
  const kept = new Map<string, string>();
  return {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
}

interface App {
  client: Client;
  got: Message[];
  gaps: Gap[];
}

async function startApp(
  transport: keyof typeof TRANSPORTS,
  storage: ClientStorage,
  more: object = {},
): Promise<App> {
  const client = stack.client(user, TRANSPORTS[transport](), { storage, ...more });
  const got: Message[] = [];
  const gaps: Gap[] = [];
  client.handle('*', (message) => {
    got.push(message);
  });
  client.on('gap', (gap) => gaps.push(gap));
  client.start();
  await client.ready();
  return { client, got, gaps };
}

const store = (to: object, data: unknown, more: object = {}): Promise<ApiReply> =>
  stack.send(to, data, { delivery: 'stored', ...more });

async function storeMany(to: object, from: number, count: number): Promise<void> {
  for (let start = from; start < from + count; start += 1000) {
    const messages = Array.from({ length: Math.min(1000, from + count - start) }, (_, index) => ({
      to,
      type: 'note',
      data: start + index,
      delivery: 'stored',
    }));
    const { body } = await stack.api('POST', '/v1/messages/batch', { messages });
    expect(body.results.every(({ status }) => status === 202)).toBe(true);
  }
}

const numbers = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => from + index);
const dataOf = (messages: Message[]) => messages.map(({ data }) => data);
const queueOf = async () => (await stack.user(user)).devices[0]!.queue;

describe.each(['stomp', 'amqp'] as const)(
  'a device by %s whose mailbox has expired',
  (transport) => {
    it('gets all 5,000 stored messages of meanwhile, in order, and then what is new', async () => {
      const storage = memoryStorage();
      const first = await startApp(transport, storage);
      await storeMany({ user }, 0, 3);
      await until(() => first.got.length === 3);
      await first.client.stop();
      const policy = await limitMailboxes(user, { expires: 100 });
      // Asking the broker for the queue would keep it.
      await until(async () => (await stack.api('GET', `/v1/users/${user}`)).status === 404);
      await policy.remove();
      await storeMany({ user }, 3, 5000);

      const second = await startApp(transport, storage);
      await until(() => second.got.length >= 5000);
      await storeMany({ user }, 5003, 5);
      await until(() => second.got.length >= 5005);
      expect(dataOf(second.got)).toEqual(numbers(5005, 3));
      expect(second.got.filter(({ recovered }) => recovered)).toHaveLength(5000);
      expect(second.got[0]).toMatchObject({ to: { user }, type: 'note', redelivered: false });
      // Whatever was queued and not stored went with the mailbox: nobody can tell whether there was any.
      expect(second.gaps).toMatchObject([{ reason: 'lost', recovered: 5000 }]);
      expect(second.gaps[0]?.since).toBeInstanceOf(Date);
      await second.client.stop();
      // It was made up for: the next time nothing is missing.
      const third = await startApp(transport, storage);
      await store({ user }, 'last');
      await until(() => third.got.length > 0);
      expect(dataOf(third.got)).toEqual(['last']);
      expect(third.gaps).toEqual([]);
    });
  },
);

describe('a mailbox that was lost', () => {
  it('is made up for with what went to lists, groups and everybody, and to no other device', async () => {
    const storage = memoryStorage();
    const group = `g-${user}`;
    await stack.api('PUT', `/v1/groups/${group}`, {});
    await store({ group }, 'before joining');
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    const first = await startApp('amqp', storage);
    await store({ user }, 'first');
    await until(() => first.got.length === 1);
    const queue = await queueOf();
    await first.client.stop();
    await watch.remove(queue);
    await store({ users: [user, 'somebody'] }, 'list');
    await store({ group }, 'group');
    await store({ broadcast: true }, `to all ${user}`);
    await store({ device: { user, device: 'amqp' } }, 'this device');
    await store({ device: { user, device: 'another' } }, 'another device');
    await store({ user: uniqueUser() }, 'another user');
    await store({ user }, 'short', { ttlMs: 1 });
    const second = await startApp('amqp', storage);
    await store({ user }, 'new');
    await until(() => dataOf(second.got).includes('new'));
    expect(dataOf(second.got)).toEqual(['list', 'group', `to all ${user}`, 'this device', 'new']);
  });

  it('while the app runs is made up for at once', async () => {
    const { got, gaps } = await startApp('stomp', memoryStorage());
    await storeMany({ user }, 0, 50);
    await until(() => got.length === 50);
    await watch.remove(await queueOf());
    // Without a mailbox, or with a new one that nobody has told of yet.
    await storeMany({ user }, 50, 200);
    await until(() => got.length >= 250);
    expect(dataOf(got)).toEqual(numbers(250));
    await until(() => gaps.length > 0);
  });

  it('of a device that is new is none', async () => {
    await storeMany({ user }, 0, 5);
    const { got, gaps } = await startApp('amqp', memoryStorage());
    await store({ user }, 'new');
    await until(() => got.length > 0);
    expect(dataOf(got)).toEqual(['new']);
    expect(gaps).toEqual([]);
  });

  it('of a device that does not remember is made up for from when it was last seen', async () => {
    const first = await startApp('amqp', memoryStorage());
    await storeMany({ user }, 0, 2);
    await until(() => first.got.length === 2);
    const lastSeen = async () => (await stack.user(user)).devices[0]!.lastSeenAt!;
    const before = await lastSeen();
    await first.client.stop();
    await until(async () => (await lastSeen()) > before);
    await watch.remove(await queueOf());
    await until(async () => (await stack.api('GET', `/v1/users/${user}`)).status === 404);
    await storeMany({ user }, 2, 3);
    const second = await startApp('amqp', memoryStorage());
    await until(() => second.got.length >= 5);
    // From a minute before that time on, and it does not know that it has handled two of them.
    expect(dataOf(second.got)).toEqual(numbers(5));
    await until(() => second.gaps.length > 0);
    expect(second.gaps).toEqual([{ reason: 'lost', since: undefined, recovered: 5 }]);
  });

  it('of a user who was removed since is none', async () => {
    const storage = memoryStorage();
    const first = await startApp('amqp', storage);
    await stack.send({ user }, 'not stored');
    await until(() => first.got.length === 1);
    await first.client.stop();
    await watch.remove(await queueOf());
    await until(async () => (await stack.api('GET', `/v1/users/${user}`)).status === 404);
    // It is known no more, and still there is something to forget.
    expect((await stack.api('DELETE', `/v1/users/${user}`)).status).toBe(204);
    expect((await stack.api('DELETE', `/v1/users/${user}`)).status).toBe(404);
    expect(await stack.session(user, { deviceId: 'amqp' })).not.toHaveProperty('missed');
  });

  it('of a device that was logged out since is none', async () => {
    const storage = memoryStorage();
    const first = await startApp('amqp', storage);
    await storeMany({ user }, 0, 1);
    await until(() => first.got.length === 1);
    await watch.remove(await queueOf());
    await first.client.logout();
    await storeMany({ user }, 1, 2);
    const second = await startApp('amqp', storage);
    await store({ user }, 'new');
    await until(() => second.got.length > 0);
    expect(dataOf(second.got)).toEqual(['new']);
    expect(second.gaps).toEqual([]);
  });

  it('is not taken for whole by a client that died before it had all', async () => {
    const storage = memoryStorage();
    const first = await startApp('amqp', storage);
    await storeMany({ user }, 0, 1);
    await until(() => first.got.length === 1);
    const queue = await queueOf();
    await first.client.stop();
    await watch.remove(queue);
    await storeMany({ user }, 1, 20);
    // One that comes, learns of it, and goes: the mailbox is there again now.
    const grant = await stack.session(user, { deviceId: 'amqp', hasHandled: true });
    expect(grant).toMatchObject({ resumed: false, missed: true });
    const again = await stack.session(user, { deviceId: 'amqp', hasHandled: true });
    expect(again).toMatchObject({ resumed: true, missed: true });
    const second = await startApp('amqp', storage);
    await until(() => second.got.length >= 20);
    // The mailbox comes after all that was missed, and after the server knows of it.
    await storeMany({ user }, 21, 1);
    await until(() => second.got.length >= 21);
    expect(second.got.at(-1)?.recovered).toBe(false);
    expect(dataOf(second.got)).toEqual(numbers(21, 1));
    await second.client.stop();
    const whole = await stack.session(user, { deviceId: 'amqp', hasHandled: true });
    expect(whole).not.toHaveProperty('missed');
  });
});

describe('a mailbox that overflows', () => {
  it('loses its oldest, which are handled first all the same', async () => {
    const storage = memoryStorage();
    const first = await startApp('amqp', storage);
    await storeMany({ user }, 0, 1);
    await until(() => first.got.length === 1);
    await first.client.stop();
    const policy = await limitMailboxes(user, { 'max-length': 10 });
    const queue = await queueOf();
    await storeMany({ user }, 1, 100);
    await until(async () => (await watch.waiting(queue)) === 10);
    await until(async () => (await stack.session(user, { deviceId: 'amqp' })).missed === true);
    const second = await startApp('amqp', storage);
    await until(() => second.got.length >= 100);
    expect(dataOf(second.got)).toEqual(numbers(100, 1));
    // All that was lost was stored.
    expect(second.gaps).toEqual([]);
    await until(async () => (await watch.waiting(queue)) === 0);
    await policy.remove();
  });

  it('while its client is busy is made up for at once', async () => {
    const policy = await limitMailboxes(user, { 'max-length': 10 });
    let open: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => (open = resolve));
    const client = stack.client(user, TRANSPORTS.amqp(), { prefetch: 1 });
    const got: unknown[] = [];
    const gaps: Gap[] = [];
    client.handle('note', async ({ data }) => {
      if (data === 0) await opened;
      got.push(data);
    });
    client.on('gap', (gap) => gaps.push(gap));
    client.start();
    await client.ready();
    const changes: string[] = [];
    client.on('state', ({ current }) => changes.push(current));
    await storeMany({ user }, 0, 200);
    await until(() => changes.includes('authorizing'));
    open();
    await until(() => got.length >= 200);
    expect(got).toEqual(numbers(200));
    expect(gaps).toEqual([]);
    await policy.remove();
  });

  it('of messages that nobody has stored has a gap', async () => {
    const storage = memoryStorage();
    const first = await startApp('amqp', storage);
    await store({ user }, 'first');
    await until(() => first.got.length === 1);
    await first.client.stop();
    const policy = await limitMailboxes(user, { 'max-length': 2 });
    for (let index = 0; index < 5; index++) await stack.send({ user }, index);
    await until(async () => (await stack.session(user, { deviceId: 'amqp' })).missed === true);
    const second = await startApp('amqp', storage);
    await until(() => second.got.length >= 2);
    expect(dataOf(second.got)).toEqual([3, 4]);
    expect(second.gaps).toMatchObject([{ reason: 'lost', recovered: 0 }]);
    await policy.remove();
  });

  it('loses what waits longer than its policy says, which the history has', async () => {
    const storage = memoryStorage();
    const first = await startApp('amqp', storage);
    await store({ user }, 'first');
    await until(() => first.got.length === 1);
    await first.client.stop();
    const policy = await limitMailboxes(user, { 'message-ttl': 1 });
    await storeMany({ user }, 0, 5);
    await store({ user }, 'was to be short', { ttlMs: 1 });
    await until(async () => (await stack.session(user, { deviceId: 'amqp' })).missed === true);
    await policy.remove();
    const second = await startApp('amqp', storage);
    await until(() => second.got.length >= 5);
    expect(dataOf(second.got)).toEqual(numbers(5));
  });
});

it('a message whose own time is over is not missed', async () => {
  await stack.session(user, { deviceId: 'd' });
  const { body } = await store({ user }, 'short', { ttlMs: 1, track: true });
  await until(async () => {
    const { counts } = (await stack.api('GET', `/v1/messages/${body.id}`)).body;
    return counts.expired === 1;
  });
  expect(await stack.session(user, { deviceId: 'd' })).not.toHaveProperty('missed');
});

it('what is lost after a recovery has begun is another loss', async () => {
  await stack.session(user, { deviceId: 'd' });
  const policy = await limitMailboxes(user, { 'max-length': 1 });
  const url = `${stack.apiUrl}/v1/me/recovery`;
  const markOf = async () =>
    (await request(`${url}?deviceId=d&lastAt=0`, 'GET', userToken(user))).body.mark;
  const finish = (mark: string) => request(url, 'POST', userToken(user), { deviceId: 'd', mark });
  const isMissed = async () => (await stack.session(user, { deviceId: 'd' })).missed === true;
  await storeMany({ user }, 0, 5);
  await until(isMissed);
  // Until all that was lost is known.
  let mark = '';
  await until(async () => {
    const before = mark;
    mark = await markOf();
    return mark === before;
  });
  await storeMany({ user }, 5, 5);
  await until(async () => (await markOf()) !== mark);
  expect((await finish(mark)).status).toBe(204);
  expect(await isMissed()).toBe(true);
  await until(async () => {
    await finish(await markOf());
    return !(await isMissed());
  });
  await policy.remove();
});

describe('GET /v1/me/recovery', () => {
  const recover = (query: Record<string, string>) =>
    request(
      `${stack.apiUrl}/v1/me/recovery?${new URLSearchParams(query).toString()}`,
      'GET',
      userToken(user),
    );

  it('is for devices of one’s own', async () => {
    await stack.session(uniqueUser(), { deviceId: 'other' });
    expect((await recover({ deviceId: 'other' })).body.code).toBe('session_ended');
    expect((await recover({})).body.code).toBe('invalid_request');
    expect((await recover({ deviceId: 'x', cursor: "1' or 1" })).body.code).toBe('invalid_request');
  });

  it('waits until the history has what was sent before', async () => {
    await stack.session(user, { deviceId: 'd' });
    for (let round = 0; round < 5; round++) {
      const { body } = await store({ user }, round);
      const reply = await recover({ deviceId: 'd', lastAt: '0' });
      expect(reply.body.items.map(({ id }) => id)).toContain(body.id);
    }
  });

  it('of many at once is answered to all of them', async () => {
    await stack.session(user, { deviceId: 'd' });
    await store({ user }, 1);
    const replies = await Promise.all(
      Array.from({ length: 200 }, () => recover({ deviceId: 'd', lastAt: '0' })),
    );
    expect(replies.every(({ body }) => body.items.length > 0)).toBe(true);
  });

  it('begins a minute before the last message that was handled, but not before the oldest known', async () => {
    await stack.session(user, { deviceId: 'd' });
    await storeMany({ user }, 0, 10);
    const all = (await recover({ deviceId: 'd', lastAt: '0' })).body.items.filter(
      ({ to }) => 'user' in to,
    );
    const ids = all.map(({ id }) => id);
    const from = async (query: object) => {
      const { body } = await recover({ deviceId: 'd', ...query });
      return [body.items.map(({ id }) => id).filter((id) => ids.includes(id)), body.complete];
    };
    expect(await from({ last: ids[8]! })).toEqual([ids, true]);
    expect(await from({ last: ids[8]!, oldest: ids[4]! })).toEqual([ids.slice(4), true]);
    expect(await from({ last: 'long forgotten', lastAt: String(Date.now()) })).toEqual([ids, true]);
    // One that cannot say from where on cannot be told that it has all.
    expect((await from({}))[1]).toBe(false);
  });
});
