import type { Logger } from 'pino';
import type { HistoryErasure } from '../storage/history-erasure.js';

/** How much the history keeps. */
export interface RetentionLimits {
  /** Messages that were stored so long ago go, in days. 0: they stay. */
  days: number;
  /** Of each user, group and conversation the newest stay. 0: all do. */
  count: number;
}

export const DEFAULT_RETENTION: RetentionLimits = { days: 365, count: 100_000 };

const EVERY_MS = 5000;
const DAY_MS = 24 * 60 * 60 * 1000;
/** Timelines in one round, which is over soon. */
const ROUND = 50;
/** Portions of old messages in one round: 20,000 messages. */
const PORTIONS = 20;
/** More than these are not remembered; they are looked at once more. */
const MAX_KNOWN = 50_000;
/** A timeline may be so much over its limit before it is looked at again. */
const SLACK = 0.05;

/** Removes what is old, or one of too many, a little at a time. */
export class Retention {
  readonly #erasure: HistoryErasure;
  readonly #limits: RetentionLimits;
  readonly #logger: Logger;
  readonly #timer: NodeJS.Timeout;
  /** How many messages came since a timeline was looked at. */
  readonly #grown = new Map<string, number>();
  readonly #due = new Set<string>();
  #running: Promise<void> | undefined;
  #warned = false;

  constructor(erasure: HistoryErasure, limits: RetentionLimits, logger: Logger) {
    this.#erasure = erasure;
    this.#limits = limits;
    this.#logger = logger;
    this.#timer = setInterval(() => {
      this.#running ??= this.#round().finally(() => {
        this.#running = undefined;
      });
    }, EVERY_MS);
    this.#timer.unref();
  }

  /** A message was written to each of these. */
  note(timelines: string[]): void {
    const { count } = this.#limits;
    if (count === 0) return;
    if (this.#grown.size > MAX_KNOWN) this.#grown.clear();
    for (const timeline of timelines) {
      const known = this.#grown.get(timeline);
      const grown = (known ?? 0) + 1;
      // At first it is not known how many there are.
      if (known === undefined || grown > count * SLACK) {
        this.#due.add(timeline);
        this.#grown.set(timeline, 0);
      } else this.#grown.set(timeline, grown);
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  async #round(): Promise<void> {
    const { days, count } = this.#limits;
    try {
      if (days > 0) {
        const before = Date.now() - days * DAY_MS;
        for (let portion = 0; portion < PORTIONS; portion++) {
          if ((await this.#erasure.removeOld(before)) === 0) break;
        }
      }
      for (const timeline of [...this.#due].slice(0, ROUND)) {
        await this.#erasure.trim(timeline, count);
        this.#due.delete(timeline);
      }
      this.#warned = false;
    } catch (error) {
      if (!this.#warned) this.#logger.warn({ err: error }, 'the history could not be shortened');
      this.#warned = true;
    }
  }
}
