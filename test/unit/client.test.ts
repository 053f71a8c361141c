import { describe, expect, it, onTestFinished } from 'vitest';
import { getClient, type ClientOptions, type StateChange } from '@warren/client';
import { until } from '../support/until.js';
import { fakeApi, FakeClock, FakeTransport, settle } from '../support/fakes.js';

let clients = 0;

/** A client on a fake broker, server and clock. */
function setup(options: Partial<ClientOptions> = {}, random = () => 0.5) {
  const userId = `fake-${String(++clients)}`;
  const clock = new FakeClock();
  const transport = new FakeTransport();
  const api = fakeApi(userId);
  const client = getClient({
    apiUrl: 'http://api.example',
    userId,
    deviceId: 'd',
    getToken: () => 'jwt',
    transport,
    platform: { ...clock.platform, fetch: api.fetch, random },
    ...options,
  });
  const changes: StateChange[] = [];
  client.on('state', (change) => changes.push(change));
  onTestFinished(async () => {
    void client.stop();
    await clock.advance(10_000);
  });
  const connect = async () => {
    client.start();
    await settle();
    return transport.last;
  };
  return { client, clock, transport, api, changes, connect };
}

/** A seeded source (mulberry32), so that a failure can be repeated. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe('backoff', () => {
  it('waits anything between nothing and a bound that doubles up to its limit', async () => {
    for (let seed = 1; seed <= 50; seed++) {
      const { client, clock, transport, changes } = setup(
        { backoffBaseMs: 100, backoffMaxMs: 1000 },
        seeded(seed),
      );
      transport.refusals.push(...Array.from({ length: 8 }, () => 'lost' as const));
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
      const { client, clock, transport } = setup(
        { backoffBaseMs: 100, backoffMaxMs: 800 },
        seeded(seed),
      );
      transport.refusals.push(...Array.from({ length: 6 }, () => 'lost' as const));
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
    const { client, clock, transport, connect } = setup({ backoffBaseMs: 100 });
    const delays: number[] = [];
    client.on('state', ({ current, retryAt }) => {
      if (current === 'waiting') delays.push(retryAt! - clock.now);
    });
    await connect();
    for (const lastsMs of [100, 100, 100, 20_000]) {
      await clock.advance(lastsMs);
      transport.last.break('lost');
      await clock.advance(1000);
    }
    expect(delays).toEqual([50, 100, 200, 50]);
  });

  it('leaves a server alone for as long as it asks', async () => {
    const { client, clock, api } = setup();
    api.replies.push({ status: 503, headers: { 'retry-after': '7' } });
    client.start();
    await settle();
    const { state, reason, retryAt } = client.getSnapshot();
    expect([state, reason?.code]).toEqual(['waiting', 'api_unavailable']);
    expect(retryAt! - clock.now).toBeGreaterThanOrEqual(7000);
  });
});

describe('an attempt', () => {
  it('takes the next address when one fails', async () => {
    const { client, clock, transport } = setup();
    transport.refusals.push('lost');
    client.start();
    await clock.advance(1000);
    expect(transport.last.options.url).toBe('ws://two');
  });

  it('brings a fresh token, and names the session that it renews', async () => {
    const { clock, transport, api, connect } = setup();
    await connect();
    transport.last.break('lost');
    await clock.advance(1000);
    expect(transport.connections.map(({ options }) => options.token)).toEqual([
      'token-1',
      'token-2',
    ]);
    expect(api.requests).toEqual([{ deviceId: 'd' }, { deviceId: 'd', sessionId: 'the-session' }]);
  });

  it('is made again at once when the broker refuses a token, and given up when it refuses the next', async () => {
    const { client, clock, transport, changes } = setup();
    transport.refusals.push('refused', 'refused');
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
    const { client, clock } = setup({
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
    const { client, api } = setup();
    api.replies.push({ status });
    client.start();
    await settle();
    expect(client.getSnapshot()).toMatchObject({ state: 'failed', reason: { code } });
  });

  it.each([404, 429, 500, 502])('is made again when the server answers %i', async (status) => {
    const { client, clock, api } = setup();
    api.replies.push({ status });
    client.start();
    await clock.advance(1000);
    expect(client.getSnapshot().state).toBe('connected');
  });

  it('leaves nothing running when the client stops', async () => {
    const { client, clock, transport, connect } = setup();
    await connect();
    await client.stop();
    expect(transport.last.isOpen).toBe(false);
    expect(clock.pending).toBe(0);
    await clock.advance(100_000);
    expect(transport.connections).toHaveLength(1);
  });
});

describe('renewal', () => {
  it('connects again with a fresh token before the old one ends, one consumer at a time', async () => {
    const { client, clock, transport, connect, changes } = setup();
    await connect();
    await clock.advance(3_600_000 * 0.65);
    expect(transport.connections).toHaveLength(1);
    await clock.advance(3_600_000 * 0.15);
    expect(transport.connections).toHaveLength(2);
    expect(transport.connections.map(({ isOpen }) => isOpen)).toEqual([false, true]);
    expect(client.getSnapshot().state).toBe('connected');
    expect(changes.some(({ current }) => current === 'waiting')).toBe(false);
  });

  it('keeps the connection while the server is away, and tries again', async () => {
    const { client, clock, transport, api, connect } = setup();
    const errors: string[] = [];
    client.on('error', ({ error }) => errors.push(error.code));
    await connect();
    api.replies.push({ status: 503 }, { status: 503 });
    await clock.advance(3_600_000 * 0.8);
    expect(errors).toEqual(['api_unavailable', 'api_unavailable']);
    expect(transport.connections).toHaveLength(2);
    expect(transport.connections[1]!.options.token).toBe('token-4');
  });

  it('waits for the running handler, so that its ack travels by the old connection', async () => {
    const { client, clock, transport, connect } = setup();
    let finish: () => void = () => undefined;
    client.handle('note', () => new Promise<void>((resolve) => (finish = resolve)));
    const first = await connect();
    first.deliver('mail', 'm1', 1);
    first.deliver('mail', 'm2', 2);
    await clock.advance(3_600_000 * 0.75 * 0.95 + 1000);
    expect(transport.connections).toHaveLength(1);
    finish();
    await settle();
    expect(first.settled).toEqual(['ack m1']);
    expect(transport.connections).toHaveLength(2);
  });
});

describe('delivery', () => {
  it('does not handle again what was handled when its ack was lost, and acks it then', async () => {
    const { client, clock, transport, connect } = setup();
    const seen: unknown[] = [];
    let finish: () => void = () => undefined;
    client.handle('note', ({ data }) => {
      seen.push(data);
      return new Promise<void>((resolve) => (finish = resolve));
    });
    const first = await connect();
    first.deliver('mail', 'm1', 1);
    await settle();
    first.break('lost');
    await clock.advance(1000);
    const second = transport.last;
    expect(second).not.toBe(first);
    // It comes again while the handler still runs, and again after.
    second.deliver('mail', 'm1', 1, true);
    await settle();
    expect(second.settled).toEqual([]);
    finish();
    await settle();
    expect(first.settled).toEqual([]);
    expect(second.settled).toEqual(['ack m1']);
    second.deliver('mail', 'm1', 1, true);
    await settle();
    expect(second.settled).toEqual(['ack m1', 'ack m1']);
    expect(seen).toEqual([1]);
  });

  it('rejects again what was rejected when the reject was lost', async () => {
    const { client, clock, transport, connect } = setup({ handlerAttempts: 1 });
    let calls = 0;
    client.handle('note', () => {
      calls++;
      throw new Error('no');
    });
    const first = await connect();
    first.isOpen = false;
    first.deliver('mail', 'm1', 1);
    await settle();
    first.break('lost');
    await clock.advance(1000);
    transport.last.deliver('mail', 'm1', 1, true);
    await settle();
    expect(transport.last.settled).toEqual(['reject m1']);
    expect(calls).toBe(1);
  });

  it('lets live messages pass while the mailbox is busy', async () => {
    const { client, connect } = setup();
    const seen: unknown[] = [];
    client.handle('note', ({ data, delivery }) => {
      seen.push(data);
      return delivery === 'queued' ? new Promise<void>(() => undefined) : undefined;
    });
    const connection = await connect();
    connection.deliver('mail', 'm1', 'mail');
    connection.deliver('live', 'l1', 'live');
    await settle();
    expect(seen).toEqual(['mail', 'live']);
    expect(connection.settled).toEqual(['ack l1']);
  });

  it('forgets ids after a day, and the oldest of more than ten thousand', async () => {
    const { client, clock, connect } = setup({ getToken: () => 'jwt' });
    let calls = 0;
    client.handle('note', () => {
      calls++;
    });
    const connection = await connect();
    connection.deliver('mail', 'first', 0);
    for (let index = 0; index < 9999; index++)
      connection.deliver('mail', `m${String(index)}`, index);
    await settle();
    connection.deliver('mail', 'first', 0);
    await settle();
    expect(calls).toBe(10_000);
    connection.deliver('mail', 'one-more', 0);
    await settle();
    connection.deliver('mail', 'm0', 0);
    connection.deliver('mail', 'first', 0);
    await settle();
    expect(calls).toBe(10_002);
    expect(clock.pending).toBeGreaterThan(0);
  });

  it('tells a handler’s failure once, after its last attempt, with delays that grow', async () => {
    const { client, clock, connect } = setup({ handlerRetryDelayMs: 100 });
    const calls: number[] = [];
    const errors: string[] = [];
    client.on('error', ({ error, message }) => errors.push(`${error.code} ${String(message?.id)}`));
    client.handle('note', () => {
      calls.push(clock.now);
      throw new Error('no');
    });
    const connection = await connect();
    connection.deliver('mail', 'm1', 1);
    await clock.advance(1000);
    const [first = 0, second = 0, third = 0] = calls;
    expect([second - first, third - second]).toEqual([75, 150]);
    expect(errors).toEqual(['handler_failed m1']);
    expect(connection.settled).toEqual(['reject m1']);
  });

  it('is not disturbed by a listener that throws', async () => {
    const { client, connect } = setup();
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

  it('removes a handler and a listener once, and only its own', async () => {
    const { client, connect } = setup();
    const seen: string[] = [];
    const removeOld = client.handle('note', () => seen.push('old'));
    client.handle('note', () => seen.push('new'));
    removeOld();
    removeOld();
    const connection = await connect();
    connection.deliver('mail', 'm1', 1);
    await settle();
    expect(seen).toEqual(['new']);
  });
});
