import { setTimeout as wait } from 'node:timers/promises';
import { Connection, ConsumerStatus, type AsyncMessage, type Consumer } from 'rabbitmq-client';
import { DEAD_LETTERS, RETRY, waitOf, WAITS_MS } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import { endedWithin } from '../ended-within.js';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';
import { carriedHeaders } from './carried-headers.js';
import { boundHeaders } from './deep-headers.js';

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
   */
  handle: (job: Job) => Promise<void>;
  /** Called before a job becomes a dead letter. */
  onDead?: (job: Job, error: unknown) => Promise<void>;
}

export interface Job {
  /** Parsed, when it is JSON. */
  body: unknown;
  headers: Record<string, unknown>;
  messageId: string | undefined;
  type: string | undefined;
  routingKey: string;
  /** Of the body, in bytes; of JSON as it is written shortest. */
  size: number;
  /** The account that published it; only when it says so, which the broker checks. */
  userId: string | undefined;
  /** 1 for the first. */
  attempt: number;
}

/** A job that no further attempt would help. */
export class RefusedJob extends Error {
  override readonly name = 'RefusedJob';
}

/** A job whose time has not come. */
export class PostponedJob extends Error {
  override readonly name = 'PostponedJob';
  /** @param at when it is to come again, in milliseconds since 1970. */
  constructor(readonly at: number) {
    super('The job is to come again later.');
  }
}

/** One attempt after each of these delays. */
export const inSteps =
  (delaysMs: readonly number[]) =>
  (attempt: number): number | undefined =>
    delaysMs[attempt - 1];

/** On a job that waits: until when, in milliseconds since 1970. */
export const DUE_HEADER = 'x-warren-due';

/** On a dead letter, why it is one. */
export const REASON_HEADER = 'x-warren-reason';
const ATTEMPT_HEADER = 'x-warren-attempt';
/** What belongs to the job, and not to what it is about. */
export const BOOKKEEPING_HEADERS: readonly string[] = [DUE_HEADER, REASON_HEADER, ATTEMPT_HEADER];
/** What is due sooner waits here. */
const SHORTEST_WAIT_MS = Math.min(...WAITS_MS);
/** Before a job is given back that could not be put aside, in milliseconds. */
const REQUEUE_MS = 1000;
const CLOSE_MS = 5000;

/**
 * Durable queues of jobs that every server of a cluster takes from. A job that has to wait does so in queues
 * for one time each, from which the broker hands it back: the longest that is not too long, then a shorter
 * one, until its time has come.
 */
export class WorkQueues {
  readonly #connection: Connection;
  readonly #channel: ConfirmChannel;
  readonly #logger: Logger;
  readonly #consumers: Consumer[] = [];
  #warned = false;

  /** @param channel by which jobs are put into other queues. */
  constructor(amqpUrl: string, channel: ConfirmChannel, logger: Logger) {
    this.#channel = channel;
    this.#logger = logger;
    boundHeaders();
    this.#connection = new Connection({
      url: amqpUrl,
      connectionName: 'warren worker',
      heartbeat: 10,
      frameMax: 131_072,
      retryLow: 200,
      retryHigh: 3000,
      connectionTimeout: 5000,
      noDelay: true,
    });
    this.#connection.on('error', (error) => {
      this.#warn(error);
    });
    this.#connection.on('connection', () => {
      this.#warned = false;
    });
  }

  /** Takes jobs from a queue until {@link close}. */
  consume(options: WorkQueueOptions): void {
    const { queue, bindings, concurrency } = options;
    const consumer = this.#connection.createConsumer(
      {
        queue,
        queueOptions: { durable: true },
        queueBindings: [
          ...bindings.map((binding) => ({ queue, ...binding })),
          { queue, exchange: RETRY, routingKey: queue },
        ],
        qos: { prefetchCount: concurrency },
        concurrency,
      },
      (message) => this.#take(options, message),
    );
    consumer.on('error', (error) => {
      this.#warn(error);
    });
    this.#consumers.push(consumer);
  }

  /** Lets jobs that are under way end; the others stay in their queues. */
  async close(): Promise<void> {
    const closed = Promise.all(this.#consumers.map((consumer) => consumer.close()));
    await endedWithin(
      closed.then(() => this.#connection.close()),
      CLOSE_MS,
    );
    this.#connection.unsafeDestroy();
  }

  async #take(options: WorkQueueOptions, message: AsyncMessage): Promise<ConsumerStatus> {
    const headers = (message.headers ?? {}) as Record<string, unknown>;
    const job: Job = {
      body: parsed(message.body),
      headers,
      // One without, that has been postponed, has come back with an empty one.
      messageId: message.messageId === '' ? undefined : message.messageId,
      type: message.type,
      routingKey: message.routingKey,
      size: toBytes(message.body).length,
      userId: message.userId,
      attempt: attemptIn(headers),
    };
    try {
      await this.#run(options, message, job);
      return ConsumerStatus.ACK;
    } catch {
      // It could not be put anywhere else, so it stays, and comes again in a moment.
      await wait(REQUEUE_MS, undefined, { ref: false });
      return ConsumerStatus.REQUEUE;
    }
  }

  /** Rejected when the job could neither be done nor be put anywhere else. */
  async #run(options: WorkQueueOptions, message: AsyncMessage, job: Job): Promise<void> {
    const { queue, retryDelayMs, handle, onDead } = options;
    const dueAt = Number(job.headers[DUE_HEADER] ?? 0);
    const waitMs = dueAt - Date.now();
    if (waitMs >= SHORTEST_WAIT_MS) return this.#postpone(queue, message, dueAt);
    if (waitMs > 0) await wait(waitMs);
    try {
      await handle(job);
    } catch (error) {
      if (error instanceof PostponedJob) return this.#postpone(queue, message, error.at);
      const { attempt } = job;
      const delayMs = error instanceof RefusedJob ? undefined : retryDelayMs(attempt);
      if (delayMs !== undefined) {
        const more = { [ATTEMPT_HEADER]: String(attempt + 1) };
        return this.#postpone(queue, message, Date.now() + delayMs, more);
      }
      const reason = error instanceof Error ? error.message : 'unknown';
      this.#logger.warn({ queue, attempt, reason }, 'a job ended as a dead letter');
      await onDead?.(job, error);
      await this.#publish(DEAD_LETTERS, queue, message, { [REASON_HEADER]: reason });
    }
  }

  async #postpone(
    queue: string,
    message: AsyncMessage,
    dueAt: number,
    more: Record<string, string> = {},
  ): Promise<void> {
    try {
      await this.#publish(waitFor(dueAt) ?? waitOf(SHORTEST_WAIT_MS), queue, message, {
        ...more,
        [DUE_HEADER]: String(dueAt),
      });
    } catch (error) {
      // Somebody may have deleted what it was to wait in.
      await this.#declareWaits();
      throw error;
    }
  }

  async #declareWaits(): Promise<void> {
    const channel = await this.#connection.acquire();
    try {
      for (const waitMs of WAITS_MS) {
        const name = waitOf(waitMs);
        await channel.exchangeDeclare({ exchange: name, type: 'fanout', durable: true });
        await channel.queueDeclare({
          queue: name,
          durable: true,
          arguments: { 'x-message-ttl': waitMs, 'x-dead-letter-exchange': RETRY },
        });
        await channel.queueBind({ queue: name, exchange: name });
      }
    } finally {
      await channel.close();
    }
  }

  async #publish(
    exchange: string,
    routingKey: string,
    message: AsyncMessage,
    more: Record<string, string>,
  ): Promise<void> {
    const { messageId = '', type = '', contentType = 'application/octet-stream' } = message;
    const routing = await this.#channel.publish(
      {
        exchange,
        routingKey,
        messageId,
        type,
        contentType,
        durable: true,
        mandatory: true,
        headers: { ...carriedHeaders(message.headers ?? {}), ...more },
      },
      toBytes(message.body),
    );
    // Confirmed, and nobody has it: the queue is not there yet.
    if (routing === 'unroutable') throw new Error(`There is no queue behind ${exchange}.`);
  }

  #warn(error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    this.#logger.warn({ err: error }, 'the connection that takes jobs had an error');
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

/** Back ends write headers, too: what is no number would be tried again for ever. */
function attemptIn(headers: Record<string, unknown>): number {
  const attempt = Number(headers[ATTEMPT_HEADER] ?? 1);
  return Number.isSafeInteger(attempt) && attempt >= 1 ? attempt : 1;
}

const toBytes = (body: unknown): Buffer =>
  Buffer.isBuffer(body)
    ? body
    : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body), 'utf8');

/** rabbitmq-client parses what says that it is JSON, and leaves the rest as bytes. */
function parsed(body: unknown): unknown {
  if (!Buffer.isBuffer(body) && typeof body !== 'string') return body;
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}
