import { WarrenError } from './errors.js';
import { defaultPlatform, type ClientStorage, type Platform } from './platform.js';
import type { GetToken } from './session.js';
import { stomp } from './stomp.js';
import type { Transport } from './transport.js';

export interface ClientOptions {
  /** Where Warren's routes are: `https://api.example.com/warren`. */
  apiUrl: string;
  /** Who is logged in. A token of somebody else ends in `failed` (`user_mismatch`). */
  userId: string;
  getToken: GetToken;
  /**
   * Names this installation, 1 to 256 bytes. Default: an id that the SDK makes and keeps in
   * `storage`; without storage one that lasts as long as the page. Required in Node.
   */
  deviceId?: string;
  /** Keeps the device's id. Default: `localStorage` where there is one. */
  storage?: ClientStorage;
  /** Default: {@link stomp}. In Node: `amqp()` from `@warren/client/amqp`. */
  transport?: Transport;
  /** Replaces parts of the environment. Default: the environment's own. */
  platform?: Partial<Platform>;
  /** How often a failing handler is called in all before its message is rejected. Default 3. */
  handlerAttempts?: number;
  /** Before the second attempt, in milliseconds; it doubles. Default 500. */
  handlerRetryDelayMs?: number;
  /** How long `stop()` and a renewal wait for a running handler, in milliseconds. Default 5,000. */
  drainMs?: number;
  /** Before the first new attempt, in milliseconds, at most; it doubles. Default 500. */
  backoffBaseMs?: number;
  /** No wait between two attempts is longer, in milliseconds. Default 30,000. */
  backoffMaxMs?: number;
  /** How long one step of connecting may take, in milliseconds. Default 10,000. */
  timeoutMs?: number;
}

export type ResolvedOptions = Required<Omit<ClientOptions, 'storage' | 'platform'>> & {
  platform: Platform;
};

/** Checks the options once. @throws {WarrenError} `invalid_options` */
export function resolveOptions(options: ClientOptions): ResolvedOptions {
  const platform: Platform = { ...defaultPlatform(), ...options.platform };
  const storage = options.storage ?? platform.storage;
  const apiUrl = checkText('apiUrl', options.apiUrl).replace(/\/+$/, '');
  if (!/^https?:\/\//.test(apiUrl)) throw invalid('apiUrl must begin with http:// or https://.');
  const userId = checkText('userId', options.userId);
  if (typeof options.getToken !== 'function') throw invalid('getToken must be a function.');
  return {
    apiUrl,
    userId,
    getToken: options.getToken,
    deviceId:
      options.deviceId === undefined
        ? findDeviceId(storage, platform, `warren:device:${apiUrl}:${userId}`)
        : checkText('deviceId', options.deviceId),
    transport: options.transport ?? stomp(),
    platform: { ...platform, storage },
    handlerAttempts: checkNumber('handlerAttempts', options.handlerAttempts ?? 3, 1),
    handlerRetryDelayMs: checkNumber('handlerRetryDelayMs', options.handlerRetryDelayMs ?? 500, 0),
    drainMs: checkNumber('drainMs', options.drainMs ?? 5000, 0),
    backoffBaseMs: checkNumber('backoffBaseMs', options.backoffBaseMs ?? 500, 1),
    backoffMaxMs: checkNumber('backoffMaxMs', options.backoffMaxMs ?? 30_000, 1),
    timeoutMs: checkNumber('timeoutMs', options.timeoutMs ?? 10_000, 1),
  };
}

/**
 * The id kept from last time, or a new one.
 * @throws {WarrenError} `invalid_options` in Node, where a new id at each start would leave a queue behind.
 */
function findDeviceId(storage: ClientStorage | undefined, platform: Platform, key: string): string {
  if (storage === undefined && platform.isServer) {
    throw invalid('deviceId is required in Node: name this installation, for example by its host.');
  }
  try {
    const kept = storage?.getItem(key);
    if (kept != null && kept !== '') return kept;
    const made = newId(platform.random);
    storage?.setItem(key, made);
    return made;
  } catch {
    // A full or forbidden storage: the id lasts as long as the page.
    return newId(platform.random);
  }
}

/** Needs not be secret, so it does not ask for `crypto`, which insecure pages and Hermes lack. */
function newId(random: () => number): string {
  return Array.from({ length: 4 }, () =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0'),
  ).join('');
}

const invalid = (message: string): WarrenError => new WarrenError('invalid_options', message);

function checkText(name: string, value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  throw invalid(`${name} must be a string that is not empty.`);
}

function checkNumber(name: string, value: number, least: number): number {
  if (Number.isFinite(value) && value >= least) return value;
  throw invalid(`${name} must be a number, ${String(least)} or more.`);
}
