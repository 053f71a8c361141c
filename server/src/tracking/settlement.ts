import { TRACK_HEADER } from '@warren/protocol';
import { DEAD_LETTERS, WAIT_PREFIX } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import { inSteps, type Job, type WorkQueues } from '../broker/work-queues.js';
import type { Events } from '../events/events.js';
import type { Losses } from '../history/losses.js';
import type { Failure, OutcomeStore } from '../storage/outcomes.js';
import type { Tracker } from './tracker.js';

export interface SettlementOptions {
  tracker: Tracker;
  losses: Losses;
  outcomes: OutcomeStore;
  workQueues: WorkQueues;
  events: Events;
  logger: Logger;
}

/** A copy of each dead letter, beside the one that is kept for an operator to look at. */
const QUEUE = 'warren.dead.outcomes';
const SWEEP_MS = 1000;
const SWEEP_SIZE = 500;
const AT_ONCE = 16;
const RETRIES_MS = [1000, 10_000, 60_000];

/** An entry of the header `x-death`. */
interface Death {
  queue?: string;
  reason?: string;
  'original-expiration'?: string;
}

/** RabbitMQ's reasons for a dead letter. */
const REASONS: Record<string, Failure> = {
  expired: 'expired',
  maxlen: 'overflowed',
  rejected: 'rejected',
  delivery_limit: 'rejected',
};

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
      retryDelayMs: inSteps(RETRIES_MS),
      handle: (job) => this.#take(job),
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

  async #take({ headers, messageId }: Job): Promise<void> {
    const deaths = (headers['x-death'] ?? []) as Death[];
    // A job that was tried again has died in the queues where it waited, too.
    const death = deaths.find(({ queue = '' }) => !queue.startsWith(WAIT_PREFIX));
    const reason = REASONS[death?.reason ?? ''];
    if (death?.queue === undefined || reason === undefined) return;
    const { queue } = death;
    const hadTtl = death['original-expiration'] !== undefined;
    await this.#options.losses.note({ queue, reason, hadTtl, headers });
    if (headers[TRACK_HEADER] === undefined || messageId === undefined) return;
    await this.#options.tracker.copyFailed(messageId, queue, reason);
  }

  async #sweep(): Promise<void> {
    const { outcomes, events, logger } = this.#options;
    try {
      while ((await outcomes.expire(Date.now(), SWEEP_SIZE)) > 0) events.poke();
      this.#warned = false;
    } catch (error) {
      if (!this.#warned) logger.warn({ err: error }, 'outcomes could not be settled');
      this.#warned = true;
    }
  }
}
