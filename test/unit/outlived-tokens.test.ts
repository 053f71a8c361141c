import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createLogger } from '@warren/server';
import type { ClientConnection } from '../../server/dist/broker/watch.js';
import {
  OutlivedTokens,
  type OutlivedTokensOptions,
} from '../../server/dist/sessions/outlived-tokens.js';

const HOUR_MS = 3_600_000;

let watch: EventEmitter;
let outlived: OutlivedTokens;
const close = vi.fn<OutlivedTokensOptions['connections']['close']>();
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  close.mockReset().mockResolvedValue();
  watch = new EventEmitter();
  outlived = new OutlivedTokens({
    watch: watch as OutlivedTokensOptions['watch'],
    connections: { close },
    lifetimesMs: { 'user.': HOUR_MS, 'console.': HOUR_MS / 6 },
    logger: createLogger('silent'),
  });
});
afterEach(() => {
  outlived.close();
  vi.useRealTimers();
});

function connect(name: string, login: string, more: Partial<ClientConnection> = {}) {
  const connection = { name, login, user: login, keepsToken: true, ...more };
  watch.emit('authenticated', connection, Date.now());
  return connection;
}
const closed = (): string[] => close.mock.calls.map(([{ name }]) => name);

it('ends a connection by STOMP when any token has ended that it can have been opened with', () => {
  connect('first', 'user.ann.phone.1');
  vi.advanceTimersByTime(HOUR_MS / 2);
  connect('second', 'user.ann.phone.1');
  vi.advanceTimersByTime(HOUR_MS / 2 - 1000);
  expect(closed()).toEqual([]);
  vi.advanceTimersByTime(2000);
  expect(closed()).toEqual(['first']);
  expect(close.mock.calls[0]?.[1]).toBe('token_expired');
});

it('knows how long the tokens of each kind last, whoever came first', () => {
  connect('device', 'user.ann.phone.1');
  connect('console', 'console.1');
  vi.advanceTimersByTime(HOUR_MS / 6 + 1000);
  expect(closed()).toEqual(['console']);
});

it('leaves alone who can exchange a token, who has gone, and accounts of the broker', () => {
  connect('amqp', 'user.ann.laptop.1', { keepsToken: false });
  connect('backend', 'warren-backend');
  watch.emit('closed', connect('gone', 'user.ann.phone.1'), Date.now());
  vi.advanceTimersByTime(2 * HOUR_MS);
  expect(closed()).toEqual([]);
});

it('counts one that is older than the server from when that has found it', () => {
  vi.advanceTimersByTime(HOUR_MS);
  const connection = { name: 'old', login: 'user.ann.phone.1', user: undefined, keepsToken: true };
  watch.emit('found', connection);
  vi.advanceTimersByTime(HOUR_MS - 1000);
  expect(closed()).toEqual([]);
  // Found once more is not opened anew.
  watch.emit('found', connection);
  vi.advanceTimersByTime(2000);
  expect(closed()).toEqual(['old']);
});

it('tries again as long as the connection is there, not twice at once', async () => {
  close
    .mockRejectedValueOnce(new Error('The broker is away.'))
    .mockReturnValue(new Promise(() => undefined));
  connect('first', 'user.ann.phone.1');
  await vi.advanceTimersByTimeAsync(HOUR_MS + 5000);
  expect(closed()).toEqual(['first', 'first']);
});

it('ends nobody who went while the broker was not heard', () => {
  connect('gone', 'user.ann.phone.1');
  watch.emit('began');
  vi.advanceTimersByTime(2 * HOUR_MS);
  expect(closed()).toEqual([]);
});
