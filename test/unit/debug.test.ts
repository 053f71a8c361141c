import { inspect } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { stomp } from '@warren/client';
import { debug } from '@warren/client/debug';
import { settle, TestBed } from '@warren/client/testing';
import { getClient } from '@warren/client';
import { setupBed } from '../support/bed.js';

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** A client to whose errors nobody listens. */
function setupUnheard() {
  const bed = new TestBed();
  const client = getClient({ ...bed.options, handlerAttempts: 1, handlerTimeoutMs: 50 });
  client.handle('bad', () => {
    throw new RangeError('a bug');
  });
  client.handle('slow', () => new Promise(() => undefined));
  client.start();
  return { bed, client };
}

describe('what a handler throws', () => {
  it('is an uncaught error to the page when nobody listens to errors', async () => {
    const reportError = vi.fn();
    vi.stubGlobal('reportError', reportError);
    const { bed, client } = setupUnheard();
    await bed.deliver('bad', 1);
    expect(reportError.mock.calls).toEqual([[new RangeError('a bug')]]);
    const slow = bed.deliver('slow', 1);
    await bed.clock.advance(100);
    await slow;
    expect(reportError).toHaveBeenCalledTimes(2);
    await client.stop();
  });

  it('is on the console where there are no such errors, and never the message that could not be read', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const { bed, client } = setupUnheard();
    await bed.deliver('bad', 1);
    const body = new TextEncoder().encode('a secret');
    const properties = { type: 'bad', contentType: 'application/json', headers: {} };
    await bed.enqueue({ body, live: false, properties });
    const errors = said.mock.calls.map(([error]: unknown[]) => error);
    expect(errors).toEqual([new RangeError('a bug'), expect.stringContaining('content type')]);
    expect(inspect(errors)).not.toContain('secret');
    await client.stop();
  });

  it('is for the listener alone when there is one', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const { bed, client, errors, connect } = setupBed({ handlerAttempts: 1 });
    client.handle('bad', () => {
      throw new RangeError('a bug');
    });
    await connect();
    await bed.deliver('bad', 1);
    expect(errors.map(({ code }) => code)).toEqual(['handler_failed']);
    expect(said).not.toHaveBeenCalled();
  });
});

describe('a connection that is lost', () => {
  it('says where it was to and for how long, without credentials', async () => {
    const { bed, clock, broker, changes, connect } = setupBed({
      platform: {
        fetch: async (url, init) => {
          const response = await bed.options.platform.fetch!(url, init);
          const grant = (await response.json()) as object;
          const stompUrls = ['wss://me:secret@broker.example/ws?token=secret'];
          return Response.json(
            { ...grant, endpoints: { stomp: stompUrls, amqp: [] } },
            { status: 201 },
          );
        },
      },
    });
    await connect();
    await clock.advance(12_000);
    broker.connection.break('lost');
    await settle();
    const { reason } = changes.at(-1)!;
    expect(reason?.message).toContain('(wss://broker.example/ws, after 12000 ms)');
    expect(reason?.message).not.toContain('secret');
  });

  it('cannot be made without a WebSocket, which ends the client', async () => {
    vi.stubGlobal('WebSocket', undefined);
    const { client, state } = setupBed({ transport: stomp() });
    client.start();
    await settle();
    expect(state()).toBe('failed: no_websocket');
    await expect(client.ready()).rejects.toMatchObject({ code: 'no_websocket' });
  });
});

describe('the debug log', () => {
  it('has a line for each thing that happens, and no payload', async () => {
    const { bed, client, clock, broker, connect } = setupBed({ handlerAttempts: 1 });
    const lines: string[] = [];
    const off = debug(client, (line) => lines.push(line));
    client.handle('note', () => undefined);
    client.handle('bad\nline', () => {
      throw new RangeError('a bug');
    });
    await connect();
    await bed.deliver('note', 'the payload', { id: 'one' });
    await bed.deliver('bad\nline', 'the payload', { id: 'two' });
    broker.connection.break('lost');
    await clock.advance(1000);
    await client.stop();
    const said = lines.map((line) => line.replace(`warren ${client.deviceId}: `, ''));
    expect(said).toContain('authorizing -> connecting');
    expect(said).toContain('tab: alone, receives');
    expect(said).toContain('message one of type note: handled in 0 ms');
    expect(said).toContain(
      'message two of type bad line: rejected (handler_failed RangeError) in 0 ms',
    );
    expect(said.join('\n')).toMatch(/connected -> waiting: connection_lost: .*next attempt at /);
    expect(said.join('\n')).not.toMatch(/payload|test-grant|test-token/);
    const { length } = lines;
    off();
    client.start();
    await settle();
    expect(lines).toHaveLength(length);
  });

  it('leaves the events alone that say something when nobody listens', async () => {
    const warned = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const { bed, client } = setupUnheard();
    debug(client, () => undefined);
    await bed.deliver('unknown', 1);
    expect(warned).toHaveBeenCalledTimes(1);
    await client.stop();
  });
});
