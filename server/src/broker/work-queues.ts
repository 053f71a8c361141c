import { setTimeout as wait } from 'node:timers/promises';
import { Connection, ConsumerStatus, type AsyncMessage, type Consumer } from 'rabbitmq-client';
import { DEAD_LETTERS, RETRY } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import { endedWithin } from '../ended-within.js';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';

export interface WorkQueueOptions {
  /** Durable, and made when it is not there. */
  queue: string;
  bindings: { exchange: string; routingKey: string }[];
  /** How many jobs are under way at once, in each process. */
  concurrency: number;
  /** How long a job that failed waits before each further attempt, in milliseconds. */
  retryDelaysMs: number[];
  /**
   * Done when it resolves. A {@link RefusedJob} goes to the dead letters at once; after any other error it
   * is tried again, and goes there when no attempt is left.
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
  /** The account that published it; only when it says so, which the broker checks. */
  userId: string | undefined;
  /** 1 for the first. */
  attempt: number;
}

/** A job that no further attempt would help. */
export class RefusedJob extends Error {
  override readonly name = 'RefusedJob';
}

/** On a dead letter, why it is one. */
const REASON_HEADER = 'x-warren-reason';
const ATTEMPT_HEADER = 'x-warren-attempt';
/** Before a job is given back that could not be put aside, in milliseconds. */
const REQUEUE_MS = 1000;
const CLOSE_MS = 5000;

/**
 * Durable queues of jobs that every server of a cluster takes from. A job that failed waits in a queue
 * of its own for each delay, from which the broker hands it back: so none waits behind another that has
 * to wait longer.
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
    const { queue, bindings, concurrency, retryDelaysMs } = options;
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
    // Each time: the broker may be another one than before.
    consumer.on('ready', () => {
      this.#declareRetries(queue, retryDelaysMs).catch((error: unknown) => {
        this.#warn(error);
      });
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

  async #declareRetries(queue: string, delaysMs: number[]): Promise<void> {
    const channel = await this.#connection.acquire();
    try {
      for (const delayMs of new Set(delaysMs)) {
        const name = retryQueue(queue, delayMs);
        await channel.queueDeclare({
          queue: name,
          durable: true,
          arguments: {
            'x-message-ttl': delayMs,
            'x-dead-letter-exchange': RETRY,
            'x-dead-letter-routing-key': queue,
          },
        });
        await channel.queueBind({ queue: name, exchange: RETRY, routingKey: name });
      }
    } finally {
      await channel.close();
    }
  }

  async #take(options: WorkQueueOptions, message: AsyncMessage): Promise<ConsumerStatus> {
    const { queue, retryDelaysMs, handle, onDead } = options;
    const headers = (message.headers ?? {}) as Record<string, unknown>;
    const attempt = Number(headers[ATTEMPT_HEADER] ?? 1);
    const job: Job = {
      body: parsed(message.body),
      headers,
      messageId: message.messageId,
      userId: message.userId,
      attempt,
    };
    try {
      await handle(job);
      return ConsumerStatus.ACK;
    } catch (error) {
      const refused = error instanceof RefusedJob;
      const delayMs = refused ? undefined : retryDelaysMs[attempt - 1];
      try {
        if (delayMs === undefined) {
          const reason = error instanceof Error ? error.message : 'unknown';
          this.#logger.warn({ queue, attempt, reason }, 'a job ended as a dead letter');
          await onDead?.(job, error);
          await this.#publish(DEAD_LETTERS, queue, message, { [REASON_HEADER]: reason });
        } else {
          const more = { [ATTEMPT_HEADER]: String(attempt + 1) };
          await this.#publish(RETRY, retryQueue(queue, delayMs), message, more);
        }
        return ConsumerStatus.ACK;
      } catch {
        // It could not be put anywhere else, so it stays, and comes again in a moment.
        await wait(REQUEUE_MS, undefined, { ref: false });
        return ConsumerStatus.REQUEUE;
      }
    }
  }

  async #publish(
    exchange: string,
    routingKey: string,
    message: AsyncMessage,
    more: Record<string, string>,
  ): Promise<void> {
    const { messageId = '', type = '', contentType = 'application/octet-stream' } = message;
    const body: unknown = message.body;
    const isText = typeof body === 'string' || Buffer.isBuffer(body);
    const routing = await this.#channel.publish(
      {
        exchange,
        routingKey,
        messageId,
        type,
        contentType,
        durable: true,
        mandatory: true,
        headers: { ...(message.headers as Record<string, unknown>), ...more },
      },
      isText ? Buffer.from(body) : Buffer.from(JSON.stringify(body), 'utf8'),
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

const retryQueue = (queue: string, delayMs: number): string =>
  `${queue}.retry.${String(delayMs)}ms`;

/** rabbitmq-client parses what says that it is JSON, and leaves the rest as bytes. */
function parsed(body: unknown): unknown {
  if (!Buffer.isBuffer(body) && typeof body !== 'string') return body;
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}
