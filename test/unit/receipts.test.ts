import { describe, expect, it } from 'vitest';
import { settle } from '@warren/client/testing';
import type { ReceiptsBody } from '@warren/protocol';
import { setupBed } from '../support/bed.js';

/** A client that has a handler, connected. */
async function setup(...options: Parameters<typeof setupBed>) {
  const parts = setupBed(...options);
  const { client, bed, connect } = parts;
  client.handle('note', () => undefined);
  await connect();
  const track = (id: string) => bed.deliver('note', 1, { id, headers: { 'x-warren-track': '1' } });
  const bodies = () =>
    bed.calls
      .filter(({ path }) => path === '/v1/me/receipts')
      .map(({ body }) => body as unknown as Partial<ReceiptsBody>);
  /** What was handled and read. */
  const receipts = () =>
    bodies()
      .map(({ delivered = [], read = [] }) => ({ delivered, read }))
      .filter(({ delivered, read }) => delivered.length + read.length > 0);
  return { ...parts, track, receipts, bodies };
}

describe('receipts', () => {
  it('are sent for tracked messages alone, those of one moment together', async () => {
    const { bed, clock, track, receipts } = await setup();
    await Promise.all([track('a'), track('b'), bed.deliver('note', 1, { id: 'plain' })]);
    await clock.advance(250);
    expect(receipts()).toEqual([{ delivered: ['a', 'b'], read: [] }]);
  });

  it('of a steady stream are at most one request a second', async () => {
    const { clock, track, receipts } = await setup();
    for (let index = 0; index < 100; index++) {
      await track(String(index));
      await clock.advance(100);
    }
    await clock.advance(2000);
    expect(receipts().flatMap(({ delivered }) => delivered)).toHaveLength(100);
    expect(receipts().length).toBeLessThanOrEqual(13);
  });

  it('are not sent for a message whose handler has failed', async () => {
    const { client, clock, track, receipts } = await setup({ handlerAttempts: 1 });
    client.handle('note', () => Promise.reject(new Error('a bug')));
    expect(await track('a')).toBe('rejected');
    await clock.advance(5000);
    expect(receipts()).toEqual([]);
  });

  it('are tried again until the server has heard, and waited for as it asks', async () => {
    const { bed, clock, track, receipts } = await setup();
    bed.callReplies.push(503, 429, 500);
    await track('a');
    await clock.advance(60_000);
    expect(receipts()).toEqual([{ delivered: ['a'], read: [] }]);
    await clock.advance(60_000);
    expect(receipts()).toHaveLength(1);
  });

  it('are kept while the server refuses the token: the next one may be good', async () => {
    const { bed, clock, track, receipts } = await setup();
    // Each is asked for twice, the second time with a fresh token.
    bed.callReplies.push(401, 401, 401, 401);
    await track('a');
    await clock.advance(60_000);
    expect(receipts()).toEqual([{ delivered: ['a'], read: [] }]);
  });

  it('that the server will not have are not sent for ever', async () => {
    const { bed, clock, track, receipts } = await setup();
    bed.callReplies.push(400);
    await track('a');
    await clock.advance(60_000);
    expect(receipts()).toEqual([]);
    expect(bed.callReplies).toEqual([]);
  });

  it('leave out what can be no id, so that an application cannot spoil the others', async () => {
    const { client, clock, track, receipts } = await setup();
    client.markRead(undefined as unknown as string, '', 'x'.repeat(1000), 'b');
    await track('a');
    await clock.advance(5000);
    expect(receipts()).toEqual([{ delivered: ['a'], read: ['b'] }]);
  });

  it('that are refused together are told in parts, until the one that is wrong is alone', async () => {
    const { bed, client, clock, receipts } = await setup();
    bed.callReplies.push(400, 400, 400);
    client.markRead('bad', 'b', 'c', 'd');
    await clock.advance(60_000);
    expect(bed.callReplies).toEqual([]);
    expect(receipts().flatMap(({ read }) => read)).toEqual(['b', 'c', 'd']);
  });

  it('are sent at once, to outlive the page, when it is frozen or left', async () => {
    const { app, bed, track, receipts } = await setup();
    await track('a');
    app.freeze();
    await settle();
    expect(receipts()).toEqual([{ delivered: ['a'], read: [] }]);
    expect(bed.calls.every(({ keepalive }) => keepalive)).toBe(true);
  });

  it('are sent before a stop is over, which leaves no timer behind', async () => {
    const { bed, client, clock, track, receipts } = await setup();
    await track('a');
    await client.stop();
    expect(receipts()).toEqual([{ delivered: ['a'], read: [] }]);
    bed.callReplies.push(503, 503, 503);
    client.markRead('a');
    await clock.advance(60_000);
    expect(bed.callReplies).toHaveLength(2);
  });

  it('that could not be sent are kept, and sent by the next start of the app', async () => {
    const first = await setup();
    first.bed.callReplies.push(...Array.from({ length: 50 }, () => 503));
    await first.track('a');
    first.client.markRead('b');
    await first.client.stop();
    expect(first.receipts()).toEqual([]);
    const second = await setup(
      { storage: first.bed.options.storage },
      { deviceId: first.bed.deviceId },
    );
    await second.clock.advance(1000);
    expect(second.receipts()).toEqual([{ delivered: ['a'], read: ['b'] }]);
    await second.clock.advance(1000);
    expect([...second.bed.stored.keys()].filter((key) => key.endsWith(':receipts'))).toEqual([]);
  });

  it('of many messages are written to the storage a few times, and the first before its ack', async () => {
    const stored = new Map<string, string>();
    const writes: string[] = [];
    const storage = {
      getItem: (key: string) => stored.get(key) ?? null,
      setItem: (key: string, value: string) => {
        if (key.endsWith(':receipts')) writes.push(value);
        stored.set(key, value);
      },
      removeItem: (key: string) => stored.delete(key),
    };
    const { bed, app, track } = await setup({ storage });
    bed.broker.reachable = false;
    expect(await track('first')).toBe('acked');
    expect(writes).toEqual([JSON.stringify({ delivered: ['first'], read: [] })]);
    await Promise.all(Array.from({ length: 500 }, (_, index) => track(String(index))));
    expect(writes.length).toBeLessThan(5);
    app.freeze();
    const kept = JSON.parse(writes.at(-1)!) as { delivered: string[] };
    expect(kept.delivered).toHaveLength(501);
  });

  it('of a burst are all in the storage a moment later', async () => {
    const { bed, clock, client } = await setup();
    bed.callReplies.push(...Array.from({ length: 50 }, () => 503));
    for (let index = 0; index < 50; index++) client.markRead(String(index));
    await clock.advance(300);
    const [kept] = [...bed.stored].filter(([key]) => key.endsWith(':receipts'));
    expect((JSON.parse(kept![1]) as { read: string[] }).read).toHaveLength(50);
  });

  it('that are too many are dropped with a word, said once until the server answers', async () => {
    const { bed, clock, client, errors, receipts } = await setup();
    bed.callReplies.push(503);
    const read = (count: number, mark: string) => {
      for (let index = 0; index < count; index++) client.markRead(`${mark}${String(index)}`);
    };
    const dropped = () => errors.filter(({ code }) => code === 'receipts_dropped').length;
    read(2000, 'a');
    expect(dropped()).toBe(0);
    read(10, 'b');
    expect(dropped()).toBe(1);
    await clock.advance(60_000);
    expect(receipts().flatMap((body) => body.read)).toHaveLength(2000);
    read(2001, 'c');
    expect(dropped()).toBe(2);
  });

  it('of the old account are gone after a logout', async () => {
    const { bed, client, clock, track, receipts } = await setup();
    bed.callReplies.push(503, 503);
    await track('a');
    await client.logout();
    await clock.advance(60_000);
    expect(receipts()).toEqual([]);
    expect([...bed.stored.keys()].filter((key) => key.endsWith(':receipts'))).toEqual([]);
  });
});

describe('how a message ended', () => {
  it('is told with how long ago, by which the server knows how long it took', async () => {
    const { bed, clock, track, bodies } = await setup();
    bed.callReplies.push(503);
    await track('a');
    await clock.advance(100);
    await track('b');
    await clock.advance(10_000);
    const [last] = bodies();
    expect(last!.delivered).toEqual(['a', 'b']);
    const [a, b] = last!.agoMs!;
    expect(a! - b!).toBe(100);
    expect(b).toBeGreaterThan(1000);
  });

  it('is told of rejections by their names, and never what the error says', async () => {
    const { bed, client, clock, bodies } = await setup({
      handlerAttempts: 1,
      handlerTimeoutMs: 50,
    });
    client.handle('bad', () => {
      throw new RangeError('a secret');
    });
    client.handle('slow', () => new Promise(() => undefined));
    await bed.deliver('bad', 1, { id: '1' });
    const slow = bed.deliver('slow', 1, { id: '2' });
    await clock.advance(100);
    await slow;
    await bed.deliver('unknown', 1, { id: '3' });
    await bed.deliver('note', 1, { id: '4' });
    await clock.advance(5000);
    const handled = bodies().flatMap((body) => body.handled ?? []);
    expect(handled.map(({ id, type, error, name }) => [id, type, error, name])).toEqual([
      ['1', 'bad', 'handler_failed', 'RangeError'],
      ['2', 'slow', 'handler_timeout', undefined],
      ['3', 'unknown', 'no_handler', undefined],
    ]);
    expect(bodies().every(({ deviceId }) => deviceId === client.deviceId)).toBe(true);
    expect(JSON.stringify(bodies())).not.toContain('secret');
  });

  it('is told of every message while somebody watches, and no longer', async () => {
    const { bed, clock, bodies } = await setup();
    await bed.deliver('note', 1, { id: 'before' });
    await bed.deliver('warren.watch', { forMs: 30_000 }, { delivery: 'live' });
    await bed.deliver('note', 1, { id: 'during' });
    await clock.advance(31_000);
    await bed.deliver('note', 1, { id: 'after' });
    await clock.advance(5000);
    expect(bodies()).toMatchObject([{ watched: true, handled: [{ id: 'during', type: 'note' }] }]);
    await bed.deliver('warren.watch', 'rubbish', { delivery: 'live' });
    await bed.deliver('note', 1, { id: 'rubbish' });
    await clock.advance(5000);
    expect(bodies()).toHaveLength(1);
  });

  it('is not tried again, and holds nothing up, when the server cannot be reached', async () => {
    const { bed, client, clock, bodies } = await setup({ handlerAttempts: 1 });
    client.handle('bad', () => {
      throw new Error('a bug');
    });
    bed.callReplies.push(503);
    await bed.deliver('bad', 1, { id: '1' });
    await clock.advance(60_000);
    expect(bodies()).toEqual([]);
  });
});

describe('what is read', () => {
  it('is told to the server, and comes as an event from whichever device', async () => {
    const { bed, client, clock, receipts } = await setup();
    const read: string[][] = [];
    client.on('read', ({ ids }) => read.push(ids));
    client.markRead('a', 'b');
    await clock.advance(250);
    expect(receipts()).toEqual([{ delivered: [], read: ['a', 'b'] }]);
    expect(await bed.deliver('warren.read', { ids: ['c'] })).toBe('acked');
    await bed.deliver('warren.read', 'rubbish');
    await settle();
    expect(read).toEqual([['c']]);
  });
});

describe('answers and messages', () => {
  it('that an answerer gives go to the server under the request’s id', async () => {
    const { bed, client, clock, errors } = await setup();
    client.answer('double', ({ data }) => (data as number) * 2);
    client.answer('fail', () => {
      throw new Error('secret');
    });
    await bed.deliver('double', 21, { delivery: 'live', correlationId: 'k.1' });
    await bed.deliver('fail', 1, { delivery: 'live', correlationId: 'k.2' });
    await clock.advance(100);
    expect(bed.calls.map(({ path, body }) => [path, body])).toEqual([
      ['/v1/me/replies/k.1', { reply: 42 }],
      ['/v1/me/replies/k.2', { failed: true }],
    ]);
    expect(errors.map(({ code }) => code)).toEqual(['handler_failed']);
  });

  it('that JSON cannot hold are refused, by the client and by whoever answers', async () => {
    const { bed, client, clock, errors } = await setup();
    const refused = { code: 'send_refused' };
    await expect(client.send({ user: 'bob' }, 'note', 1n)).rejects.toMatchObject(refused);
    client.answer('count', () => 1n);
    await bed.deliver('count', 1, { delivery: 'live', correlationId: 'k.1' });
    await clock.advance(100);
    expect(bed.calls.map(({ path, body }) => [path, body])).toEqual([
      ['/v1/me/replies/k.1', { failed: true }],
    ]);
    expect(errors.map(({ code }) => code)).toEqual(['handler_failed']);
  });

  it('are sent under one id however often it takes, and refused as the server says', async () => {
    const { bed, client, clock } = await setup();
    bed.callReplies.push(503, 503);
    const sending = client.send({ user: 'bob' }, 'note', { text: 'hi' }, { delivery: 'live' });
    await clock.advance(60_000);
    const { id } = await sending;
    expect(bed.calls).toEqual([
      {
        path: '/v1/me/messages',
        body: { to: { user: 'bob' }, type: 'note', data: { text: 'hi' }, delivery: 'live', id },
        keepalive: false,
      },
    ]);
    bed.callReplies.push(403);
    await expect(client.send({ user: 'bob' }, 'note', 1)).rejects.toMatchObject({
      code: 'send_refused',
    });
    bed.callReplies.push(503, 503, 503);
    const failing = client.send({ user: 'bob' }, 'note', 1).catch((error: unknown) => error);
    await clock.advance(60_000);
    expect(await failing).toMatchObject({ code: 'api_unavailable' });
  });
});
