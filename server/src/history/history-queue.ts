import type { Duplex } from 'node:stream';
import { connect, type Channel, type ChannelModel, type ConsumeMessage } from 'amqplib';
import { HISTORY, HISTORY_ARGUMENTS, RETRY } from '@warren/rabbitmq';
import { HISTORY_KEY } from '@warren/protocol';
import { endedWithin } from '../ended-within.js';

export interface HistoryQueueOptions {
  amqpUrl: string;
  /** The direct exchange of messages to users. */
  exchange: string;
  /**
   * Takes the next messages, in order; they are acked when it resolves, and handed out again when it rejects
   * or the connection is lost. The signal aborts when it is not to be tried any longer.
   */
  onBatch: (messages: ConsumeMessage[], signal: AbortSignal) => Promise<void>;
  /** Told of lost connections; it heals by itself. */
  onError: (error: unknown) => void;
}

/** How many messages the broker sends ahead of the acks, and how many are taken at once at most. */
const PREFETCH = 1000;
const BATCH = 500;
/** Not one parameter of hundreds of megabytes. */
const BATCH_BYTES = 4 * 1024 * 1024;
const RETRY_MS = { low: 200, high: 3000 };
const TIMEOUT_MS = 5000;
const CLOSE_MS = 1000;

/**
 * Consumes the history's queue, one batch after the other. By amqplib: rabbitmq-client parses JSON, and what
 * is written again has other numbers than those of more than 53 bits; and it acks each message by itself.
 */
export class HistoryQueue {
  readonly #options: HistoryQueueOptions;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #failures = 0;

  constructor(options: HistoryQueueOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** Gives the batch under way the chance to end; what is not acked is handed out again. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      try {
        await this.#consume();
      } catch (error) {
        if (this.#isClosing()) return;
        // Once for each time that it is away.
        if (this.#failures === 0) this.#options.onError(error);
        const { low, high } = RETRY_MS;
        const delayMs = Math.min(high, low * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
        await aborted(this.#closing.signal, delayMs);
      }
    }
  }

  // A function, since the compiler takes what it has seen before an await to be still so.
  #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Until the connection ends, which it throws, or {@link close}. */
  async #consume(): Promise<void> {
    const { amqpUrl } = this.#options;
    const url = new URL(amqpUrl);
    if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', '10');
    const connection = await connect(url.toString(), {
      noDelay: true,
      timeout: TIMEOUT_MS,
      servername: url.hostname,
      clientProperties: { connection_name: 'warren history' },
    });
    const session = new Session(connection);
    const stop = (): void => {
      session.end();
    };
    this.#closing.signal.addEventListener('abort', stop, { once: true });
    if (this.#closing.signal.aborted) stop();
    try {
      const channel = await connection.createChannel();
      await this.#subscribe(channel, session);
      this.#failures = 0;
      await this.#drain(channel, session);
    } finally {
      this.#closing.signal.removeEventListener('abort', stop);
      session.end();
      await endedWithin(
        connection.close().catch(() => undefined),
        CLOSE_MS,
      );
      streamOf(connection)?.destroy();
    }
  }

  async #subscribe(channel: Channel, session: Session): Promise<void> {
    channel.on('error', (error: unknown) => {
      session.end(error);
    });
    channel.on('close', () => {
      session.end(new Error('The channel was closed.'));
    });
    await channel.assertQueue(HISTORY, { durable: true, arguments: HISTORY_ARGUMENTS });
    await channel.bindQueue(HISTORY, this.#options.exchange, HISTORY_KEY);
    await channel.bindQueue(HISTORY, RETRY, HISTORY);
    await channel.prefetch(PREFETCH);
    await channel.consume(HISTORY, (message) => {
      if (message === null) session.end(new Error('The queue was deleted.'));
      else session.push(message);
    });
  }

  async #drain(channel: Channel, session: Session): Promise<void> {
    for (;;) {
      const batch = await session.next();
      const last = batch.at(-1);
      if (last === undefined) break;
      await this.#options.onBatch(batch, session.signal);
      if (!session.isLost) channel.ack(last, true);
    }
    if (!this.#isClosing()) throw session.error;
  }
}

/** Its socket, which is not public. */
const streamOf = ({ connection }: ChannelModel): Duplex | undefined =>
  (connection as { stream?: Duplex }).stream;

/** One connection's messages. */
class Session {
  readonly #controller = new AbortController();
  readonly #waiting: ConsumeMessage[] = [];
  #wake: (() => void) | undefined;
  #isOver = false;
  isLost = false;
  error: unknown;

  constructor(connection: ChannelModel) {
    connection.on('error', (error: unknown) => {
      this.end(error);
    });
    const lost = (): void => {
      this.isLost = true;
      this.end(new Error('The connection was lost.'));
    };
    connection.on('close', lost);
    // amqplib does not tell of a socket that was destroyed.
    streamOf(connection)?.on('close', lost);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  push(message: ConsumeMessage): void {
    this.#waiting.push(message);
    this.#wake?.();
  }

  /** What is there, as soon as there is something; empty when it is over. */
  async next(): Promise<ConsumeMessage[]> {
    while (!this.#isOver && this.#waiting.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#isOver) return [];
    let bytes = 0;
    let count = 0;
    for (const { content } of this.#waiting) {
      bytes += content.length;
      if (count === BATCH || (count > 0 && bytes > BATCH_BYTES)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  end(error?: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.error = error;
    this.#controller.abort();
    this.#wake?.();
  }
}

/** Resolves when the signal aborts or after a time. */
function aborted(signal: AbortSignal, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
