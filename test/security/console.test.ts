import { connect, type Channel } from 'amqplib';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import type { SessionGrant } from '@warren/protocol';
import { ConsoleClient } from '../support/console.js';
import { CONSUMERS } from '../support/liar.js';
import { RawStomp } from '../support/raw-stomp.js';
import {
  ADMIN_KEY,
  request,
  SERVICE_KEY,
  startStack,
  uniqueUser,
  USER_SECRET,
  userToken,
  VIEWER_KEY,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let admin: Pick<SessionGrant, 'queue' | 'liveQueue' | 'token' | 'sessionId'>;
let user: SessionGrant;
let routes: { method: string; path: string }[];
const { endpoints } = inject('broker');

beforeAll(async () => {
  stack = await startStack();
  const userId = uniqueUser();
  user = await stack.session(userId, { deviceId: 'phone' });
  await stack.send({ user: userId }, 'for the user alone');
  admin = (await stack.admin('POST', 'sessions', {})).body;
  const { body } = await request(`${stack.apiUrl}/openapi.json`, 'GET');
  routes = Object.entries(body.paths as Record<string, object>)
    .filter(([path]) => path.startsWith('/v1/admin/'))
    .flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path })),
    );
});
afterAll(() => stack.close());

/** Whether the broker lets a token do something; whatever it refuses ends the connection. */
async function isAllowed(
  { queue, token }: Pick<SessionGrant, 'queue' | 'token'>,
  work: (channel: Channel) => Promise<unknown>,
): Promise<boolean> {
  const account = `${encodeURIComponent(queue)}:${encodeURIComponent(token)}@`;
  const model = await connect(endpoints.clientAmqpUrl.replace('amqp://', `amqp://${account}`));
  model.on('error', () => undefined);
  try {
    const channel = await model.createConfirmChannel();
    channel.on('error', () => undefined);
    await work(channel);
    return true;
  } catch {
    return false;
  } finally {
    await model.close().catch(() => undefined);
  }
}

const consume = (queue: string) => (channel: Channel) => channel.consume(queue, () => undefined);
const call = (path: string, method: string, bearer?: string, body: unknown = {}) =>
  request(
    stack.apiUrl + path.replaceAll('{id}', '1').replaceAll('{user}', 'x'),
    method,
    bearer,
    method === 'GET' || method === 'DELETE' ? undefined : body,
  );

describe("an admin's token on the broker", () => {
  it('reads its own two queues, and neither those of users nor anything else', async () => {
    expect(await isAllowed(admin, consume(admin.queue))).toBe(true);
    expect(await isAllowed(admin, consume(admin.liveQueue))).toBe(true);
    for (const queue of [user.queue, user.liveQueue, 'warren.dead', 'warren.history']) {
      expect(await isAllowed(admin, consume(queue)), queue).toBe(false);
      expect(await isAllowed(admin, (channel) => channel.get(queue)), queue).toBe(false);
      expect(await isAllowed(admin, (channel) => channel.purgeQueue(queue)), queue).toBe(false);
    }
  });

  it('neither publishes nor binds nor declares', async () => {
    const attempts: ((channel: Channel) => Promise<unknown>)[] = [
      (channel) => channel.bindQueue(admin.queue, 'warren.direct', user.queue),
      (channel) => channel.bindQueue(admin.queue, 'warren.events', '#'),
      (channel) => channel.assertQueue('warren.console.mine'),
      async (channel) => {
        channel.publish('warren.direct', user.queue, Buffer.from('evil'));
        await (channel as Channel & { waitForConfirms: () => Promise<void> }).waitForConfirms();
      },
    ];
    for (const attempt of attempts) expect(await isAllowed(admin, attempt)).toBe(false);
  });

  it("does not subscribe to a user's queue by STOMP", async () => {
    const stomp = await RawStomp.open(endpoints.stompUrl);
    const login = { host: 'warren', login: admin.queue, passcode: admin.token };
    expect(await stomp.login(login)).toBe(true);
    stomp.send('SUBSCRIBE', {
      id: '1',
      destination: `/amq/queue/${user.queue}`,
      ack: 'client-individual',
    });
    // The user's message waits there.
    expect(await stomp.next(['MESSAGE'])).toBeUndefined();
    expect(stomp.isClosed).toBe(true);
    await stomp.close();
  });

  it('is none of a user, for whom it opens nothing', async () => {
    for (const path of ['/v1/sessions', '/v1/me/receipts']) {
      expect((await call(path, 'POST', admin.token)).status).toBe(401);
    }
    expect((await call('/v1/admin/users', 'GET', admin.token)).status).toBe(401);
  });
});

describe("a user's token", () => {
  it('reaches no queue of the console', async () => {
    for (const queue of [admin.queue, admin.liveQueue]) {
      expect(await isAllowed(user, consume(queue))).toBe(false);
      expect(await isAllowed(user, (channel) => channel.deleteQueue(queue))).toBe(false);
    }
  });

  it('opens no route of admins, nor does any other key', async () => {
    expect(routes.length).toBeGreaterThan(25);
    const { body: own } = await stack.api('POST', `/v1/users/${user.userId}/tokens`, {});
    const secrets: [string | undefined, number[]][] = [
      [undefined, [401]],
      [SERVICE_KEY, [401]],
      [own.token, [401]],
      [user.token, [401]],
      [userToken(user.userId), [403]],
      [userToken(user.userId, { warren_role: 'none' }), [403]],
      [`${ADMIN_KEY}x`, [401]],
    ];
    for (const { method, path } of routes) {
      for (const [secret, statuses] of secrets) {
        const { status, body } = await call(path, method, secret);
        expect(statuses, `${method} ${path} ${body.code}`).toContain(status);
      }
    }
  });
});

describe('a viewer', () => {
  it('changes nothing: every route that does refuses it, whatever is asked', async () => {
    const own = ['/v1/admin/tokens', '/v1/admin/sessions'];
    const changing = routes.filter(
      ({ method, path }) => method !== 'GET' && !own.some((prefix) => path.startsWith(prefix)),
    );
    expect(changing.length).toBeGreaterThan(9);
    for (const { method, path } of changing) {
      const { status, body } = await call(path, method, VIEWER_KEY);
      expect([status, body.code], `${method} ${path}`).toEqual([403, 'role_required']);
    }
  });
});

describe('what an operator watches', () => {
  it('is shown to no other one by a pattern of events', async () => {
    const console = await ConsoleClient.open(stack, VIEWER_KEY);
    const name = user.userId;
    const patterns = ['trace.#', 'trace.*', `trace.${name}`, '#', '*.*', '*.#', `#.${name}`];
    for (const pattern of [...patterns, `*.${name}`, '#.#', '#.trace.*', 'trace.#.*.#']) {
      const path = `sessions/${console.grant!.sessionId}/feed`;
      const feed = { events: ['session.#', pattern] };
      const { status, body } = await stack.admin('PUT', path, feed, VIEWER_KEY);
      expect([status, body.code], pattern).toEqual([400, 'invalid_request']);
    }
    for (const pattern of ['user.#', `*.*.${name}`, `#.*.*.${name}`, 'trace', 'trace.*.*', '*']) {
      expect(await console.feed({ events: [pattern] }, VIEWER_KEY), pattern).toBe(200);
    }
    await console.close();
  });

  it('is read by who has asked for it, and is in the audit log', async () => {
    const userId = uniqueUser();
    await stack.session(userId, { deviceId: 'phone' });
    const operator = await ConsoleClient.open(stack);
    const viewer = await ConsoleClient.open(stack, VIEWER_KEY);
    const watchers = async (): Promise<string[]> => {
      const { entries } = (await stack.admin('GET', 'audit?limit=100')).body;
      return entries
        .filter(({ action, target }) => action === 'user.watch' && target === userId)
        .map(({ actor }) => actor);
    };
    const actors = [operator, viewer].map(({ grant }) => grant!.userId);
    await operator.feed({ watch: [userId] });
    await viewer.feed({ events: ['session.#', `*.*.${userId}`] }, VIEWER_KEY);
    const first = await stack.send({ user: userId }, 1);
    await operator.untilTraced(userId, 'sent', first.body.id);
    // Whatever comes to the viewer of the message has come before this.
    await stack.session(userId, { deviceId: 'tablet' });
    await until(() => viewer.events.some(({ event }) => event === 'session.created'));
    expect(viewer.events.filter(({ event }) => event === 'trace')).toEqual([]);
    expect(await watchers()).toEqual([actors[0]]);
    await viewer.feed({ watch: [userId] }, VIEWER_KEY);
    const second = await stack.send({ user: userId }, 2);
    await viewer.untilTraced(userId, 'sent', second.body.id);
    expect((await watchers()).sort()).toEqual(actors.sort());
    await Promise.all([operator.close(), viewer.close()]);
  });

  it('is what was said last, however many say what is to be watched at once', async () => {
    const users = [uniqueUser(), uniqueUser(), uniqueUser(), uniqueUser()];
    for (const userId of users) await stack.session(userId, { deviceId: 'phone' });
    const console = await ConsoleClient.open(stack);
    const said = await Promise.all(users.map((userId) => console.feed({ watch: [userId] })));
    expect(said).toEqual(users.map(() => 200));
    expect(await console.feed({ events: ['session.#'] })).toBe(200);
    console.events.length = 0;
    for (const userId of users) await stack.send({ user: userId }, 1);
    const last = uniqueUser();
    // Whatever comes of the messages has come before this.
    await stack.session(last, { deviceId: 'phone' });
    const isLast = (event: object): boolean => 'user' in event && event.user === last;
    await until(() => console.events.some(isLast));
    expect(console.events.filter((event) => !isLast(event))).toEqual([]);
    await console.close();
  });
});

describe('what one viewer asks for without end', () => {
  it('opens no more consoles than fifty, each of which gets a copy of each event', async () => {
    const { body } = await stack.admin('POST', 'sessions', {}, ADMIN_KEY);
    const open = () => stack.admin('POST', 'sessions', {}, VIEWER_KEY);
    const grants: { sessionId: string }[] = [];
    for (let count = 0; count < 55; count++) grants.push((await open()).body);
    const feed = ({ sessionId }: { sessionId: string }, key = VIEWER_KEY) =>
      stack.admin('PUT', `sessions/${sessionId}/feed`, {}, key);
    const fed: boolean[] = [];
    for (const grant of grants) fed.push((await feed(grant)).status === 200);
    expect(fed.filter(Boolean).length).toBeLessThanOrEqual(50);
    expect(fed.at(-1)).toBe(true);
    // Somebody else's stay.
    expect((await feed(body, ADMIN_KEY)).status).toBe(200);
    for (const grant of grants) {
      await stack.admin('DELETE', `sessions/${grant.sessionId}`, undefined, VIEWER_KEY);
    }
  });

  it('fills the audit log with no more than ids', async () => {
    const path = `dead-letters/${'9'.repeat(12_000)}`;
    expect((await stack.admin('GET', path, undefined, VIEWER_KEY)).status).toBe(404);
    expect((await stack.admin('DELETE', `users/${'x'.repeat(12_000)}`)).status).toBe(400);
    const { entries } = (await stack.admin('GET', 'audit')).body;
    const targets = entries.map((entry) => ('target' in entry ? entry.target : ''));
    expect(
      targets.filter((target) => target.startsWith('999') || target.startsWith('xxx')),
    ).toEqual(['x'.repeat(1024), '9'.repeat(1024)]);
  });

  it('keeps nobody from the dead letters: a user with some is removed all the same', async () => {
    const users = Array.from({ length: 3 }, uniqueUser);
    for (const userId of users) {
      await stack.api('PUT', `/v1/users/${userId}`, { devices: ['phone'] });
      await stack.send({ user: userId }, 'expires', { ttlMs: 1 });
    }
    const lettersOf = async (userId: string) =>
      (await stack.admin('GET', `dead-letters?user=${userId}`)).body.letters;
    const other = uniqueUser();
    await stack.api('PUT', `/v1/users/${other}`, { devices: ['phone'] });
    await stack.send({ user: other }, 'expires', { ttlMs: 1 });
    for (const userId of [...users, other]) {
      await until(async () => (await lettersOf(userId)).length === 1);
    }
    const { id } = (await lettersOf(other))[0]!;
    let isOver = false;
    onTestFinished(() => {
      isOver = true;
    });
    const statuses = new Set<number>();
    const looks = Array.from({ length: 6 }, async () => {
      while (!isOver) {
        const path = `dead-letters/${String(id)}`;
        statuses.add((await stack.admin('GET', path, undefined, VIEWER_KEY)).status);
      }
    });
    for (const userId of users) {
      expect((await stack.api('DELETE', `/v1/users/${userId}`)).status).toBe(204);
      expect(await lettersOf(userId)).toEqual([]);
    }
    isOver = true;
    await Promise.all(looks);
    // Nor from each other.
    expect([...statuses]).toEqual([200]);
  });
});

describe("an operator's login that ends", () => {
  /** Enough for what is done meanwhile on a busy machine. */
  const SECONDS = 12;

  const logIn = () => {
    const exp = Math.floor(Date.now() / 1000) + SECONDS;
    const claims = { sub: uniqueUser(), warren_role: 'operator', exp };
    return { token: jwt.sign(claims, USER_SECRET, { algorithm: 'HS256' }), endsAt: exp * 1000 };
  };
  const exchange = async (secret: string) => {
    const { status, body } = await stack.admin('POST', 'tokens', undefined, secret);
    expect(status).toBe(201);
    return { token: body.token, endsAt: Date.parse(body.expiresAt) };
  };

  it('takes along what was made from it, however often that was exchanged', async () => {
    const login = logIn();
    const secrets = [login.token];
    for (let round = 0; round < 4; round++) {
      const made = await exchange(secrets.at(-1)!);
      expect(made.endsAt).toBe(login.endsAt);
      secrets.push(made.token);
    }
    const last = secrets.at(-1)!;
    await until(async () => (await stack.admin('GET', 'users', undefined, last)).status === 401);
    for (const secret of secrets) {
      for (const [method, path, body] of [
        ['GET', 'users', undefined],
        ['POST', 'tokens', undefined],
        ['POST', 'sessions', {}],
        ['POST', 'messages', { to: { user: user.userId }, type: 'note', data: 1 }],
      ] as const) {
        const reply = await stack.admin(method, path, body, secret);
        expect([reply.status, reply.body.code], path).toEqual([401, 'token_expired']);
      }
    }
  });

  it.each(['stomp', 'amqp'] as const)('ends an open console and its watch, by %s', async (name) => {
    const login = logIn();
    const { token } = await exchange(login.token);
    const { body: grant } = await stack.admin('POST', 'sessions', {}, token);
    expect(Date.parse(grant.expiresAt)).toBe(login.endsAt);
    const consumer = await CONSUMERS[name](grant);
    const idle = await CONSUMERS[name](grant, { idle: true });
    const path = `sessions/${grant.sessionId}/feed`;
    const feed = () => stack.admin('PUT', path, { watch: [user.userId] }, token);
    const fed = await feed();
    expect(fed.status).toBe(200);
    expect(Date.parse(fed.body.expiresAt)).toBe(login.endsAt);
    await stack.send({ user: user.userId }, 'watched');
    await until(() => consumer.bodies.some((body) => body.includes('watched')));
    await until(() => consumer.isGone() && idle.isGone());
    expect((await feed()).body.code).toBe('token_expired');
    const renewal = { sessionId: grant.sessionId };
    expect((await stack.admin('POST', 'sessions', renewal, token)).body.code).toBe('token_expired');
    // Its login has ended, too.
    await expect(CONSUMERS[name](grant)).rejects.toThrow();
    await Promise.all([consumer.close(), idle.close()]);
  });
});

describe('the pages of the console', () => {
  it('run nothing but what they were built of, and are shown in no frame', async () => {
    const response = await fetch(`${stack.apiUrl}/console/`);
    const policy = response.headers.get('content-security-policy') ?? '';
    const directives: Record<string, string | undefined> = Object.fromEntries(
      policy.split('; ').map((line): [string, string] => {
        const [name = '', ...values] = line.split(' ');
        return [name, values.join(' ')];
      }),
    );
    expect(directives).toMatchObject({
      'default-src': "'none'",
      'script-src': "'self'",
      'base-uri': "'none'",
      'form-action': "'none'",
      'frame-ancestors': "'none'",
    });
    expect(policy).not.toContain('unsafe');
    const page = await response.text();
    const nonce = /nonce="([^"]+)"/.exec(page)?.[1] ?? '';
    expect(policy).toContain(`'nonce-${nonce}'`);
    const again = await (await fetch(`${stack.apiUrl}/console/`)).text();
    expect(again).not.toContain(nonce);
    expect(page).not.toMatch(/<script(?![^>]* src=)/);
  });
});
