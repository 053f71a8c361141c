import type { Duplex } from 'node:stream';
import { connect, type Channel, type ChannelModel, type ConsumeMessage } from 'amqplib';
import { endedWithin } from '../ended-within.js';

export interface BatchConsumerOptions {
  amqpUrl: string;
  /** What the connection is called on the broker. */
  connectionName: string;
  queue: string;
  /** Makes the queue and its bindings, on each new connection. */
  declare: (channel: Channel, connection: ChannelModel) => Promise<void>;
  /** How long a batch waits for more after its first message, in milliseconds. Default 0. */
  gatherMs?: number;
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
const RETRY_MS = { low: 200, high: 3000, refused: 60_000 };
const TIMEOUT_MS = 5000;
const CLOSE_MS = 1000;

/**
 * Consumes a queue in order, one batch after the other, each acked as a whole. By amqplib: rabbitmq-client
 * parses JSON, and what is written again has other numbers than those of more than 53 bits; and it acks each
 * message by itself.
 */
export class BatchConsumer {
  readonly #options: BatchConsumerOptions;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #failures = 0;

  constructor(options: BatchConsumerOptions) {
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
        await aborted(this.#closing.signal, this.#delayAfter(error));
      }
    }
  }

  #delayAfter(error: unknown): number {
    const { low, high, refused } = RETRY_MS;
    const delayMs = Math.min(high, low * 2 ** this.#failures++);
    // Only an operator can change that, and the broker writes each attempt into its log.
    return (isRefusal(error) ? refused : delayMs) * (0.5 + Math.random() / 2);
  }

  // A function, since the compiler takes what it has seen before an await to be still so.
  #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Until the connection ends, which it throws, or {@link close}. */
  async #consume(): Promise<void> {
    const { amqpUrl, connectionName } = this.#options;
    const url = new URL(amqpUrl);
    if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', '10');
    const connection = await connect(url.toString(), {
      noDelay: true,
      timeout: TIMEOUT_MS,
      servername: url.hostname,
      clientProperties: { connection_name: connectionName },
    });
    const session = new Session(connection);
    const stop = (): void => {
      session.end();
    };
    this.#closing.signal.addEventListener('abort', stop, { once: true });
    if (this.#closing.signal.aborted) stop();
    try {
      // What is asked of a connection that is lost, or that is to end, may never be answered.
      const channel = await Promise.race([
        this.#subscribe(connection, session),
        aborted(session.signal),
      ]);
      if (channel === undefined) throw session.error;
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

  async #subscribe(connection: ChannelModel, session: Session): Promise<Channel> {
    const channel = await connection.createChannel();
    channel.on('error', (error: unknown) => {
      session.end(error);
    });
    channel.on('close', () => {
      session.end(new Error('The channel was closed.'));
    });
    const { queue, declare } = this.#options;
    await declare(channel, connection);
    await channel.prefetch(PREFETCH);
    await channel.consume(queue, (message) => {
      if (message === null) session.end(new Error('The queue was deleted.'));
      else session.push(message);
    });
    return channel;
  }

  async #drain(channel: Channel, session: Session): Promise<void> {
    for (;;) {
      const batch = await session.next(this.#options.gatherMs ?? 0);
      const last = batch.at(-1);
      if (last === undefined) break;
      await this.#options.onBatch(batch, session.signal);
      if (!session.isLost) channel.ack(last, true);
    }
    if (!this.#isClosing()) throw session.error;
  }
}

/** Whether the broker said that the account may not do it. */
export const isRefusal = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 403;

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
  async next(gatherMs: number): Promise<ConsumeMessage[]> {
    while (!this.#isOver && this.#waiting.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      if (gatherMs > 0) await aborted(this.signal, gatherMs);
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

/** Resolves when the signal aborts, or after a time. */
function aborted(signal: AbortSignal, ms?: number): Promise<undefined> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve(undefined);
    };
    const timer = ms === undefined ? undefined : setTimeout(done, ms);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
