import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { getClient, type ClientStorage } from '@warren/client';
import { settle, TestBed } from '@warren/client/testing';
import { setupBed } from '../support/bed.js';
import { seeded } from '../support/seeded.js';
import { until } from '../support/until.js';

describe('the id of a device', () => {
  const unnamed = { deviceId: undefined as unknown as string };
  const setupUnnamed = (options: Parameters<typeof setupBed>[0] = {}) =>
    setupBed({ ...options, ...unnamed }, { random: Math.random });
  const forbidden = (): never => {
    throw new DOMException('The operation is insecure.', 'SecurityError');
  };

  it.each([
    ['is forbidden', { getItem: forbidden, setItem: forbidden, removeItem: forbidden }],
    [
      'keeps nothing',
      { getItem: () => null, setItem: () => undefined, removeItem: () => undefined },
    ],
  ])('lasts as long as the page when storage %s, and everybody is told', async (_, storage) => {
    const { client, bed, errors, connect } = setupUnnamed({ storage, dedupe: 'memory' });
    await connect();
    expect(bed.requests).toMatchObject([{ passing: true }]);
    expect(errors.map(({ code }) => code)).toEqual(['storage_unavailable']);
    await client.logout();
    const next = getClient({ ...bed.options, ...unnamed, storage });
    expect(next.deviceId).not.toBe(client.deviceId);
  });

  it.each([
    ['there is no storage', undefined],
    [
      'storage keeps nothing',
      { getItem: () => null, setItem: () => undefined, removeItem: () => undefined },
    ],
  ])('is one however often the client is asked for, when %s', async (_, storage) => {
    const bed = new TestBed({ userId: `user-${String(Math.random())}`, random: Math.random });
    const ask = () => {
      const options = { ...bed.options, ...unnamed, storage: storage as ClientStorage };
      return getClient(options);
    };
    const client = ask();
    expect(ask()).toBe(client);
    await client.stop();
    expect(ask().deviceId).toBe(client.deviceId);
  });

  it('is read from the storage once, and written again when the application has cleared that', async () => {
    const { client, bed, connect, clock, broker } = setupUnnamed();
    const { deviceId } = client;
    await connect();
    bed.stored.clear();
    let reads = 0;
    const { storage } = bed.options;
    const getItem = storage.getItem.bind(storage);
    storage.getItem = (key) => {
      reads++;
      return getItem(key);
    };
    for (let render = 0; render < 200; render++) {
      expect(getClient({ ...bed.options, ...unnamed })).toBe(client);
    }
    expect(reads).toBe(0);
    broker.connection.break('lost');
    await clock.advance(1000);
    expect(bed.requests.map(({ passing }) => passing)).toEqual([false, false]);
    expect([...bed.stored.values()]).toContain(deviceId);
    await client.stop();
    bed.stored.clear();
    expect(getClient({ ...bed.options, ...unnamed }).deviceId).toBe(deviceId);
  });

  it('is kept in storage, and is no news then', async () => {
    const first = setupUnnamed();
    await first.connect();
    expect(first.bed.requests).toMatchObject([{ passing: false }]);
    await first.client.stop();
    const again = setupUnnamed({ storage: first.bed.options.storage });
    await again.connect();
    expect(again.bed.requests[0]!.deviceId).toBe(first.bed.requests[0]!.deviceId);
    expect([...first.errors, ...again.errors]).toEqual([]);
  });
});

describe('backoff', () => {
  it('waits anything between nothing and a bound that doubles up to its limit', async () => {
    for (let seed = 1; seed <= 50; seed++) {
      const { client, clock, broker, changes } = setupBed(
        { backoffBaseMs: 100, backoffMaxMs: 1000 },
        { random: seeded(seed) },
      );
      broker.refusals.push(...Array.from({ length: 8 }, () => 'lost' as const));
      client.start();
      await clock.advance(20_000);
      const waits = changes.flatMap(({ current, retryAt }, index) => {
        const previous = changes[index - 1]!;
        return current === 'waiting' ? [{ retryAt: retryAt!, previous }] : [];
      });
      expect(waits).toHaveLength(8);
      const at = changes.filter(({ current }) => current === 'authorizing').length;
      expect(at).toBe(9);
      expect(client.getSnapshot().state).toBe('connected');
    }
  });

  it('draws the delay from the whole of its bound', async () => {
    const delays: number[][] = Array.from({ length: 6 }, () => []);
    for (let seed = 1; seed <= 200; seed++) {
      const { client, clock, broker } = setupBed(
        { backoffBaseMs: 100, backoffMaxMs: 800 },
        { random: seeded(seed) },
      );
      broker.refusals.push(...Array.from({ length: 6 }, () => 'lost' as const));
      let attempt = 0;
      client.on('state', ({ current, retryAt }) => {
        if (current === 'waiting') delays[attempt++]!.push(retryAt! - clock.now);
      });
      client.start();
      await clock.advance(5000);
    }
    for (const [attempt, bound] of [100, 200, 400, 800, 800, 800].entries()) {
      expect(delays[attempt]).toHaveLength(200);
      expect(Math.max(...delays[attempt]!)).toBeLessThan(bound);
      expect(Math.min(...delays[attempt]!)).toBeLessThan(bound * 0.1);
      expect(Math.max(...delays[attempt]!)).toBeGreaterThan(bound * 0.9);
    }
  });

  it('begins anew only after a connection that has lasted', async () => {
    const { client, clock, broker, connect } = setupBed({ backoffBaseMs: 100 });
    const delays: number[] = [];
    client.on('state', ({ current, retryAt }) => {
      if (current === 'waiting') delays.push(retryAt! - clock.now);
    });
    await connect();
    for (const lastsMs of [100, 100, 100, 20_000]) {
      await clock.advance(lastsMs);
      broker.connection.break('lost');
      await clock.advance(1000);
    }
    expect(delays).toEqual([50, 100, 200, 50]);
  });

  it('begins anew when the application starts anew, and goes on after a pause', async () => {
    const { client, app, broker, clock } = setupBed({
      backoffBaseMs: 100,
      background: 'disconnect',
    });
    const delays: number[] = [];
    client.on('state', ({ current, retryAt }) => {
      if (current === 'waiting') delays.push(retryAt! - clock.now);
    });
    broker.refusals.push('lost', 'lost', 'lost', 'lost');
    client.start();
    await clock.advance(60);
    app.hide();
    app.show();
    await settle();
    await client.stop();
    client.start();
    await settle();
    expect(delays).toEqual([50, 100, 200, 50]);
  });

  it('leaves a server alone for as long as it asks', async () => {
    const { client, clock, bed } = setupBed();
    bed.replies.push({ status: 503, headers: { 'retry-after': '7' } });
    client.start();
    await settle();
    const { state, reason, retryAt } = client.getSnapshot();
    expect([state, reason?.code]).toEqual(['waiting', 'api_unavailable']);
    expect(retryAt! - clock.now).toBeGreaterThanOrEqual(7000);
  });

  it('comes ever more rarely to a server that always asks for a second', async () => {
    const { client, clock, bed } = setupBed();
    const asked = { status: 503, headers: { 'retry-after': '1' } };
    bed.replies.push(...Array.from({ length: 60 }, () => asked));
    client.start();
    await clock.advance(60_000);
    const early = bed.requests.length;
    await clock.advance(60_000);
    // With the middle of each draw: 15 s between two of them.
    expect(bed.requests.length - early).toBeLessThanOrEqual(5);
  });

  it('does not stay away for days because a proxy says so', async () => {
    const { client, clock, bed } = setupBed();
    bed.replies.push({ status: 503, headers: { 'retry-after': '99999999' } });
    client.start();
    await settle();
    expect(client.getSnapshot().retryAt! - clock.now).toBeLessThan(2 * 3_600_000);
  });

  it('reads also a date', async () => {
    const { client, clock, bed } = setupBed();
    const date = new Date(clock.now + 60_000).toUTCString();
    bed.replies.push({ status: 503, headers: { 'retry-after': date } });
    client.start();
    await settle();
    expect(client.getSnapshot().retryAt! - clock.now).toBeGreaterThanOrEqual(59_000);
  });
});

describe('an answer of somebody on the way to the server', () => {
  const PAGE = () => new Response('<title>Welcome to our hotel</title>', { status: 200 });
  const JSON_OF_ANOTHER = () => Response.json({ message: 'Forbidden' }, { status: 403 });
  const strangers: [string, () => Response][] = [
    ['a page', PAGE],
    ['a page that says 403', () => new Response('<h1>Forbidden</h1>', { status: 403 })],
    ['a page that says 404', () => new Response('<h1>Not Found</h1>', { status: 404 })],
    ['JSON that is none of its own', JSON_OF_ANOTHER],
    ['JSON that says that all is well', () => Response.json({ status: 'ok' })],
    ['nothing at all', () => new Response(null, { status: 204 })],
    ['a page that says 400', () => new Response('<h1>Bad Request</h1>', { status: 400 })],
    ['a page that says 401', () => new Response('<h1>Please log in</h1>', { status: 401 })],
    ['a page that says 409', () => new Response('<h1>Conflict</h1>', { status: 409 })],
  ];

  /** Answers in the server's place until it is over. */
  function setupStranger(answer: () => Response, options: Parameters<typeof setupBed>[0] = {}) {
    const stranger = { isThere: false };
    const parts = setupBed({
      ...options,
      platform: {
        fetch: (url, init) =>
          stranger.isThere
            ? Promise.resolve(answer())
            : parts.bed.options.platform.fetch!(url, init),
      },
    });
    return { ...parts, stranger };
  }

  it.each(strangers)('is no end of a session, if it is %s', async (_, answer) => {
    const { client, clock, state, stranger } = setupStranger(answer);
    stranger.isThere = true;
    client.start();
    await settle();
    expect(state()).toBe('waiting: api_unavailable');
    stranger.isThere = false;
    await clock.advance(60_000);
    expect(state()).toBe('connected');
  });

  it.each(strangers)('has taken no receipt, if it is %s', async (_, answer) => {
    const { client, clock, bed, connect, stranger } = setupStranger(answer);
    client.handle('note', () => undefined);
    await connect();
    stranger.isThere = true;
    await bed.deliver('note', 1, { id: 'a', headers: { 'x-warren-track': '1' } });
    await clock.advance(60_000);
    stranger.isThere = false;
    await clock.advance(60_000);
    expect(bed.calls.map(({ body }) => body['delivered'])).toEqual([['a']]);
  });

  it.each(strangers)('has done nothing that it was asked for, if it is %s', async (_, answer) => {
    const { client, clock, connect, stranger } = setupStranger(answer);
    await connect();
    stranger.isThere = true;
    const calls = [
      client.send({ user: 'bob' }, 'note', 1),
      client.history(),
      client.devices(),
      client.removeDevice('old'),
      client.pushKey(),
      client.registerPush({ provider: 'fcm', token: 'a token' }),
      client.unregisterPush(),
    ].map((call: Promise<unknown>) => call.catch((error: unknown) => error));
    await clock.advance(60_000);
    const unavailable = { code: 'api_unavailable' };
    expect(await Promise.all(calls)).toMatchObject(Array(7).fill(unavailable));
    await expect(client.logout()).rejects.toMatchObject({ code: 'logout_incomplete' });
  });

  it.each(strangers)('is no history that has nothing, if it is %s', async (_, answer) => {
    const { client, clock, bed, connect, stranger } = setupStranger(answer);
    const handled: unknown[] = [];
    const gaps: unknown[] = [];
    client.handle('note', ({ id }) => handled.push(id));
    client.on('gap', (gap) => gaps.push(gap));
    bed.lose([{ id: 'stored', type: 'note', data: 1 }]);
    client.start();
    while (bed.requests.length === 0) await Promise.resolve();
    stranger.isThere = true;
    await clock.advance(1000);
    expect(handled).toEqual([]);
    stranger.isThere = false;
    await clock.advance(30_000);
    expect([handled, gaps]).toEqual([['stored'], []]);
    await connect();
  });
});

describe('an answer of the server', () => {
  it('is believed for each of the calls', async () => {
    const { client, connect } = setupBed();
    await connect();
    expect(await client.send({ user: 'bob' }, 'note', 1, { id: 'a' })).toEqual({ id: 'a' });
    expect(await client.history()).toEqual({ messages: [], next: undefined });
    expect(await client.devices()).toEqual([]);
    expect(await client.pushKey()).toBeUndefined();
    await client.removeDevice('old');
    await client.registerPush({ provider: 'fcm', token: 'a token' });
    await client.unregisterPush();
    await client.logout();
  });

  it('is believed without a mark, when an older server gives the session', async () => {
    const { client, bed, connect } = setupBed({
      platform: {
        fetch: async (url, init) => {
          const response = await bed.options.platform.fetch!(url, init);
          response.headers.delete('warren-protocol');
          return response;
        },
      },
    });
    await connect();
    await client.removeDevice('old');
    await client.logout();
  });
});

describe('an attempt', () => {
  it('takes the next address when one fails', async () => {
    const { client, clock, broker } = setupBed();
    broker.refusals.push('lost');
    client.start();
    await clock.advance(1000);
    expect(broker.connection.options.url).toBe('ws://two');
  });

  it('brings a fresh token, and names the session that it renews', async () => {
    const { clock, broker, bed, connect } = setupBed();
    await connect();
    broker.connection.break('lost');
    await clock.advance(1000);
    expect(broker.connections.map(({ options }) => options.token)).toEqual([
      'test-grant-1',
      'test-grant-2',
    ]);
    expect(bed.requests.map(({ sessionId }) => sessionId)).toEqual([undefined, 'test-session']);
  });

  it('is made again at once when the broker refuses a token, and given up when it refuses the next', async () => {
    const { client, clock, broker, changes } = setupBed();
    broker.refusals.push('refused', 'refused');
    client.start();
    await clock.advance(0);
    expect(client.getSnapshot()).toMatchObject({
      state: 'failed',
      reason: { code: 'broker_refused' },
    });
    expect(changes.filter(({ current }) => current === 'waiting')).toHaveLength(1);
  });

  it('asks for one token at a time, and gives up on one that does not come', async () => {
    let asked = 0;
    let aborted = 0;
    const { client, clock } = setupBed({
      timeoutMs: 1000,
      getToken: ({ signal }) => {
        asked++;
        signal.addEventListener('abort', () => aborted++);
        return new Promise<string>(() => undefined);
      },
    });
    client.start();
    await clock.advance(999);
    expect([asked, aborted]).toEqual([1, 0]);
    await clock.advance(1);
    expect([asked, aborted]).toEqual([1, 1]);
    expect(client.getSnapshot()).toMatchObject({
      state: 'waiting',
      reason: { code: 'token_unavailable' },
    });
  });

  it.each([
    [400, 'request_refused'],
    [409, 'session_replaced'],
    [426, 'upgrade_required'],
  ])('ends in failed when the server answers %i', async (status, code) => {
    const { client, bed } = setupBed();
    bed.replies.push({ status });
    client.start();
    await settle();
    expect(client.getSnapshot()).toMatchObject({ state: 'failed', reason: { code } });
  });

  it.each([404, 429, 500, 502])('is made again when the server answers %i', async (status) => {
    const { client, clock, bed } = setupBed();
    bed.replies.push({ status });
    client.start();
    await clock.advance(1000);
    expect(client.getSnapshot().state).toBe('connected');
  });

  it.each([
    ['undefined', undefined, 'undefined'],
    ['an object', { token: 'secret' }, 'an object'],
    ['a number', 7, 'a number'],
    ['an empty text', '', 'an empty string'],
    ['what no header can bear', 's→cret', 'beyond U+00FF'],
    ['a whole header', 'Bearer the-token', '"Bearer" before it'],
  ])('says that getToken gave %s, and tries again', async (_what, given, said) => {
    const { client, bed, clock } = setupBed({ getToken: () => given as string });
    client.start();
    await settle();
    const { state, reason } = client.getSnapshot();
    expect([state, reason?.code]).toEqual(['waiting', 'token_unavailable']);
    expect(reason?.message).toContain(said);
    expect(inspect(reason)).not.toMatch(/s.cret/);
    await clock.advance(60_000);
    expect([client.getSnapshot().state, bed.requests.length]).toEqual(['waiting', 0]);
  });

  it('is given up when the broker lets it in and hands out no queue, and stop() does not wait for that', async () => {
    const { client, clock, broker } = setupBed({ drainMs: 100 });
    const connect = broker.connect.bind(broker);
    broker.connect = async (target) => {
      const connection = await connect(target);
      connection.consume = () => new Promise(() => undefined);
      return connection;
    };
    client.start();
    await clock.advance(10_000);
    expect(client.getSnapshot()).toMatchObject({
      state: 'waiting',
      reason: { code: 'connection_lost' },
    });
    await clock.advance(20_000);
    expect(client.getSnapshot().state).toBe('connecting');
    const stopped = client.stop().then(() => 'stopped');
    await clock.advance(1000);
    expect(await Promise.race([stopped, settle().then(() => 'late')])).toBe('stopped');
  });

  it('leaves nothing running when the client stops', async () => {
    const { client, clock, broker, connect } = setupBed();
    await connect();
    await client.stop();
    expect(broker.connection.isOpen).toBe(false);
    expect(clock.pending).toBe(0);
    await clock.advance(100_000);
    expect(broker.connections).toHaveLength(1);
  });
});

describe('renewal', () => {
  it('connects again with a fresh token before the old one ends, one consumer at a time', async () => {
    const { client, clock, broker, connect, changes } = setupBed();
    await connect();
    await clock.advance(3_600_000 * 0.65);
    expect(broker.connections).toHaveLength(1);
    await clock.advance(3_600_000 * 0.15);
    expect(broker.connections).toHaveLength(2);
    expect(broker.connections.map(({ isOpen }) => isOpen)).toEqual([false, true]);
    expect(client.getSnapshot().state).toBe('connected');
    expect(changes.some(({ current }) => current === 'waiting')).toBe(false);
  });

  it.each([
    ['has ended long ago', '2001-01-01T00:00:00.000Z'],
    ['ends now', new Date(Date.UTC(2026, 0, 1)).toISOString()],
    ['ends at no time', 'tomorrow'],
  ])('is once a second at most, also of a grant that %s', async (_, expiresAt) => {
    const asked: number[] = [];
    const { bed, clock, connect } = setupBed({
      platform: {
        fetch: async (url: string | URL | Request, init?: RequestInit) => {
          asked.push(clock.now);
          // An end for a client that asks for ever.
          if (asked.length > 100) return new Response(null, { status: 503 });
          const reply = await bed.options.platform.fetch!(url, init);
          return Response.json({ ...((await reply.json()) as object), expiresAt }, { status: 201 });
        },
      },
    });
    await connect();
    await clock.advance(10_000);
    expect(asked.length).toBeGreaterThan(5);
    const pauses = asked.slice(1).map((at, index) => at - asked[index]!);
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(1000);
  });

  it('leaves the server alone for as long as it asks', async () => {
    const { clock, bed, connect } = setupBed();
    await connect();
    bed.replies.push({ status: 503, headers: { 'retry-after': '120' } });
    const before = bed.requests.length;
    await clock.advance(3_600_000 * 0.8);
    expect(bed.requests.length - before).toBeLessThanOrEqual(2);
    const times: number[] = [];
    bed.replies.push(
      ...Array.from({ length: 3 }, () => ({ status: 503, headers: { 'retry-after': '120' } })),
    );
    for (let second = 0; second < 3600 && times.length < 3; second++) {
      const count = bed.requests.length;
      await clock.advance(1000);
      if (bed.requests.length > count) times.push(second);
    }
    for (const [index, time] of times.entries()) {
      if (index > 0) expect(time - times[index - 1]!).toBeGreaterThanOrEqual(119);
    }
    expect(times).toHaveLength(3);
  });

  it('keeps the connection while the server is away, and tries again', async () => {
    const { client, clock, broker, bed, connect } = setupBed();
    const errors: string[] = [];
    client.on('error', ({ error }) => errors.push(error.code));
    await connect();
    bed.replies.push({ status: 503 }, { status: 503 });
    await clock.advance(3_600_000 * 0.8);
    expect(errors).toEqual(['api_unavailable', 'api_unavailable']);
    expect(broker.connections).toHaveLength(2);
    expect(broker.connections[1]!.options.token).toBe('test-grant-4');
  });

  it('waits for the running handler, so that its ack travels by the old connection', async () => {
    const { client, clock, broker, connect, deliver, ended } = setupBed({ handlerTimeoutMs: 0 });
    let finish: () => void = () => undefined;
    client.handle('note', () => new Promise<void>((resolve) => (finish = resolve)));
    await connect();
    deliver('m1', 1);
    deliver('m2', 2);
    await clock.advance(3_600_000 * 0.75 * 0.95 + 1000);
    expect(broker.connections).toHaveLength(1);
    finish();
    await settle();
    expect(ended).toEqual(['acked m1']);
    expect(broker.connections).toHaveLength(2);
  });
});

describe('a connection that the broker closes', () => {
  it('because its token has expired is made again at once, with a fresh one', async () => {
    const { client, broker, clock, connect, changes } = setupBed({ backoffBaseMs: 60_000 });
    const connection = await connect();
    await clock.advance(20_000);
    connection.break('refused');
    await clock.advance(0);
    expect(client.getSnapshot().state).toBe('connected');
    expect(broker.connections.map(({ options }) => options.token)).toEqual([
      'test-grant-1',
      'test-grant-2',
    ]);
    expect(changes.find(({ current }) => current === 'waiting')?.reason?.code).toBe(
      'connection_failed',
    );
  });

  it('because its queue is gone asks for a session with a new one', async () => {
    const { client, bed, broker, clock, connect, errors } = setupBed();
    const connection = await connect();
    connection.break('cancelled');
    await clock.advance(1000);
    expect(client.getSnapshot().state).toBe('connected');
    expect([bed.requests.length, broker.connections.length, errors]).toEqual([2, 2, []]);
  });
});

describe('tokens', () => {
  it('stand in no error, no state and no line that is logged, whatever fails', async () => {
    const lines: string[] = [];
    const methods = ['log', 'info', 'warn', 'error', 'debug'] as const;
    const own = methods.map((name) => console[name].bind(console));
    for (const name of methods) console[name] = (...parts: unknown[]) => lines.push(inspect(parts));
    try {
      const secret = 'the-secret-token';
      const { client, bed, broker, clock, changes, errors } = setupBed({
        getToken: () => secret,
        handlerAttempts: 1,
      });
      client.handle('note', () => {
        throw new Error('no');
      });
      bed.replies.push({ status: 500 }, { status: 401 }, { status: 503 });
      broker.refusals.push('lost', 'refused');
      client.start();
      await clock.advance(60_000);
      void bed.deliver('note', 'the-secret-payload');
      await clock.advance(1000);
      bed.replies.push({ status: 401 }, { status: 401 });
      broker.connection.break('lost');
      await clock.advance(60_000);
      expect(client.getSnapshot().state).toBe('failed');
      expect(changes.length).toBeGreaterThan(8);
      expect(errors.map(({ code }) => code)).toEqual(['handler_failed']);
      const said = inspect([changes, errors, client.getSnapshot(), lines], { depth: 20 });
      expect(said).toContain('refused');
      expect(/the-secret|test-grant/.exec(said)).toBeNull();
    } finally {
      for (const [index, name] of methods.entries()) console[name] = own[index]!;
    }
  });
});

describe('a listener', () => {
  it('that throws disturbs nobody', async () => {
    const { client, connect } = setupBed();
    const uncaught: unknown[] = [];
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (error) => uncaught.push(error));
    const off = client.on('state', () => {
      throw new Error('a listener is broken');
    });
    await connect();
    expect(client.getSnapshot().state).toBe('connected');
    await until(() => uncaught.length === 3);
    off();
    process.removeAllListeners('uncaughtException');
    for (const listener of listeners) process.on('uncaughtException', listener);
  });
});
