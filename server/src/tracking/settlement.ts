import { TRACK_HEADER } from '@warren/protocol';
import { DEAD_LETTERS } from '@warren/rabbitmq';
import type { Channel, Message } from 'amqplib';
import type { Logger } from 'pino';
import { BatchConsumer } from '../broker/batch-consumer.js';
import { toJob } from '../broker/job.js';
import type { DeadLetters, GivenUp } from '../dead-letters/dead-letters.js';
import { causeOf, deathOf } from '../dead-letters/letter.js';
import type { Events } from '../events/events.js';
import type { Losses } from '../history/losses.js';
import { isUnfitForDatabase } from '../storage/database-errors.js';
import { DatabaseRetry } from '../storage/database-retry.js';
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

/**
 * Sees to it that no outcome stays open: by the dead letters, which are quick, and by the deadlines. It takes the dead
 * letters into the database; while that is away they wait, unacked.
 */
export class Settlement {
  readonly #options: SettlementOptions;
  readonly #queue: BatchConsumer;
  readonly #retry: DatabaseRetry;
  readonly #timer: NodeJS.Timeout;
  #sweeping: Promise<void> | undefined;
  #warned = false;

  constructor(options: SettlementOptions) {
    this.#options = options;
    const { amqpUrl, logger } = options;
    const failing = 'dead letters cannot be kept; they wait on the broker until they can';
    const recovered = 'dead letters are kept again';
    this.#retry = new DatabaseRetry({ logger, texts: { failing, recovered } });
    this.#queue = new BatchConsumer({
      amqpUrl,
      connectionName: 'warren dead letters',
      queue: DEAD_LETTERS,
      declare,
      logger,
      onBatch: (messages, signal) =>
        this.#take(
          messages.flatMap((message) => readLetter(message) ?? []),
          signal,
        ),
      onError: (error) => {
        logger.warn({ err: error }, 'the connection that takes dead letters had an error');
      },
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
    await Promise.all([this.#sweeping, this.#queue.close()]);
  }

  async #take(letters: GivenUp[], signal: AbortSignal): Promise<void> {
    const { deadLetters, logger } = this.#options;
    // Kept last: what is handed over again must not be counted twice.
    for (const work of [() => this.#settle(letters), () => deadLetters.keep(letters)]) {
      try {
        await this.#retry.run(work, signal);
      } catch (error) {
        if (!isUnfitForDatabase(error)) throw error;
        if (letters.length > 1) {
          // A publisher's odd texts, which the database will never take, hold up no other.
          for (const letter of letters) await this.#take([letter], signal);
          return;
        }
        logger.warn({ err: error }, 'a dead letter does not fit into the database');
      }
    }
  }

  async #settle(letters: GivenUp[]): Promise<void> {
    const lost = letters.flatMap(({ job, cause: { queue, reason } }) => {
      if (reason === 'job') return [];
      const { messageId, headers } = job;
      const hadTtl = deathOf(headers)?.['original-expiration'] !== undefined;
      return [{ messageId, queue, reason, hadTtl, headers }];
    });
    await this.#options.losses.note(lost);
    const tracked = new Map<string, { queue: string; reason: Failure; ids: string[] }>();
    for (const { messageId, queue, reason, headers } of lost) {
      if (headers[TRACK_HEADER] === undefined || messageId === undefined) continue;
      const key = `${reason} ${queue}`;
      const known = tracked.get(key) ?? { queue, reason, ids: [] };
      known.ids.push(messageId);
      tracked.set(key, known);
    }
    for (const { ids, queue, reason } of tracked.values()) {
      await this.#options.tracker.copiesFailed(ids, queue, reason);
    }
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

function readLetter(message: Message): GivenUp | undefined {
  const job = toJob(message);
  const cause = causeOf(job.headers, job.routingKey);
  return cause && { job, cause, isRedelivered: message.fields.redelivered };
}

async function declare(channel: Channel): Promise<void> {
  await channel.assertQueue(DEAD_LETTERS, { durable: true });
  await channel.bindQueue(DEAD_LETTERS, DEAD_LETTERS, '');
  await channel.deleteQueue(FORMER_COPIES);
}
