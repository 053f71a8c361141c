import { setMaxListeners } from 'node:events';
import type { Duplex } from 'node:stream';
import { connect, type ChannelModel } from 'amqplib';
import { keepUnreadable } from '@warren/protocol/amqp';
import { endedWithin } from '../ended-within.js';
import { hasBrokerFailed } from './unreadable.js';

export interface LastingConnectionOptions {
  amqpUrl: string;
  /** What the connection is called on the broker. */
  connectionName: string;
  /**
   * Makes use of one connection until its signal aborts, and then ends what is under way. What it throws ends the
   * connection; there is a new one then.
   */
  use: (live: LiveConnection) => Promise<void>;
  /** Called when the broker has failed at what was done on one, before there is a new one; it may not reject. */
  heal?: (signal: AbortSignal) => Promise<void>;
  /** Told of lost connections, once for each time that the broker is away; it heals by itself. */
  onError: (error: unknown) => void;
}

const RETRY_MS = { low: 200, high: 3000, refused: 60_000 };
const TIMEOUT_MS = 5000;
const CLOSE_MS = 1000;

/**
 * A connection that is made again whenever it is lost, by amqplib: it leaves bodies as they came. rabbitmq-client
 * parses JSON, and what is written again has other numbers than those of more than 53 bits, or cannot be written
 * again at all.
 */
export class LastingConnection {
  readonly #options: LastingConnectionOptions;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #failures = 0;

  constructor(options: LastingConnectionOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** Gives what is under way the chance to end. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isClosing()) {
      try {
        await this.#connect();
      } catch (error) {
        if (this.#isClosing()) return;
        if (this.#failures === 0) this.#options.onError(error);
        if (hasBrokerFailed(error)) await this.#options.heal?.(this.#closing.signal);
        await aborted(this.#closing.signal, delayAfter(this.#failures++, error));
      }
    }
  }

  // A function, since the compiler takes what it has seen before an await to be still so.
  #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Until the connection ends, which it throws, or {@link close}. */
  async #connect(): Promise<void> {
    const { amqpUrl, connectionName, use } = this.#options;
    const url = new URL(amqpUrl);
    if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', '10');
    const connection = await connect(url.toString(), {
      noDelay: true,
      timeout: TIMEOUT_MS,
      servername: url.hostname,
      clientProperties: { connection_name: connectionName },
    });
    keepUnreadable(connection);
    const live = new LiveConnection(connection, () => {
      this.#failures = 0;
    });
    const stop = (): void => {
      live.end();
    };
    this.#closing.signal.addEventListener('abort', stop, { once: true });
    if (this.#isClosing()) stop();
    try {
      await use(live);
      if (!this.#isClosing()) throw live.error;
    } finally {
      this.#closing.signal.removeEventListener('abort', stop);
      live.end();
      await endedWithin(
        connection.close().catch(() => undefined),
        CLOSE_MS,
      );
      streamOf(connection)?.destroy();
    }
  }
}

/** One connection of a {@link LastingConnection}. */
export class LiveConnection {
  readonly connection: ChannelModel;
  readonly #onUsed: () => void;
  readonly #controller = new AbortController();
  /** Nothing can be acked any more. */
  isLost = false;
  /** Why it has ended; undefined when it was to. */
  error: unknown;

  constructor(connection: ChannelModel, onUsed: () => void) {
    this.connection = connection;
    this.#onUsed = onUsed;
    // Each queue that is consumed waits for it.
    setMaxListeners(0, this.signal);
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

  /** Aborts when the connection is lost, or is to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  isOver(): boolean {
    return this.signal.aborted;
  }

  /** It is of use: should it be lost, there is a new one at once. */
  noteUse(): void {
    this.#onUsed();
  }

  /** What is asked of a connection that is lost may never be answered. @throws what has ended it */
  async race<Result>(work: Promise<Result>): Promise<Result> {
    const { signal } = this;
    let giveUp: () => void = () => undefined;
    const over = new Promise<never>((_, reject) => {
      giveUp = () => {
        const { error } = this;
        reject(error instanceof Error ? error : new Error('The connection is closing.'));
      };
      signal.addEventListener('abort', giveUp);
      if (signal.aborted) giveUp();
    });
    try {
      return await Promise.race([work, over]);
    } finally {
      signal.removeEventListener('abort', giveUp);
      work.catch(() => undefined);
    }
  }

  end(error?: unknown): void {
    if (this.signal.aborted) return;
    this.error = error;
    this.#controller.abort();
  }
}

/** With a random part, in milliseconds. */
export function delayAfter(failures: number, error: unknown): number {
  const { low, high, refused } = RETRY_MS;
  // Only an operator can change that, and the broker writes each attempt into its log.
  const delayMs = isRefusal(error) ? refused : Math.min(high, low * 2 ** failures);
  return delayMs * (0.5 + Math.random() / 2);
}

/** Whether the broker said that the account may not do it. */
export const isRefusal = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 403;

/** Its socket, which is not public. */
const streamOf = ({ connection }: ChannelModel): Duplex | undefined =>
  (connection as { stream?: Duplex }).stream;

/** Resolves when the signal aborts, or after a time. */
export function aborted(signal: AbortSignal, ms?: number): Promise<undefined> {
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
