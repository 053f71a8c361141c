import { TRACK_HEADER } from '@warren/protocol';
import { DEAD_LETTERS } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import type { Job } from '../broker/job.js';
import type { WorkQueues } from '../broker/work-queues.js';
import type { DeadLetters } from '../dead-letters/dead-letters.js';
import { causeOf, deathOf } from '../dead-letters/letter.js';
import type { Events } from '../events/events.js';
import type { Losses } from '../history/losses.js';
import { isUnfitForDatabase } from '../storage/database-errors.js';
import type { Failure, OutcomeStore } from '../storage/outcomes.js';
import { whileThereIsMore } from '../storage/portions.js';
import type { Tracker } from './tracker.js';

export interface SettlementOptions {
  tracker: Tracker;
  losses: Losses;
  deadLetters: DeadLetters;
  outcomes: OutcomeStore;
  workQueues: WorkQueues;
  events: Events;
  logger: Logger;
}

/** A copy of each dead letter, beside the one that is kept for an operator to look at. */
const QUEUE = 'warren.dead.outcomes';
const SWEEP_MS = 1000;
const AT_ONCE = 16;
/** While the database is away; whoever sent the message waits to be told, however long that takes. */
const RETRY_MS = { low: 1000, high: 60_000 };

/** Sees to it that no outcome stays open: by the dead letters, which are quick, and by the deadlines. */
export class Settlement {
  readonly #options: SettlementOptions;
  readonly #timer: NodeJS.Timeout;
  #sweeping: Promise<void> | undefined;
  #warned = false;

  constructor(options: SettlementOptions) {
    this.#options = options;
    options.workQueues.consume({
      queue: QUEUE,
      bindings: [{ exchange: DEAD_LETTERS, routingKey: '' }],
      concurrency: AT_ONCE,
      retryDelayMs: (attempt) => Math.min(RETRY_MS.high, RETRY_MS.low * 4 ** (attempt - 1)),
      handle: (job) => this.#takeIfFit(job),
    });
    this.#timer = setInterval(() => {
      this.#sweeping ??= this.#sweep().finally(() => {
        this.#sweeping = undefined;
      });
    }, SWEEP_MS);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sweeping;
  }

  /** What the database will never take, a publisher's odd texts, has no outcome there. */
  async #takeIfFit(job: Job): Promise<void> {
    try {
      await this.#take(job);
    } catch (error) {
      if (!isUnfitForDatabase(error)) throw error;
      this.#options.logger.warn({ err: error }, 'a dead letter does not fit into the database');
    }
  }

  async #take(job: Job): Promise<void> {
    const { headers, messageId, routingKey } = job;
    const cause = causeOf(headers, routingKey);
    if (cause === undefined) return;
    const { queue, reason } = cause;
    if (reason !== 'job') await this.#settle(messageId, { queue, reason, headers });
    // Last: a job that is done again must not be counted twice.
    await this.#options.deadLetters.note(job, cause);
  }

  async #settle(
    messageId: string | undefined,
    { queue, reason, headers }: { queue: string; reason: Failure; headers: Job['headers'] },
  ): Promise<void> {
    const hadTtl = deathOf(headers)?.['original-expiration'] !== undefined;
    await this.#options.losses.note({ queue, reason, hadTtl, headers });
    if (headers[TRACK_HEADER] === undefined || messageId === undefined) return;
    await this.#options.tracker.copyFailed(messageId, queue, reason);
  }

  async #sweep(): Promise<void> {
    const { outcomes, events, logger } = this.#options;
    try {
      await whileThereIsMore(async () => {
        const count = await outcomes.expire(Date.now());
        if (count > 0) events.poke();
        return count > 0;
      });
      this.#warned = false;
    } catch (error) {
      if (!this.#warned) logger.warn({ err: error }, 'outcomes could not be settled');
      this.#warned = true;
    }
  }
}
