import { randomBytes } from 'node:crypto';
import { Connection, type AsyncMessage } from 'rabbitmq-client';
import { endedWithin, MAX_TIMER_MS } from '../ended-within.js';
import { WaitingRoom } from '../waiting-room.js';
import { PublishError } from './errors.js';
import { FAILED_TYPE, REPLIES, REPLY_USER_HEADER, type ReplyAddress } from './replies.js';

export interface RequesterOptions {
  amqpUrl: string;
  connectionName: string;
  onError: (error: Error) => void;
}

interface Waiting {
  userId: string;
  resolve: (reply: unknown) => void;
  reject: (error: PublishError) => void;
}

const random = (): string => randomBytes(16).toString('hex');
/** How long the broker is waited for, as by any send, in milliseconds. */
const READY_MS = 4500;
const CLOSE_MS = 2000;

/**
 * Waits for the answers to requests. They come by a queue of its own, under a key that nobody can guess:
 * whoever is asked learns it, and can answer nothing but what it was asked.
 */
export class Requester {
  readonly #connection: Connection;
  readonly #key = random();
  readonly #onReady = new WaitingRoom();
  #isReady = false;
  readonly #waiting = new Map<string, Waiting>();
  readonly #close: () => Promise<void>;

  constructor({ amqpUrl, connectionName, onError }: RequesterOptions) {
    this.#connection = new Connection({
      url: amqpUrl,
      connectionName,
      heartbeat: 10,
      frameMax: 131_072,
      retryLow: 100,
      retryHigh: 3000,
      connectionTimeout: 5000,
      noDelay: true,
    });
    this.#connection.on('error', onError);
    const account = decodeURIComponent(new URL(amqpUrl).username);
    const queue = `${REPLIES}.${account}.${this.#key}`;
    const consumer = this.#connection.createConsumer(
      {
        queue,
        queueOptions: { exclusive: true, durable: false, autoDelete: true },
        queueBindings: [{ queue, exchange: REPLIES, routingKey: this.#key }],
        noAck: true,
      },
      (message) => {
        this.#take(message);
      },
    );
    consumer.on('error', onError);
    consumer.once('ready', () => {
      this.#isReady = true;
      this.#onReady.open();
    });
    this.#close = () => consumer.close();
  }

  /**
   * @param send hands the request on, with this correlation id.
   * @throws {PublishError} `request_timeout`, `request_failed`, and what `send` throws.
   */
  async ask(
    userId: string,
    timeoutMs: number,
    send: (correlationId: string) => Promise<void>,
  ): Promise<unknown> {
    const deadline = performance.now() + timeoutMs;
    const correlationId = `${this.#key}.${random()}` satisfies ReplyAddress;
    if (!this.#isReady && !(await this.#onReady.within(Math.min(timeoutMs, READY_MS)))) {
      const why = 'The broker could not be reached in time.';
      throw new PublishError('broker_unavailable', why, correlationId);
    }
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting.set(correlationId, { userId, resolve, reject });
        const leftMs = Math.min(deadline - performance.now(), MAX_TIMER_MS);
        timer = setTimeout(() => {
          const why = `The client has not answered within ${String(timeoutMs)} ms.`;
          reject(new PublishError('request_timeout', why, correlationId));
        }, leftMs);
        send(correlationId).catch(reject);
      });
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(correlationId);
    }
  }

  async close(): Promise<void> {
    for (const [correlationId, { reject }] of this.#waiting) {
      const why = 'The publisher was closed before the answer came.';
      reject(new PublishError('publisher_closed', why, correlationId));
    }
    await endedWithin(
      this.#close().then(() => this.#connection.close()),
      CLOSE_MS,
    );
    this.#connection.unsafeDestroy();
  }

  #take({ correlationId = '', type, headers, body }: AsyncMessage): void {
    const waiting = this.#waiting.get(correlationId);
    const from = (headers as Record<string, unknown> | undefined)?.[REPLY_USER_HEADER];
    // Nobody answers for somebody else.
    if (waiting === undefined || from !== encodeURIComponent(waiting.userId)) return;
    if (type === FAILED_TYPE) {
      const why = 'The client has answered that it failed.';
      waiting.reject(new PublishError('request_failed', why, correlationId));
    } else waiting.resolve(body as unknown);
  }
}
