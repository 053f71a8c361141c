import { describe, expect, it } from 'vitest';
import { settle } from '@warren/client/testing';
import { setupBed } from '../support/bed.js';

/** A client that has a handler, connected. */
async function setup(...options: Parameters<typeof setupBed>) {
  const parts = setupBed(...options);
  const { client, bed, connect } = parts;
  client.handle('note', () => undefined);
  await connect();
  const track = (id: string) => bed.deliver('note', 1, { id, headers: { 'x-warren-track': '1' } });
  const receipts = () =>
    bed.calls.filter(({ path }) => path === '/v1/me/receipts').map(({ body }) => body);
  return { ...parts, track, receipts };
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

  it('that the server will not have are not sent for ever', async () => {
    const { bed, clock, track, receipts } = await setup();
    bed.callReplies.push(400);
    await track('a');
    await clock.advance(60_000);
    expect(receipts()).toEqual([]);
    expect(bed.callReplies).toEqual([]);
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
