import { setTimeout as wait } from 'node:timers/promises';
import { DEAD_LETTERS, RETRY, waitOf, WAITS_MS } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';
import { Consumers } from './consumers.js';
import { headersOfDead, headersOfNext, PostponedJob, RefusedJob, toJob, type Job } from './job.js';

export interface WorkQueueOptions {
  /** Durable, and made when it is not there. */
  queue: string;
  bindings: { exchange: string; routingKey: string }[];
  /** How many jobs are under way at once, in each process. */
  concurrency: number;
  /**
   * How long a job waits whose attempt has failed, the first being 1, in milliseconds; undefined: no attempt
   * is left. {@link inSteps} makes one of a list.
   */
  retryDelayMs: (attempt: number) => number | undefined;
  /**
   * Done when it resolves. A {@link PostponedJob} comes again when it says; a {@link RefusedJob} goes to the
   * dead letters at once; after any other error it is tried again, and goes there when no attempt is left.
   * @param signal aborts when what has not begun is not to: thrown, its reason leaves the job in the queue.
   */
  handle: (job: Job, signal: AbortSignal) => Promise<void>;
  /** Called before a job becomes a dead letter. */
  onDead?: (job: Job, error: unknown) => Promise<void>;
  /** Called when a message is gone that the broker could hand out to nobody. */
  onUnreadable?: () => Promise<void>;
}

/** One attempt after each of these delays. */
export const inSteps =
  (delaysMs: readonly number[]) =>
  (attempt: number): number | undefined =>
    delaysMs[attempt - 1];

/** What is due sooner waits here. */
const SHORTEST_WAIT_MS = Math.min(...WAITS_MS);

/**
 * Durable queues of jobs that every server of a cluster takes from. A job that has to wait does so in queues
 * for one time each, from which the broker hands it back: the longest that is not too long, then a shorter
 * one, until its time has come.
 */
export class WorkQueues {
  readonly #amqpUrl: string;
  /** A connection for each queue: a message that ends one is to stop no other. */
  readonly #consumers: Consumers[] = [];
  readonly #channel: ConfirmChannel;
  readonly #logger: Logger;

  /** @param channel by which jobs are put into other queues. */
  constructor(amqpUrl: string, channel: ConfirmChannel, logger: Logger) {
    this.#channel = channel;
    this.#logger = logger;
    this.#amqpUrl = amqpUrl;
  }

  /** Takes jobs from a queue until {@link close}. */
  consume(options: WorkQueueOptions): void {
    const { queue, bindings, concurrency, onUnreadable } = options;
    const [amqpUrl, logger] = [this.#amqpUrl, this.#logger];
    const consumers = new Consumers({ amqpUrl, connectionName: `warren worker ${queue}`, logger });
    this.#consumers.push(consumers);
    consumers.add({
      queue,
      declare: async (channel) => {
        await channel.assertQueue(queue, { durable: true });
        const all = [...bindings, { exchange: RETRY, routingKey: queue }];
        for (const { exchange, routingKey } of all) {
          await channel.bindQueue(queue, exchange, routingKey);
        }
      },
      prefetch: concurrency,
      take: (message, signal) => this.#run(options, toJob(message), signal),
      ...(onUnreadable !== undefined && { onUnreadable }),
    });
  }

  /** Lets jobs that are under way end; the others stay in their queues. */
  async close(): Promise<void> {
    await Promise.all(this.#consumers.map((consumers) => consumers.close()));
  }

  /** Rejected when the job could neither be done nor be put anywhere else. */
  async #run(options: WorkQueueOptions, job: Job, signal: AbortSignal): Promise<void> {
    const { queue, retryDelayMs, handle, onDead } = options;
    const { attempt, dueAt } = job;
    const waitMs = dueAt - Date.now();
    if (waitMs >= SHORTEST_WAIT_MS) return this.#postpone(queue, job, dueAt, attempt);
    if (waitMs > 0) await wait(waitMs);
    try {
      await handle(job, signal);
    } catch (error) {
      if (signal.aborted && error === signal.reason) throw error;
      if (error instanceof PostponedJob) return this.#postpone(queue, job, error.at, attempt);
      const delayMs = error instanceof RefusedJob ? undefined : retryDelayMs(attempt);
      if (delayMs !== undefined) {
        return this.#postpone(queue, job, Date.now() + delayMs, attempt + 1);
      }
      const reason = error instanceof Error ? error.message : 'unknown';
      this.#logger.warn({ queue, attempt, reason }, 'a job ended as a dead letter');
      await onDead?.(job, error);
      await this.#publish(DEAD_LETTERS, queue, job, headersOfDead(job.headers, reason));
    }
  }

  async #postpone(queue: string, job: Job, dueAt: number, attempt: number): Promise<void> {
    const exchange = waitFor(dueAt) ?? waitOf(SHORTEST_WAIT_MS);
    try {
      await this.#publish(exchange, queue, job, headersOfNext(job, dueAt, attempt));
    } catch (error) {
      // Somebody may have deleted what it was to wait in.
      await this.#declareWaits();
      throw error;
    }
  }

  async #declareWaits(): Promise<void> {
    await this.#consumers[0]?.withChannel(async (channel) => {
      for (const waitMs of WAITS_MS) {
        const name = waitOf(waitMs);
        await channel.assertExchange(name, 'fanout', { durable: true });
        const args = { 'x-message-ttl': waitMs, 'x-dead-letter-exchange': RETRY };
        await channel.assertQueue(name, { durable: true, arguments: args });
        await channel.bindQueue(name, name, '');
      }
    });
  }

  async #publish(
    exchange: string,
    routingKey: string,
    { content, messageId = '', type = '', contentType = 'application/octet-stream' }: Job,
    headers: Record<string, unknown>,
  ): Promise<void> {
    const properties = {
      messageId,
      type,
      contentType,
      headers,
      durable: true,
      mandatory: true,
    } as const;
    const routing = await this.#channel.publish({ exchange, routingKey, ...properties }, content);
    // Confirmed, and nobody has it: the queue is not there yet.
    if (routing === 'unroutable') throw new Error(`There is no queue behind ${exchange}.`);
  }
}

/**
 * The exchange by which a job waits until then, or for as long a part of it as there is a queue for; undefined
 * when its time has come.
 */
export function waitFor(dueAt: number): string | undefined {
  const waitMs = WAITS_MS.filter((rung) => rung <= dueAt - Date.now()).at(-1);
  return waitMs === undefined ? undefined : waitOf(waitMs);
}
