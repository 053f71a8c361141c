import { TRACK_HEADER } from '@warren/protocol';
import { DEAD_LETTERS } from '@warren/rabbitmq';
import type { Channel } from 'amqplib';
import type { Logger } from 'pino';
import { Consumers } from '../broker/consumers.js';
import { toJob, type Job } from '../broker/job.js';
import type { DeadLetters } from '../dead-letters/dead-letters.js';
import { causeOf, deathOf } from '../dead-letters/letter.js';
import type { Events } from '../events/events.js';
import type { Losses } from '../history/losses.js';
import { isUnfitForDatabase } from '../storage/database-errors.js';
import type { Failure, OutcomeStore } from '../storage/outcomes.js';
import { whileThereIsMore } from '../storage/portions.js';
import type { Tracker } from './tracker.js';

export interface SettlementOptions {
  amqpUrl: string;
  tracker: Tracker;
  losses: Losses;
  deadLetters: DeadLetters;
  outcomes: OutcomeStore;
  events: Events;
  logger: Logger;
}

/** The queue of a former version. */
const FORMER_COPIES = 'warren.dead.outcomes';
const SWEEP_MS = 1000;
const AT_ONCE = 16;

/**
 * Sees to it that no outcome stays open: by the dead letters, which are quick, and by the deadlines. It takes the dead
 * letters into the database; while that is away they go back into their queue, as they came.
 */
export class Settlement {
  readonly #options: SettlementOptions;
  readonly #consumers: Consumers;
  readonly #timer: NodeJS.Timeout;
  #sweeping: Promise<void> | undefined;
  #warned = false;

  constructor(options: SettlementOptions) {
    this.#options = options;
    const { amqpUrl, logger } = options;
    this.#consumers = new Consumers({ amqpUrl, connectionName: 'warren dead letters', logger });
    this.#consumers.add({
      queue: DEAD_LETTERS,
      declare,
      prefetch: AT_ONCE,
      take: (message) => this.#take(toJob(message), message.fields.redelivered),
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
    await Promise.all([this.#sweeping, this.#consumers.close()]);
  }

  async #take(job: Job, isRedelivered: boolean): Promise<void> {
    const { headers, messageId, routingKey } = job;
    const cause = causeOf(headers, routingKey);
    if (cause === undefined) return;
    const { queue, reason } = cause;
    if (reason !== 'job') await this.#ifFit(this.#settle(messageId, { queue, reason, headers }));
    // Last: what is handed over again must not be counted twice.
    await this.#ifFit(this.#options.deadLetters.keep(job, cause, isRedelivered));
  }

  /** A publisher's odd texts, which the database will never take, hold up no other. */
  async #ifFit(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      if (!isUnfitForDatabase(error)) throw error;
      this.#options.logger.warn({ err: error }, 'a dead letter does not fit into the database');
    }
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

async function declare(channel: Channel): Promise<void> {
  await channel.assertQueue(DEAD_LETTERS, { durable: true });
  await channel.bindQueue(DEAD_LETTERS, DEAD_LETTERS, '');
  await channel.deleteQueue(FORMER_COPIES);
}
