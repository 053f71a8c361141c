import type { RecoveryReply } from '@warren/protocol';
import { UnavailableError, type Api } from './api.js';
import type { Backoff } from './backoff.js';
import type { DedupeWindow } from './dedupe.js';
import type { Dispatcher } from './dispatcher.js';
import { hasItems, toParcel, toSearch } from './history.js';
import type { Platform } from './platform/platform.js';
import { delay, isOver } from './timing.js';

/** Messages were missed that the handlers will not get. */
export interface Gap {
  /**
   * - `lost`: the mailbox was lost or overflowed, and what was not stored went with it; or the history does
   *   not reach back so far, or it is not known from where on.
   * - `limit`: more than `recoveryLimit`; the rest is in the history.
   * - `unavailable`: the history could not be read for a minute.
   */
  reason: 'lost' | 'limit' | 'unavailable';
  /** When the last message was handled before; undefined when that is not known. */
  since: Date | undefined;
  /** How many the history has made up for. */
  recovered: number;
}

export interface RecoveryOptions {
  api: Api;
  platform: Platform;
  window: DedupeWindow;
  dispatcher: Dispatcher;
  deviceId: string;
  /** How many messages are fetched at most. */
  limit: number;
  backoff: Backoff;
  onGap: (gap: Gap) => void;
}

/** As long as the history cannot be read, new messages wait; but no longer than this. */
const GIVE_UP_MS = 60_000;

/** Fetches what a mailbox has lost, and hands it to the handlers before anything newer. */
export class Recovery {
  readonly #options: RecoveryOptions;

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  /**
   * Resolves when all that was missed is handled, or told to be a gap, or the signal aborts.
   * @throws {TerminalError}
   */
  async run(signal: AbortSignal): Promise<void> {
    const { window, dispatcher, deviceId, limit, onGap } = this.#options;
    const known = window.position;
    const since = known.lastAt === undefined ? undefined : new Date(known.lastAt);
    let recovered = 0;
    const tell = (reason: Gap['reason']): void => {
      onGap({ reason, since, recovered });
    };
    dispatcher.forgetRecovered();
    let first: RecoveryReply | undefined;
    for (let cursor: string | undefined; ;) {
      const page = await this.#fetch({ deviceId, ...known, cursor }, signal);
      if (isOver(signal)) return;
      if (page === undefined) {
        tell('unavailable');
        return;
      }
      first ??= page;
      const missed = page.items.filter(({ id }) => !dispatcher.knows(id));
      const items = missed.slice(0, limit - recovered);
      await dispatcher.recover(
        items.map((item) => toParcel(item, true)),
        signal,
      );
      if (isOver(signal)) return;
      recovered += items.length;
      const isCut = items.length < missed.length;
      cursor = page.next;
      if (cursor !== undefined && !isCut) continue;
      if (isCut) tell('limit');
      else if (!first.complete) tell('lost');
      // What is lost from now on is another loss, with another mark.
      await this.#finish(first.mark, signal);
      return;
    }
  }

  /** Undefined when it cannot be had. */
  async #fetch(query: object, signal: AbortSignal): Promise<RecoveryReply | undefined> {
    const { api, platform, backoff } = this.#options;
    const giveUpAt = platform.now() + GIVE_UP_MS;
    while (!isOver(signal)) {
      let retryAfterMs: number;
      try {
        const path = `me/recovery?${toSearch(query)}`;
        const request = { method: 'GET', path, gives: hasItems } as const;
        const reply = await api.call(request, undefined, signal);
        if (reply.ok) {
          backoff.reset();
          return reply.body as RecoveryReply;
        }
        return undefined;
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error;
        retryAfterMs = error.retryAfterMs;
      }
      const delayMs = Math.max(retryAfterMs, backoff.next());
      if (platform.now() + delayMs > giveUpAt) return undefined;
      await delay(platform, delayMs, signal).done;
    }
    return undefined;
  }

  /** If it is not heard, the next session recovers again, and finds nothing new. */
  async #finish(mark: string, signal: AbortSignal): Promise<void> {
    const { api, deviceId } = this.#options;
    try {
      const body = { deviceId, mark };
      await api.call({ method: 'POST', path: 'me/recovery', body }, undefined, signal);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
    }
  }
}
