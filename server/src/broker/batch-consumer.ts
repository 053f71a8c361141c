import type { Channel, ChannelModel, Message } from 'amqplib';
import type { Logger } from 'pino';
import { aborted, LastingConnection, type LiveConnection } from './lasting-connection.js';
import { Prefetch, type InHand } from './prefetch.js';
import { removeUnreadable } from './unreadable.js';

export interface BatchConsumerOptions {
  amqpUrl: string;
  /** What the connection is called on the broker. */
  connectionName: string;
  queue: string;
  /** Makes the queue and its bindings, on each new channel. */
  declare: (channel: Channel, connection: ChannelModel) => Promise<void>;
  /** How long a batch waits for more after its first message, in milliseconds. Default 0. */
  gatherMs?: number;
  /**
   * Takes the next messages, in order; they are acked when it resolves, and handed out again when it rejects
   * or the connection is lost. The signal aborts when it is not to be tried any longer.
   */
  onBatch: (messages: Message[], signal: AbortSignal) => Promise<void>;
  /** Told of lost connections; it heals by itself. */
  onError: (error: unknown) => void;
  logger: Logger;
}

/** How many messages of a usual size the broker sends ahead of the acks, and how many are taken at once at most. */
const PREFETCH = 1000;
const BATCH = 500;
/** Not one parameter of hundreds of megabytes. */
const BATCH_BYTES = 4 * 1024 * 1024;

/** Consumes a queue in order, one batch after the other, each acked as a whole. */
export class BatchConsumer {
  readonly #options: BatchConsumerOptions;
  readonly #connection: LastingConnection;
  readonly #prefetch = new Prefetch(PREFETCH);

  constructor(options: BatchConsumerOptions) {
    this.#options = options;
    const { amqpUrl, connectionName, onError } = options;
    this.#connection = new LastingConnection({
      amqpUrl,
      connectionName,
      use: (live) => this.#consume(live),
      heal: (signal) => this.#heal(signal),
      onError,
    });
  }

  /** Gives the batch under way the chance to end; what is not acked is handed out again. Idempotent. */
  async close(): Promise<void> {
    await this.#connection.close();
  }

  async #heal(signal: AbortSignal): Promise<void> {
    const { amqpUrl, queue, logger, onBatch } = this.#options;
    const take = (message: Message): Promise<void> => onBatch([message], signal);
    await removeUnreadable({ amqpUrl, queue, most: PREFETCH, take, logger });
  }

  async #consume(live: LiveConnection): Promise<void> {
    while (!live.isOver()) await this.#consumeByOneChannel(live);
  }

  /** Until the connection ends, or another number of messages is to be sent ahead. */
  async #consumeByOneChannel(live: LiveConnection): Promise<void> {
    const { gatherMs = 0, onBatch } = this.#options;
    const inHand = this.#prefetch.begin();
    const arrivals = new Arrivals(AbortSignal.any([live.signal, inHand.drained]));
    const { channel, end } = await live.race(this.#subscribe(live, arrivals, inHand));
    live.noteUse();
    for (;;) {
      const batch = await arrivals.next(gatherMs);
      const last = batch.at(-1);
      if (last === undefined) break;
      await onBatch(batch, live.signal);
      for (const { content } of batch) inHand.release(content.length);
      if (!live.isLost) channel.ack(last, true);
    }
    if (!live.isOver()) await live.race(end());
  }

  async #subscribe(
    live: LiveConnection,
    arrivals: Arrivals,
    inHand: InHand,
  ): Promise<{ channel: Channel; end: () => Promise<void> }> {
    const channel = await live.connection.createChannel();
    const onClose = (): void => {
      live.end(new Error('The channel was closed.'));
    };
    channel.on('error', (error: unknown) => {
      live.end(error);
    });
    channel.on('close', onClose);
    const { queue, declare } = this.#options;
    await declare(channel, live.connection);
    await channel.prefetch(inHand.count);
    await channel.consume(queue, (message) => {
      if (message === null) live.end(new Error('The queue was deleted.'));
      else if (inHand.take(message.content.length)) arrivals.push(message);
    });
    const end = async (): Promise<void> => {
      channel.off('close', onClose);
      await channel.close();
    };
    return { channel, end };
  }
}

/** The messages of one channel. */
class Arrivals {
  readonly #signal: AbortSignal;
  readonly #waiting: Message[] = [];
  #wake: (() => void) | undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#wake?.(), { once: true });
  }

  push(message: Message): void {
    this.#waiting.push(message);
    this.#wake?.();
  }

  /** What is there, as soon as there is something; empty when it is over. */
  async next(gatherMs: number): Promise<Message[]> {
    while (!this.#isOver() && this.#waiting.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      if (gatherMs > 0) await aborted(this.#signal, gatherMs);
    }
    if (this.#isOver()) return [];
    let bytes = 0;
    let count = 0;
    for (const { content } of this.#waiting) {
      bytes += content.length;
      if (count === BATCH || (count > 0 && bytes > BATCH_BYTES)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  #isOver(): boolean {
    return this.#signal.aborted;
  }
}
