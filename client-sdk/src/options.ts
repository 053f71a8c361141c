import { WarrenError } from './errors.js';
import type { Background } from './lifecycle.js';
import type { Unhandled } from './dispatcher.js';
import type { Decode } from './message.js';
import { browser } from './platform/browser.js';
import type { ClientStorage, Platform } from './platform/platform.js';
import type { GetToken } from './api.js';
import { stomp } from './stomp.js';
import { devicesIn } from './registry.js';
import { keep, keepId } from './storage.js';
import type { Transport } from './transport.js';

export interface ClientOptions {
  /**
   * Where Warren's routes are: `https://api.example.com/warren`; in a page also `/warren`, on its own origin.
   * Required.
   */
  apiUrl: string;
  /** Who is logged in. A token of somebody else ends in `failed` (`user_mismatch`). Required. */
  userId: string;
  /** Gives the user's JWT for each attempt that needs one; see {@link GetToken}. Required. */
  getToken: GetToken;
  /**
   * Names this installation, 1 to 256 bytes; neither `.` nor `..`. Default: an id that the SDK makes and keeps in
   * `storage`; without usable storage one that lasts as long as the page, whose mailbox ends five minutes after its
   * connection, and the event `error` says so (`storage_unavailable`). Required in Node.
   */
  deviceId?: string;
  /** What its user recognizes this device by in `client.devices()`; 100 characters at most. Default: nothing. */
  deviceName?: string;
  /** Keeps the device's id and what was handled. Default: `localStorage` where there is one. */
  storage?: ClientStorage;
  /** Default: {@link stomp}. In Node: `amqp()` from `@warren/client/amqp`. */
  transport?: Transport;
  /** Replaces parts of the environment. Default: {@link browser}, which fits Node too. */
  platform?: Partial<Platform>;
  /** What becomes of the connection in the background. Default: `'keep'`; in React Native `'disconnect'`. */
  background?: Background;
  /**
   * How many messages of each queue are handled at once. Default 1: in the sender's order. With more,
   * handlers overlap and nothing is promised of their order.
   */
  concurrency?: number;
  /**
   * How many messages of each queue the broker sends ahead of the acks. Default, and at most: what the
   * server grants (50). Fewer suit handlers that take long.
   */
  prefetch?: number;
  /**
   * Where the ids of handled messages are remembered: in `'storage'`, across starts of the app, the last
   * 1,000; in `'memory'`, as long as the page lasts, 10,000. Both for 24 hours. Default: `'storage'`
   * where there is one.
   */
  dedupe?: 'storage' | 'memory';
  /**
   * How many messages are fetched from the history at most when the mailbox has lost some; then the event
   * `gap` says that there are more. Default 10,000.
   */
  recoveryLimit?: number;
  /**
   * What becomes of a message of a type that nobody handles, here or in another tab. `'reject'`: it goes to the
   * dead letters, from which it can be sent again, and the sender of a tracked one is told. `'keep'`: it stays in
   * the mailbox until its time is over, for a handler that is registered later or a newer version of the app; when
   * half of `prefetch` is kept, more are rejected. `'ack'`: it is dropped; a tracked one counts as not handled.
   * The event `unhandled` tells of each, or without a listener `error`, or without one of those, once for each
   * type, the console. Default: `'reject'`.
   */
  unhandled?: Unhandled;
  /** Reads bodies in a format of your own; see {@link Decode}. Default: JSON, text, bytes. */
  decode?: Decode;
  /** How often a failing handler is called in all before its message is rejected. Default 3. */
  handlerAttempts?: number;
  /** Before the second attempt, in milliseconds; it doubles. Default 500. */
  handlerRetryDelayMs?: number;
  /**
   * How long one call of a handler may take, in milliseconds; then it counts as failed and the signal
   * in its context aborts. Default 300,000; 0: no limit, and a handler that never ends blocks its queue.
   */
  handlerTimeoutMs?: number;
  /**
   * How long `stop()` and a renewal wait for a running handler, in milliseconds; after `stop()` the signal in
   * its context aborts then. Default 5,000.
   */
  drainMs?: number;
  /** Before the first new attempt, in milliseconds, at most; it doubles. Default 500. */
  backoffBaseMs?: number;
  /** No wait between two attempts is longer, in milliseconds. Default 30,000. */
  backoffMaxMs?: number;
  /** How long one step of connecting may take, in milliseconds. Default 10,000. */
  timeoutMs?: number;
}

type Unresolved = 'storage' | 'platform' | 'decode' | 'deviceName';

export type ResolvedOptions = Required<Omit<ClientOptions, Unresolved>> & {
  platform: Platform;
  deviceName: string | undefined;
  /** Names this device on this machine: for the registry, the tabs and what is kept. */
  key: string;
  /** Where the device's id is kept; empty when the application names the device. */
  deviceKey: string;
  /** Keeps the device's id. @returns whether it is known only as long as the page is. */
  isPassing: () => boolean;
};

/** Options that a second `getClient` may not change, since they are at work already. */
export const FIXED_OPTIONS = [
  'background',
  'concurrency',
  'prefetch',
  'recoveryLimit',
  'dedupe',
  'unhandled',
  'handlerAttempts',
  'handlerRetryDelayMs',
  'handlerTimeoutMs',
  'drainMs',
  'backoffBaseMs',
  'backoffMaxMs',
  'timeoutMs',
] as const;

/** Checks the options once. @throws {WarrenError} `invalid_options` */
export function resolveOptions(options: ClientOptions): ResolvedOptions {
  const platform: Platform = { ...browser(), ...options.platform };
  const storage = options.storage ?? platform.storage;
  const apiUrl = checkApiUrl(options.apiUrl);
  const userId = checkId('userId', options.userId);
  if (typeof options.getToken !== 'function') throw invalid('getToken must be a function.');
  const isNamed = options.deviceId !== undefined;
  const deviceKey = isNamed ? '' : `warren:device:${apiUrl}:${userId}`;
  const deviceId = isNamed
    ? checkId('deviceId', options.deviceId)
    : findDeviceId(storage, platform, deviceKey);
  const numbers = Object.entries(NUMBERS).map(([name, [byDefault, least]]) => [
    name,
    checkNumber(name, options[name as NumberOption] ?? byDefault, least),
  ]);
  return {
    apiUrl,
    userId,
    deviceId,
    deviceKey,
    deviceName: checkName(options.deviceName),
    isPassing: () => !isNamed && !keep(storage, deviceKey, deviceId),
    key: `warren:${JSON.stringify([apiUrl, userId, deviceId])}`,
    getToken: options.getToken,
    transport: options.transport ?? stomp(),
    platform: { ...platform, storage },
    background: checkBackground(options.background ?? platform.background),
    dedupe: checkChoice('dedupe', options.dedupe, ['storage', 'memory']),
    unhandled: checkChoice('unhandled', options.unhandled, ['reject', 'ack', 'keep']),
    ...(Object.fromEntries(numbers) as Record<NumberOption, number>),
  };
}

/** Each with its default and the least that makes sense. */
const NUMBERS = {
  concurrency: [1, 1],
  prefetch: [65_535, 1],
  recoveryLimit: [10_000, 0],
  handlerAttempts: [3, 1],
  handlerRetryDelayMs: [500, 0],
  handlerTimeoutMs: [300_000, 0],
  drainMs: [5000, 0],
  backoffBaseMs: [500, 1],
  backoffMaxMs: [30_000, 1],
  timeoutMs: [10_000, 1],
} as const;
type NumberOption = keyof typeof NUMBERS;

function checkBackground(value: Background): Background {
  if (value === 'disconnect' || value === 'keep') return value;
  // Checked as if it could be anything: the compiler is not always asked.
  const { graceMs } = Object(value) as { graceMs?: number };
  if (graceMs === undefined) {
    throw invalid("background must be 'disconnect', 'keep' or { graceMs }.");
  }
  checkNumber('background.graceMs', graceMs, 0);
  return value;
}

/** The first is the default. */
function checkChoice<Choice extends string>(
  name: string,
  value: Choice | undefined,
  choices: [Choice, ...Choice[]],
): Choice {
  const [byDefault] = choices;
  if (choices.includes(value ?? byDefault)) return value ?? byDefault;
  throw invalid(`${name} must be one of ${choices.join(', ')}.`);
}

/**
 * The id that the device has in this process, or the one kept from last time, or a new one.
 * @throws {WarrenError} `invalid_options` in Node, where a new id at each start would leave a queue behind.
 */
function findDeviceId(storage: ClientStorage | undefined, platform: Platform, key: string): string {
  if (storage === undefined && platform.isServer) {
    throw invalid('deviceId is required in Node: the name of the host, for example.');
  }
  const known = devicesIn(storage);
  const id = known.get(key) ?? keepId(platform, storage, key);
  known.set(key, id);
  return id;
}

const invalid = (message: string): WarrenError => new WarrenError('invalid_options', message);

function checkText(name: string, value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  throw invalid(`${name} must be a string that is not empty.`);
}

/** A path stands for one on the page's own origin. */
function checkApiUrl(value: unknown): string {
  const text = checkText('apiUrl', value);
  const { origin } = (globalThis as { location?: { origin: string } }).location ?? {};
  const isPath = text.startsWith('/') && !text.startsWith('//');
  const url = (isPath && origin !== undefined ? origin + text : text).replace(/\/+$/, '');
  if (/^https?:\/\//.test(url)) return url;
  throw invalid('apiUrl must begin with http:// or https://, or in a page with a slash.');
}

function checkName(value: string | undefined): string | undefined {
  if (value === undefined || (value !== '' && value.length <= 100)) return value;
  throw invalid('deviceName must have 1 to 100 characters.');
}

/** What else the server refuses, it says. */
function checkId(name: string, value: unknown): string {
  const id = checkText(name, value);
  if (id !== '.' && id !== '..') return id;
  throw invalid(`${name} must be neither "." nor "..".`);
}

function checkNumber(name: string, value: number, least: number): number {
  if (Number.isFinite(value) && value >= least) return value;
  throw invalid(`${name} must be a number, ${String(least)} or more.`);
}
