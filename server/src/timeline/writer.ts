import type { Logger } from 'pino';
import { isUnfitForDatabase } from '../storage/database-errors.js';
import type { Happening, TimelineStore } from '../storage/timeline.js';
import { Budget } from './budget.js';

/**
 * Of what back ends and clients can make happen as often as they like: messages to users who have no mailbox,
 * live ones to users who are away, rejections, connections. Five devices that come and go every ten seconds are
 * written down; so are all that come back after the broker was away.
 */
const BUDGETS = {
  unprovisioned: { perSecond: 100, perMinute: 30 },
  offline: { perSecond: 20, perMinute: 10 },
  handler_failed: { perSecond: 100, perMinute: 30 },
  connections: { perMinute: 60 },
  sessions: { perMinute: 60 },
} as const;

export type Flood = keyof typeof BUDGETS;

const MINUTE_MS = 60_000;
/** Happenings of one moment are written together. */
const GATHER_MS = 200;
/** While the database is away; the oldest are forgotten. */
const MAX_KEPT = 20_000;

/** Writes down what happens to users, behind the back of whoever does it: nobody waits, and nobody fails. */
export class TimelineWriter {
  readonly #store: TimelineStore;
  readonly #logger: Logger;
  readonly #budgets = Object.fromEntries(
    Object.entries(BUDGETS).map(([name, limits]) => [name, new Budget(limits)]),
  ) as Record<Flood, Budget>;
  #kept: Happening[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #warned = false;

  constructor(store: TimelineStore, logger: Logger) {
    this.#store = store;
    this.#logger = logger;
  }

  /** As {@link note}, but not more often than a reader could make use of; that there was more is noted once. */
  noteSome(flood: Flood, ...happenings: Happening[]): void {
    const now = Date.now();
    for (const happening of happenings) {
      const { userId, at } = happening;
      const answer = this.#budgets[flood].take(userId, now);
      if (answer === 'allowed') this.note(happening);
      if (answer !== 'full') continue;
      // Every server leaves out about the same.
      const occasion = `omitted:${flood}:${String(Math.floor(now / MINUTE_MS))}:${userId}`;
      this.note({ userId, at, kind: 'omitted', reason: flood, occasion });
    }
  }

  note(...happenings: Happening[]): void {
    for (const happening of happenings) this.#kept.push(happening);
    if (this.#kept.length > MAX_KEPT) this.#kept.splice(0, this.#kept.length - MAX_KEPT);
    this.#schedule();
  }

  /** When it resolves, what was noted before is written, unless the database is away. */
  async flush(): Promise<void> {
    await this.#writing;
    await this.#write();
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.flush();
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#kept.length === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined;
        this.#schedule();
      });
    }, GATHER_MS);
    this.#timer.unref();
  }

  async #write(): Promise<void> {
    const batch = this.#kept;
    this.#kept = [];
    if (batch.length === 0) return;
    try {
      await this.#add(batch);
      this.#warned = false;
    } catch (error) {
      this.#kept = [...batch, ...this.#kept].slice(-MAX_KEPT);
      if (!this.#warned) this.#logger.warn({ err: error }, 'timelines could not be written');
      this.#warned = true;
    }
  }

  /** What the database cannot hold is left out, and holds up nobody else's. */
  async #add(batch: Happening[]): Promise<void> {
    try {
      await this.#store.add(batch);
    } catch (error) {
      if (!isUnfitForDatabase(error)) throw error;
      if (batch.length === 1) {
        this.#logger.warn({ err: error }, 'an entry of a timeline does not fit into the database');
        return;
      }
      const middle = Math.ceil(batch.length / 2);
      await this.#add(batch.slice(0, middle));
      await this.#add(batch.slice(middle));
    }
  }
}
