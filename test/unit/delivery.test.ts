import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { z } from 'zod';
import { getClient, type Message, type Platform } from '@warren/client';
import { settle, TestBed } from '@warren/client/testing';
import { setupBed } from '../support/bed.js';

/** A promise that the test settles. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe('a message whose ack was lost', () => {
  it('joins its handler while that still runs, is acked after it, and not handled again', async () => {
    const { client, clock, broker, connect, deliver, ended } = setupBed();
    const seen: Message[] = [];
    const { opened, open } = gate();
    client.handle('note', (message) => {
      seen.push(message);
      return opened;
    });
    const first = await connect();
    deliver('m1', 1);
    await settle();
    first.break('lost');
    await clock.advance(1000);
    expect(broker.connection).not.toBe(first);
    expect(ended).toEqual([]);
    open();
    await settle();
    expect(ended).toEqual(['acked m1']);
    expect(seen).toHaveLength(1);
  });

  it('is acked without its handler when it had ended', async () => {
    const { client, clock, bed, connect, ended, deliver, broker } = setupBed();
    let calls = 0;
    client.handle('note', () => {
      calls++;
      // The connection goes before the ack does.
      if (calls === 1) broker.connection.break('lost');
    });
    await connect();
    deliver('m1', 1);
    await clock.advance(1000);
    expect(ended).toEqual(['acked m1']);
    expect(await bed.deliver('note', 1, { id: 'm1' })).toBe('acked');
    expect(calls).toBe(1);
  });

  it('is rejected again when it had been rejected', async () => {
    const { client, clock, connect, ended, deliver, broker } = setupBed({ handlerAttempts: 1 });
    let calls = 0;
    client.handle('note', () => {
      calls++;
      broker.connection.break('lost');
      throw new Error('no');
    });
    await connect();
    deliver('m1', 1);
    await clock.advance(1000);
    expect(ended).toEqual(['rejected m1']);
    expect(calls).toBe(1);
    expect(broker.deadLetters).toHaveLength(1);
  });

  it('is not handled again after the app was started anew, when there is a storage', async () => {
    const bed = new TestBed();
    let calls = 0;
    const start = async () => {
      const client = getClient(bed.options);
      client.handle('note', () => {
        calls++;
      });
      client.start();
      await settle();
      return client;
    };
    const first = await start();
    for (let index = 0; index < 100; index++) {
      expect(await bed.deliver('note', index, { id: `m${String(index)}` })).toBe('acked');
    }
    await first.stop();
    const second = await start();
    expect(second).not.toBe(first);
    for (let index = 0; index < 100; index++) {
      expect(await bed.deliver('note', index, { id: `m${String(index)}` })).toBe('acked');
    }
    await second.stop();
    expect(calls).toBe(100);
    expect(bed.clock.pending).toBe(0);
  });

  it('is remembered in memory alone when that is asked for', async () => {
    const { client, bed, connect } = setupBed({ dedupe: 'memory' });
    client.handle('note', () => undefined);
    await connect();
    await bed.deliver('note', 1);
    expect([...bed.stored.keys()]).toEqual([]);
  });
});

describe('the window of handled messages', () => {
  it('holds the last ten thousand, for a day', async () => {
    const { client, clock, bed, connect } = setupBed({ dedupe: 'memory' });
    let calls = 0;
    client.handle('note', () => {
      calls++;
    });
    await connect();
    const send = (id: string) => bed.deliver('note', 0, { id });
    for (let index = 0; index < 10_000; index++) void send(`m${String(index)}`);
    await settle();
    await send('m0');
    expect(calls).toBe(10_000);
    await send('one-more');
    await send('m1');
    await send('m0');
    expect(calls).toBe(10_002);
    await clock.advance(24 * 60 * 60 * 1000 + 1);
    await send('m9');
    expect(calls).toBe(10_003);
  });

  it('takes no more room in storage than its last thousand', async () => {
    const { client, bed, connect } = setupBed();
    client.handle('note', () => undefined);
    await connect();
    for (let index = 0; index < 3000; index++) {
      void bed.deliver('note', 0, { id: `m${String(index)}` });
    }
    await settle();
    const kept = [...bed.stored.values()].join('').match(/"m\d+"/g) ?? [];
    expect(kept.length).toBeLessThanOrEqual(1000);
    expect(kept.length).toBeGreaterThanOrEqual(975);
    expect(kept).toContain('"m2999"');
  });

  it('goes on in memory when the storage is full, and says so once', async () => {
    const full = () => {
      throw new DOMException('full', 'QuotaExceededError');
    };
    const storage = { getItem: () => null, setItem: full, removeItem: full };
    const { client, bed, connect, errors, state } = setupBed({ storage });
    let calls = 0;
    client.handle('note', () => {
      calls++;
    });
    await connect();
    for (const id of ['m1', 'm2', 'm1']) await bed.deliver('note', 1, { id });
    expect(calls).toBe(2);
    expect(errors.map(({ code }) => code)).toEqual(['storage_unavailable']);
    await client.logout();
    expect([state(), bed.requests.at(-1)?.method]).toEqual(['closed', 'DELETE']);
  });
});

describe('order and concurrency', () => {
  it('handles one message of a queue at a time, in order, and lets live ones pass', async () => {
    const { client, connect, deliver, ended } = setupBed();
    const seen: unknown[] = [];
    const { opened, open } = gate();
    client.handle('note', ({ data, delivery }) => {
      seen.push(data);
      return delivery === 'queued' ? opened : undefined;
    });
    await connect();
    deliver('m1', 'first');
    deliver('m2', 'second');
    deliver('l1', 'live', { live: true });
    await settle();
    expect(seen).toEqual(['first', 'live']);
    expect(ended).toEqual(['acked l1']);
    open();
    await settle();
    expect(seen).toEqual(['first', 'live', 'second']);
  });

  it('handles as many at once as it is told', async () => {
    const { client, connect, deliver } = setupBed({ concurrency: 3 });
    let running = 0;
    let most = 0;
    let done = 0;
    client.handle('note', async () => {
      most = Math.max(most, ++running);
      await settle();
      running--;
      done++;
    });
    await connect();
    for (let index = 0; index < 10; index++) deliver(`m${String(index)}`, index);
    for (let turn = 0; turn < 20; turn++) await settle();
    expect([most, done]).toEqual([3, 10]);
  });

  it('lets the broker send no more ahead than it is told', async () => {
    const { client, connect, deliver, broker } = setupBed({ prefetch: 2 });
    const { opened, open } = gate();
    client.handle('note', () => opened);
    await connect();
    for (let index = 0; index < 10; index++) deliver(`m${String(index)}`, index);
    await settle();
    expect([broker.depth, broker.unacked]).toEqual([10, 2]);
    open();
    await settle();
    expect(broker.depth).toBe(0);
  });

  it('joins a running handler also where several run at once', async () => {
    const { client, clock, broker, connect, deliver, ended } = setupBed({ concurrency: 3 });
    const { opened, open } = gate();
    let calls = 0;
    client.handle('note', () => {
      calls++;
      return opened;
    });
    const connection = await connect();
    deliver('m1', 1);
    await settle();
    connection.break('lost');
    await clock.advance(1000);
    expect([broker.unacked, calls]).toEqual([1, 1]);
    open();
    await settle();
    expect([ended, calls]).toEqual([['acked m1'], 1]);
  });
});

describe('a handler', () => {
  it('is called again with delays that grow, told which attempt it is, and its failure is told once', async () => {
    const { client, clock, connect, errors, deliver, ended } = setupBed({
      handlerRetryDelayMs: 100,
    });
    const calls: [at: number, attempt: number][] = [];
    client.handle('note', (_message, { attempt }) => {
      calls.push([clock.now, attempt]);
      throw new Error('no');
    });
    await connect();
    deliver('m1', 1);
    await clock.advance(1000);
    const [first = 0, second = 0, third = 0] = calls.map(([at]) => at);
    expect(calls.map(([, attempt]) => attempt)).toEqual([1, 2, 3]);
    expect([second - first, third - second]).toEqual([75, 150]);
    expect(errors.map(({ code }) => code)).toEqual(['handler_failed']);
    expect(ended).toEqual(['rejected m1']);
  });

  it('that never ends is given up with its signal, called again, and does not block the queue', async () => {
    const { client, clock, connect, errors, deliver, ended } = setupBed({
      handlerTimeoutMs: 1000,
      handlerAttempts: 2,
    });
    let aborted = 0;
    client.handle('slow', (_message, { signal }) => {
      signal.addEventListener('abort', () => aborted++);
      return new Promise(() => undefined);
    });
    client.handle('note', () => undefined);
    await connect();
    deliver('m1', 1, { type: 'slow' });
    deliver('m2', 2);
    await clock.advance(900);
    expect([aborted, ended]).toEqual([0, []]);
    await clock.advance(5000);
    expect(aborted).toBe(2);
    expect(ended).toEqual(['rejected m1', 'acked m2']);
    expect(errors.map(({ code }) => code)).toEqual(['handler_timeout']);
  });

  it('may take as long as it likes when the limit is 0', async () => {
    const { client, clock, connect, deliver, ended } = setupBed({ handlerTimeoutMs: 0 });
    const { opened, open } = gate();
    client.handle('note', () => opened);
    await connect();
    deliver('m1', 1);
    await clock.advance(3_000_000);
    expect(ended).toEqual([]);
    open();
    await clock.advance(60_000);
    expect(ended).toEqual(['acked m1']);
  });

  it('acts again when a newer one of its type is removed, as of a page in a layout', async () => {
    const { client, bed, connect } = setupBed();
    const seen: string[] = [];
    const removeLayout = client.handle('note', () => seen.push('layout'));
    const removePage = client.handle('note', () => seen.push('page'));
    const removeDialog = client.handle('note', () => seen.push('dialog'));
    await connect();
    await bed.deliver('note', 1);
    removePage();
    await bed.deliver('note', 2);
    removeDialog();
    removeDialog();
    await bed.deliver('note', 3);
    expect(seen).toEqual(['dialog', 'dialog', 'layout']);
    removeLayout();
    expect(await bed.deliver('note', 4)).toBe('rejected');
  });

  it('is replaced by a newer one of its type, which alone can remove itself', async () => {
    const { client, bed, connect } = setupBed();
    const seen: string[] = [];
    const removeOld = client.handle('note', () => seen.push('old'));
    const removeNew = client.handle('note', () => seen.push('new'));
    removeOld();
    removeOld();
    await connect();
    expect(await bed.deliver('note', 1)).toBe('acked');
    removeNew();
    expect(await bed.deliver('note', 1)).toBe('rejected');
    expect(seen).toEqual(['new']);
  });
});

describe('a handler that outlasts a stop', () => {
  /** Stops the client, which waits for a tenth of a second. */
  function setup(options: Parameters<typeof setupBed>[0] = {}) {
    const parts = setupBed({ drainMs: 100, handlerAttempts: 1, ...options });
    const stop = async () => {
      const stopped = parts.client.stop();
      await parts.clock.advance(200);
      await stopped;
    };
    const begin = async (handler: (call: number, signal: AbortSignal) => unknown) => {
      let calls = 0;
      parts.client.handle('note', (_message, { signal }) => handler(++calls, signal));
      await parts.connect();
      parts.deliver('m1', 1);
      await settle();
      return () => calls;
    };
    return { ...parts, stop, begin };
  }
  const never = () => new Promise(() => undefined);

  it('is told by its signal once it was waited for, and leaves no timer behind', async () => {
    const { client, clock, begin, ended } = setup();
    let aborted = false;
    await begin((_call, signal) => {
      signal.addEventListener('abort', () => (aborted = true));
      return never();
    });
    const stopped = client.stop();
    await clock.advance(90);
    expect(aborted).toBe(false);
    await clock.advance(20);
    await stopped;
    expect([aborted, clock.pending, ended]).toEqual([true, 0, []]);
  });

  it('leaves no timer behind, too, when it was to be called again', async () => {
    const { clock, begin, stop } = setup({ handlerAttempts: 3, handlerRetryDelayMs: 60_000 });
    const calls = await begin(() => Promise.reject(new Error('a bug')));
    await stop();
    expect([calls(), clock.pending]).toEqual([1, 0]);
  });

  it('has not failed when it gives up at the signal, and gets its message after the next start', async () => {
    const { client, begin, stop, ended, errors } = setup();
    const calls = await begin((call, signal) => {
      if (call > 1) return undefined;
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          reject(new Error('given up'));
        });
      });
    });
    await stop();
    expect([ended, errors]).toEqual([[], []]);
    client.start();
    await settle();
    expect([calls(), ended]).toEqual([2, ['acked m1']]);
  });

  it('is joined after the next start, so that its message is handled once', async () => {
    const { client, begin, stop, ended } = setup();
    const { opened, open } = gate();
    const calls = await begin(() => opened);
    await stop();
    client.start();
    await settle();
    open();
    await settle();
    expect([calls(), ended]).toEqual([1, ['acked m1']]);
  });

  it.each([1, 2])(
    'that never ends keeps its message no longer than its limit after the next start, with a concurrency of %i',
    async (concurrency) => {
      const { client, clock, begin, stop, ended } = setup({
        concurrency,
        handlerTimeoutMs: 5000,
      });
      const calls = await begin((call) => (call === 1 ? never() : undefined));
      await stop();
      client.start();
      await clock.advance(4900);
      expect([calls(), ended]).toEqual([1, []]);
      await clock.advance(200);
      expect([calls(), ended]).toEqual([2, ['acked m1']]);
    },
  );
});

describe('what nobody handles', () => {
  it('goes to the handler of everything else, or is told and rejected; the next one is handled', async () => {
    const { client, bed, errors, connect } = setupBed();
    const unhandled: string[] = [];
    client.on('unhandled', ({ type }) => unhandled.push(type));
    client.handle('note', () => undefined);
    client.observe('strange', () => undefined);
    await connect();
    expect(await bed.deliver('strange', 1)).toBe('rejected');
    expect(await bed.deliver('note', 1)).toBe('acked');
    const remove = client.handle('*', () => undefined);
    expect(await bed.deliver('strange', 1)).toBe('acked');
    remove();
    expect([unhandled, errors]).toEqual([['strange'], []]);
  });

  it('is an error where nobody listens to the event, and without a listener to that a line on the console', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    onTestFinished(() => {
      warn.mockRestore();
    });
    const { bed, errors, connect } = setupBed();
    await connect();
    await bed.deliver('strange', 1);
    expect(errors.map(({ code, message }) => [code, message.includes('"strange"')])).toEqual([
      ['unhandled', true],
    ]);
    expect(warn).not.toHaveBeenCalled();
    const other = new TestBed();
    const silent = getClient(other.options);
    silent.start();
    await settle();
    for (const type of ['strange', 'strange', 'stranger', 'strange']) await other.deliver(type, 1);
    await silent.stop();
    expect(warn.mock.calls.map(([text]) => /"(\w+)"/.exec(String(text))?.[1])).toEqual([
      'strange',
      'stranger',
    ]);
  });

  it('is dropped where the application says so, each time it comes, and not told to be handled', async () => {
    const { client, clock, bed, connect, broker } = setupBed({ unhandled: 'ack' });
    let told = 0;
    client.on('unhandled', () => told++);
    const tracked = { id: 'm1', headers: { 'x-warren-track': '1' } };
    await connect();
    expect(await bed.deliver('strange', 1, tracked)).toBe('acked');
    expect(await bed.deliver('strange', 1, tracked)).toBe('acked');
    await clock.advance(5000);
    expect([told, broker.deadLetters, bed.calls]).toEqual([2, [], []]);
  });

  it('is kept where the application says so, holds up nothing, and is handled before what came after it', async () => {
    const { client, clock, connect, ended, deliver, broker } = setupBed({ unhandled: 'keep' });
    const told: unknown[] = [];
    const seen: unknown[] = [];
    client.on('unhandled', ({ data }) => told.push(data));
    client.handle('note', ({ data }) => seen.push(data));
    const first = await connect();
    deliver('m1', 'a', { type: 'new' });
    deliver('m2', 'b', { type: 'newer' });
    deliver('m3', 'c');
    await settle();
    expect([ended, told, broker.unacked]).toEqual([['acked m3'], ['a', 'b'], 2]);
    // It is there on the next connection, too.
    first.break('lost');
    await clock.advance(1000);
    expect([told, broker.unacked]).toEqual([['a', 'b', 'a', 'b'], 2]);
    const { opened, open } = gate();
    client.handle('note', async ({ data }) => {
      await opened;
      seen.push(data);
    });
    deliver('m4', 'd');
    deliver('m5', 'e');
    await settle();
    client.handle('newer', ({ data }) => seen.push(data));
    client.handle('new', ({ data }) => seen.push(data));
    open();
    await settle();
    expect(seen).toEqual(['c', 'd', 'a', 'b', 'e']);
    expect(told).toHaveLength(4);
    expect(broker.depth).toBe(0);
  });

  it('is kept up to half of what the broker sends ahead, and rejected beyond', async () => {
    const { client, connect, ended, deliver } = setupBed({ unhandled: 'keep', prefetch: 4 });
    client.handle('note', () => undefined);
    await connect();
    for (const id of ['m1', 'm2', 'm3', 'm4']) deliver(id, 1, { type: 'new' });
    deliver('m5', 1);
    await settle();
    expect(ended).toEqual(['rejected m3', 'rejected m4', 'acked m5']);
  });

  it('takes only what the option can be', () => {
    expect(() => setupBed({ unhandled: 'drop' as 'ack' })).toThrow(/unhandled must be one of/);
  });
});

describe('an observer', () => {
  it('sees what was handled, after its handler, and neither failures nor repetitions', async () => {
    const { client, clock, bed, connect } = setupBed({ handlerRetryDelayMs: 1 });
    const seen: unknown[] = [];
    client.handle('note', ({ data }) => {
      if (data === 'bad') throw new Error('no');
      seen.push(`handled ${String(data)}`);
    });
    client.observe('note', ({ data }) => seen.push(`observed ${String(data)}`));
    const remove = client.observe('*', ({ data }) => seen.push(`any ${String(data)}`));
    await connect();
    await bed.deliver('note', 'good', { id: 'm1' });
    void bed.deliver('note', 'bad');
    await clock.advance(100);
    await bed.deliver('note', 'good', { id: 'm1' });
    remove();
    remove();
    await bed.deliver('note', 'last');
    await settle();
    expect(seen).toEqual([
      'handled good',
      'any good',
      'observed good',
      'handled last',
      'observed last',
    ]);
  });
});

describe('a schema', () => {
  const schema = z.object({ at: z.coerce.date() });

  it('makes the data what the handler gets, typed', async () => {
    const { client, bed, connect } = setupBed();
    let year = 0;
    client.handle(
      'note',
      ({ data }) => {
        // The compiler knows that it is a Date.
        year = data.at.getUTCFullYear();
      },
      { schema },
    );
    await connect();
    expect(await bed.deliver('note', { at: '2026-02-03' })).toBe('acked');
    expect(year).toBe(2026);
  });

  it('has what does not fit rejected, without a call, and told without its payload', async () => {
    const { client, bed, connect, errors } = setupBed();
    let calls = 0;
    client.handle('note', () => calls++, { schema });
    await connect();
    expect(await bed.deliver('note', { at: 'the-secret' })).toBe('rejected');
    expect(calls).toBe(0);
    expect(errors.map(({ code }) => code)).toEqual(['undecodable']);
    expect(errors[0]!.message).not.toContain('the-secret');
  });
});

describe('a text', () => {
  it.each([
    ['text/plain; charset=iso-8859-1', [0x67, 0xfc, 0x6e], 'gün'],
    ['text/plain;format=flowed; Charset="windows-1252"', [0xe9, 0x31], 'é1'],
    ['text/csv; charset=UTF-16LE', [0x61, 0, 0x3b, 0], 'a;'],
    ['text/plain; charset=utf-8', [0xe2, 0x9c, 0x93], '✓'],
    ['text/plain', [0xe2, 0x9c, 0x93], '✓'],
    // A charset that nobody knows, or that the body is not in.
    ['text/plain; charset=klingon', [0xe2, 0x9c, 0x93], '✓'],
    ['text/plain; charset=utf-16le', [0xe2, 0x9c, 0x93], '✓'],
  ])('of %s is read by its charset', async (contentType, bytes, text) => {
    const { client, bed, connect } = setupBed();
    const seen: unknown[] = [];
    client.handle('note', ({ data }) => seen.push(data));
    await connect();
    const properties = { type: 'note', contentType, headers: {} };
    const body = Uint8Array.from(bytes);
    expect(await bed.enqueue({ body, live: false, properties })).toBe('acked');
    expect(seen).toEqual([text]);
  });

  it('that is in no charset that it could be is rejected', async () => {
    const { client, bed, connect, errors } = setupBed();
    client.handle('note', () => undefined);
    await connect();
    const properties = { type: 'note', contentType: 'text/plain; charset=x', headers: {} };
    const body = Uint8Array.from([0xff, 0xfe, 0xfd]);
    expect(await bed.enqueue({ body, live: false, properties })).toBe('rejected');
    expect(errors.map(({ code }) => code)).toEqual(['undecodable']);
  });
});

describe('a decode hook', () => {
  it('reads bodies of another format, and leaves the others to the SDK', async () => {
    const { client, bed, connect } = setupBed({
      decode: (body, { contentType }, fallback) =>
        contentType === 'application/x-reversed'
          ? Promise.resolve(new TextDecoder().decode(body).split('').reverse().join(''))
          : fallback(),
    });
    const seen: unknown[] = [];
    client.handle('note', ({ data }) => seen.push(data));
    await connect();
    await bed.enqueue({
      body: new TextEncoder().encode('olleh'),
      live: false,
      properties: { type: 'note', contentType: 'application/x-reversed', headers: {} },
    });
    await bed.deliver('note', { plain: true });
    expect(seen).toEqual(['hello', { plain: true }]);
  });

  it('that throws has the message rejected, and is replaced by a newer one', async () => {
    const { client, bed, connect, errors } = setupBed({
      decode: () => {
        throw new Error('no key');
      },
    });
    client.handle('note', () => undefined);
    await connect();
    expect(await bed.deliver('note', 1)).toBe('rejected');
    expect(errors.map(({ code }) => code)).toEqual(['undecodable']);
    getClient({ ...bed.options, decode: () => 'read' });
    expect(await bed.deliver('note', 1)).toBe('acked');
  });
});

describe('a collapse key', () => {
  const keyed = (key: string) => ({ headers: { 'x-warren-collapse-key': key } });

  it('leaves of the messages that wait the newest alone, each key for itself, others in their order', async () => {
    const { client, bed, clock, connect } = setupBed();
    const seen: unknown[] = [];
    client.handle('note', ({ data }) => seen.push(data));
    const outcomes = [
      bed.deliver('note', 'a1', keyed('a')),
      bed.deliver('note', 'plain'),
      bed.deliver('note', 'b1', keyed('b')),
      bed.deliver('note', 'a2', keyed('a')),
      bed.deliver('note', 'a3', keyed('a')),
      bed.deliver('note', 'b2', keyed('b')),
    ];
    await connect();
    await clock.advance(1000);
    expect(seen).toEqual(['plain', 'a3', 'b2']);
    expect(await Promise.all(outcomes)).toEqual(Array.from(outcomes, () => 'acked'));
  });

  it('counts among the messages of one sender and type', async () => {
    const { client, bed, clock, connect } = setupBed();
    const seen: unknown[] = [];
    client.handle('*', ({ data }) => seen.push(data));
    const from = (user: string) => ({
      headers: { ...keyed('k').headers, 'x-warren-from': user },
    });
    void bed.deliver('note', 'the application', keyed('k'));
    void bed.deliver('note', 'mallory', from('mallory'));
    void bed.deliver('note', 'anna', from('anna'));
    void bed.deliver('other', 'another type', keyed('k'));
    void bed.deliver('note', 'anna again', from('anna'));
    await connect();
    await clock.advance(1000);
    expect(seen).toEqual(['the application', 'mallory', 'another type', 'anna again']);
  });

  it('has whoever tracks a message told that a newer one took its place, also when its ack is lost', async () => {
    const { client, bed, clock, connect, broker } = setupBed();
    client.handle('note', () => undefined);
    const tracked = (id: string) => ({
      id,
      headers: { ...keyed('k').headers, 'x-warren-track': '1' },
    });
    const told = (kind: string) =>
      bed.calls.flatMap(({ body }) => (body[kind] as string[] | undefined) ?? []);
    await connect();
    void bed.deliver('note', 1, tracked('m1'));
    void bed.deliver('note', 2, tracked('m2'));
    void bed.deliver('note', 3, tracked('m3'));
    await clock.advance(2000);
    expect([told('superseded'), told('delivered')]).toEqual([['m1', 'm2'], ['m3']]);
    expect(bed.calls[0]?.body).toMatchObject({ deviceId: client.deviceId });
    broker.connection.break('lost');
    await clock.advance(1000);
    const again = bed.deliver('note', 1, tracked('m1'));
    await clock.advance(2000);
    expect(await again).toBe('acked');
    expect([told('superseded'), told('delivered')]).toEqual([['m1', 'm2', 'm1'], ['m3']]);
  });

  it('also works where more wait than the broker sends ahead', async () => {
    const { client, bed, clock, connect, broker } = setupBed({ prefetch: 5 });
    const seen: unknown[] = [];
    client.handle('note', ({ data }) => seen.push(data));
    for (let index = 0; index < 23; index++) void bed.deliver('note', index, keyed('score'));
    await connect();
    await clock.advance(1000);
    expect(seen).toEqual([22]);
    expect(broker.depth).toBe(0);
  });

  it('does not starve the handler when newer ones come all the time', async () => {
    const { client, bed, clock, connect } = setupBed();
    const seen: number[] = [];
    client.handle('note', ({ data }) => seen.push(data as number));
    await connect();
    for (let index = 0; index < 200; index++) {
      void bed.deliver('note', index, keyed('score'));
      void bed.deliver('note', index + 0.5, keyed('score'));
      await clock.advance(20);
    }
    await clock.advance(1000);
    // Four seconds of a stream that never pauses.
    expect(seen.length).toBeGreaterThan(5);
    expect(seen.at(-1)).toBe(199.5);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  it('leaves the newest alone, too, of what waits after a stop in the middle of a stream', async () => {
    const { client, bed, clock, connect } = setupBed();
    const seen: unknown[] = [];
    client.handle('note', ({ data }) => seen.push(data));
    await connect();
    void bed.deliver('note', 1, keyed('bar'));
    await clock.advance(100);
    // It waits for a newer one when the client is stopped.
    void bed.deliver('note', 2, keyed('bar'));
    const stopped = client.stop();
    await clock.advance(1000);
    await stopped;
    for (const step of [3, 4, 5]) void bed.deliver('note', step, keyed('bar'));
    client.start();
    await clock.advance(1000);
    expect(seen).toEqual([1, 5]);
  });

  it('does not handle a message that was passed over when its ack is lost', async () => {
    const { client, bed, clock, connect, broker } = setupBed();
    const seen: unknown[] = [];
    client.handle('note', ({ data }) => seen.push(data));
    await connect();
    void bed.deliver('note', 'old', { id: 'old', ...keyed('k') });
    void bed.deliver('note', 'new', { id: 'new', ...keyed('k') });
    await clock.advance(100);
    broker.connection.break('lost');
    await clock.advance(1000);
    void bed.deliver('note', 'old', { id: 'old', ...keyed('k') });
    await clock.advance(1000);
    expect(broker.depth).toBe(0);
    expect(seen).toEqual(['new']);
  });
});

/** A browser in which this is the only tab. */
const TABS: Partial<Platform> = {
  hasTabs: true,
  locks: {
    request: (async (_name: string, _options: object, held: () => unknown) =>
      await held()) as LockManager['request'],
  },
  openChannel: () => ({ postMessage: () => undefined, onmessage: null, close: () => undefined }),
};

describe('logout()', () => {
  it.each([404, 405, 502])('is not done when something answers %i', async (status) => {
    const { client, bed, connect } = setupBed();
    await connect();
    bed.replies.push({ status });
    await expect(client.logout()).rejects.toMatchObject({ code: 'logout_incomplete' });
  });

  it.each([
    ['alone', {}, false],
    ['with tabs', TABS, false],
    ['with tabs and a full storage', TABS, true],
  ])(
    'tells the server whose requests for a session come too late, %s',
    async (_how, platform, isFull) => {
      const sent: string[] = [];
      const fetchAndNote: typeof fetch = (url, init) => {
        const body = JSON.parse((init?.body as string | undefined) ?? '{}') as object;
        const query = Object.fromEntries(new URL(url as string).searchParams);
        const { installationId } = { ...body, ...query } as { installationId?: string };
        sent.push(`${init?.method ?? 'GET'} ${installationId ?? 'nobody'}`);
        return bed.options.platform.fetch!(url, init);
      };
      const setItem = () => {
        throw new DOMException('full', 'QuotaExceededError');
      };
      const full = { getItem: () => null, setItem, removeItem: () => undefined };
      const { client, bed, clock } = setupBed(
        {
          platform: { ...platform, fetch: fetchAndNote },
          ...(isFull && { storage: full }),
        },
        { random: Math.random },
      );
      bed.replies.push({ status: 503 });
      client.start();
      await clock.advance(60_000);
      await client.logout();
      const [first = ''] = sent;
      expect(first).toMatch(/^POST [0-9a-f]{32}$/);
      expect(sent).toEqual([first, first, first.replace('POST', 'DELETE')]);
      expect([...bed.stored.values()].join()).not.toContain(first.slice('POST '.length));
    },
  );

  it('clears everything and says so when the server could not be told', async () => {
    const { client, bed, connect, state } = setupBed();
    client.handle('note', () => undefined);
    await connect();
    await bed.deliver('note', 1);
    expect(bed.stored.size).toBeGreaterThan(0);
    bed.replies.push({ status: 503 });
    await expect(client.logout()).rejects.toMatchObject({ code: 'logout_incomplete' });
    expect([state(), bed.stored.size]).toEqual(['closed', 0]);
    expect(() => {
      client.start();
    }).toThrow(expect.objectContaining({ code: 'stopped' }));
  });
});
