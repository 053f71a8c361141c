import { describe, expect, it } from 'vitest';
import { getClient, type Gap, type Message } from '@warren/client';
import { settle } from '@warren/client/testing';
import { setupBed } from '../support/bed.js';

function setup(...options: Parameters<typeof setupBed>) {
  const parts = setupBed(...options);
  const seen: Message[] = [];
  const gaps: Gap[] = [];
  parts.client.handle('note', (message) => {
    seen.push(message);
  });
  parts.client.on('gap', (gap) => gaps.push(gap));
  const ids = () => seen.map(({ id }) => id);
  const recoveries = () =>
    parts.bed.calls.filter(({ path }) => path.startsWith('/v1/me/recovery?'));
  const finished = () => parts.bed.calls.filter(({ path }) => path === '/v1/me/recovery');
  return { ...parts, seen, gaps, ids, recoveries, finished };
}

const stored = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => ({
    id: `s${String(from + index)}`,
    type: 'note',
    data: from + index,
  }));
const HEADERS = { 'x-warren-at': '1', 'x-warren-to': 'user:alice' };

describe('a mailbox that has lost messages', () => {
  it('is made up for by the history, in order and before what is new', async () => {
    const { bed, connect, deliver, ids, seen, gaps, finished } = setup();
    bed.historyPage = 3;
    bed.lose(stored(10));
    deliver('new', 1);
    await connect();
    await settle();
    expect(ids()).toEqual([...stored(10).map(({ id }) => id), 'new']);
    expect(seen.map(({ recovered }) => recovered)).toEqual([...stored(10).map(() => true), false]);
    expect(seen[0]).toMatchObject({ data: 0, to: { user: 'alice' }, delivery: 'queued' });
    expect(gaps).toEqual([]);
    expect(finished().map(({ body }) => body)).toEqual([
      { deviceId: bed.deviceId, mark: 'test-mark-0' },
    ]);
  });

  it('says from where on: the last stored message that was handled', async () => {
    const { bed, clock, connect, recoveries, broker } = setup();
    await connect();
    await bed.deliver('note', 1, { id: 'a', headers: HEADERS });
    await bed.deliver('note', 2, { id: 'b', headers: HEADERS });
    const handledAt = clock.now;
    await bed.deliver('note', 3, { id: 'not stored' });
    bed.lose(stored(1));
    broker.connection.break('lost');
    await clock.advance(1000);
    const query = new URLSearchParams(recoveries()[0]?.path.split('?')[1]);
    expect(query.get('last')).toBe('b');
    expect(query.get('lastAt')).toBe(String(handledAt));
    // Nothing older was forgotten.
    expect(query.get('oldest')).toBeNull();
  });

  it('asks again after a restart of the app for no more than it could tell from new ones', async () => {
    const first = setup();
    await first.connect();
    for (let index = 0; index < 1200; index++) {
      await first.bed.deliver('note', index, { id: `m${String(index)}`, headers: HEADERS });
    }
    void first.client.stop();
    await first.clock.advance(10_000);
    first.bed.lose([]);
    const again = getClient(first.bed.options);
    again.handle('note', () => undefined);
    again.start();
    await settle();
    const query = new URLSearchParams(first.recoveries()[0]?.path.split('?')[1]);
    expect(query.get('last')).toBe('m1199');
    // The storage holds about the last thousand.
    const oldest = Number(query.get('oldest')?.slice(1));
    expect(oldest).toBeGreaterThan(100);
    expect(oldest).toBeLessThan(300);
    expect(first.bed.requests.at(-1)).toMatchObject({ hasHandled: true });
    void again.stop();
    await first.clock.advance(10_000);
  });

  it('gets nothing twice: neither what was handled before, nor what still waits', async () => {
    const { bed, clock, connect, deliver, ids, ended, broker } = setup();
    await connect();
    await bed.deliver('note', 0, { id: 's0', headers: HEADERS });
    bed.lose(stored(3));
    broker.connection.break('lost');
    for (const id of ['s2', 's3']) deliver(id, 1);
    await clock.advance(1000);
    expect(ids()).toEqual(['s0', 's1', 's2', 's3']);
    expect(ended).toEqual(['acked s2', 'acked s3']);
    // However long ago that was.
    await clock.advance(30 * 24 * 3_600_000);
    bed.lose(stored(4));
    broker.connection.break('lost');
    await clock.advance(1000);
    expect(ids()).toEqual(['s0', 's1', 's2', 's3']);
  });

  it('knows what it has recovered by the mailbox’s copies, however many they are', async () => {
    const { bed, connect, deliver, ids, ended } = setup({
      dedupe: 'memory',
      recoveryLimit: 20_000,
    });
    bed.lose(stored(10_500));
    for (const id of ['s0', 's1', 's10499']) deliver(id, 1);
    await connect();
    while (ended.length < 3) await settle();
    expect(ids()).toHaveLength(10_500);
    expect(ended).toEqual(['acked s0', 'acked s1', 'acked s10499']);
  });

  it('goes on where it was when the connection is lost meanwhile', async () => {
    const { client, bed, clock, connect, broker, recoveries } = setup();
    bed.historyPage = 2;
    bed.lose(stored(6));
    const handled: unknown[] = [];
    client.handle('note', async ({ id }) => {
      handled.push(id);
      if (id === 's2' && broker.connections.length === 1) {
        broker.connection.break('lost');
        await Promise.resolve();
      }
    });
    await connect();
    await clock.advance(5000);
    expect(handled).toEqual(stored(6).map(({ id }) => id));
    const later = new URLSearchParams(recoveries().at(-1)?.path.split('?')[1]);
    expect(later.get('last')).not.toBeNull();
  });

  it('tells of a gap when others are lost for good', async () => {
    const { bed, clock, connect, gaps, deliver, ids } = setup();
    await connect();
    const since = new Date(clock.now);
    await bed.deliver('note', 1, { id: 'a' });
    bed.lose(stored(2), { complete: false });
    bed.broker.connection.break('lost');
    deliver('new', 1);
    await clock.advance(1000);
    expect(gaps).toEqual([{ reason: 'lost', since, recovered: 2 }]);
    expect(ids()).toEqual(['a', 's0', 's1', 'new']);
  });

  it('tells of a gap after as many as it may fetch, and goes on with what is new', async () => {
    const { bed, connect, deliver, gaps, ids, finished } = setup({ recoveryLimit: 5 });
    bed.historyPage = 3;
    bed.lose(stored(9));
    deliver('new', 1);
    await connect();
    await settle();
    expect(ids()).toEqual(['s0', 's1', 's2', 's3', 's4', 'new']);
    expect(gaps).toEqual([{ reason: 'limit', since: undefined, recovered: 5 }]);
    expect(finished()).toHaveLength(1);
  });

  it('counts only what is new towards that limit', async () => {
    const { bed, clock, connect, gaps, ids } = setup({ recoveryLimit: 4 });
    await connect();
    for (const { id } of stored(6)) await bed.deliver('note', 1, { id, headers: HEADERS });
    bed.historyPage = 5;
    bed.lose(stored(10));
    bed.broker.connection.break('lost');
    await clock.advance(1000);
    expect(ids()).toEqual(stored(10).map(({ id }) => id));
    expect(gaps).toEqual([]);
    bed.lose(stored(16));
    bed.broker.connection.break('lost');
    await clock.advance(5000);
    expect(ids()).toEqual(stored(14).map(({ id }) => id));
    expect(gaps).toMatchObject([{ reason: 'limit', recovered: 4 }]);
  });

  it('that may fetch none says so when there are some', async () => {
    const { bed, connect, gaps, ids } = setup({ recoveryLimit: 0 });
    bed.lose(stored(1));
    await connect();
    await settle();
    expect(ids()).toEqual([]);
    expect(gaps).toMatchObject([{ reason: 'limit', recovered: 0 }]);
  });

  it('waits for a history that is behind, and lets new messages wait for it', async () => {
    const { bed, clock, connect, deliver, gaps, ids } = setup();
    bed.lose(stored(2));
    bed.callReplies.push(503, 503, 429, 500);
    deliver('new', 1);
    await connect();
    expect(ids()).toEqual([]);
    await clock.advance(40_000);
    expect(ids()).toEqual(['s0', 's1', 'new']);
    expect(gaps).toEqual([]);
  });

  it('does not wait for ever', async () => {
    const { bed, clock, connect, deliver, gaps, ids, finished } = setup();
    bed.lose(stored(2));
    bed.callReplies.push(...Array.from({ length: 200 }, () => 503));
    deliver('new', 1);
    await connect();
    await clock.advance(61_000);
    expect(gaps).toMatchObject([{ reason: 'unavailable', recovered: 0 }]);
    expect(ids()).toEqual(['new']);
    // The server keeps it in mind.
    expect(finished()).toEqual([]);
  });

  it('is recovered at once when the server says so to a client that is connected', async () => {
    const { bed, clock, connect, ids } = setup();
    await connect();
    bed.lose(stored(2));
    void bed.deliver('warren.missed', {}, { delivery: 'live' });
    await clock.advance(10);
    expect(ids()).toEqual(['s0', 's1']);
  });

  it('stops recovering with the client', async () => {
    const { client, bed, clock, connect } = setup();
    bed.historyPage = 1;
    bed.lose(stored(50));
    let handled = 0;
    client.handle('note', () => {
      handled++;
      if (handled === 3) void client.stop();
    });
    await connect();
    await clock.advance(10_000);
    expect(handled).toBe(3);
    expect(client.getSnapshot().state).toBe('closed');
  });

  it('hands a failing message over as often as any other, and goes on', async () => {
    const { client, bed, clock, connect, errors } = setup();
    bed.lose(stored(2));
    const calls: unknown[] = [];
    client.handle('note', ({ id }) => {
      calls.push(id);
      if (id === 's0') throw new Error('a bug');
    });
    await connect();
    await clock.advance(5000);
    expect(calls).toEqual(['s0', 's0', 's0', 's1']);
    expect(errors.map(({ code }) => code)).toEqual(['handler_failed']);
  });
});
