import type { Channel, ConsumeMessage } from 'amqplib';

/**
 * What one channel has handed out, settled. The messages handled in one turn of the event loop are acked
 * by one frame where no older one is still open: a backlog costs the broker and the client a fraction of
 * an ack for each.
 */
export class Acks {
  readonly #channel: Channel;
  /** The oldest that is not settled: a channel counts what it hands out, from 1. */
  #oldest = 1;
  /** Handled, and not told yet. */
  readonly #handled = new Map<number, ConsumeMessage>();
  /** Told, while an older one is open. */
  readonly #told = new Set<number>();
  #flushing: NodeJS.Immediate | undefined;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  ack(message: ConsumeMessage): void {
    this.#handled.set(message.fields.deliveryTag, message);
    this.#flushSoon();
  }

  /** Sends it to the dead letters. */
  reject(message: ConsumeMessage): void {
    this.#told.add(message.fields.deliveryTag);
    this.#channel.reject(message, false);
    // So that it is forgotten, too, where nothing is ever acked.
    this.#flushSoon();
  }

  /** Tells at once what is handled. Nothing, when the channel is closed: the broker gives it out again. */
  flush(): void {
    clearImmediate(this.#flushing);
    this.#flushing = undefined;
    let newest: ConsumeMessage | undefined;
    let count = 0;
    for (; this.#told.delete(this.#oldest) || this.#handled.has(this.#oldest); this.#oldest++) {
      const message = this.#handled.get(this.#oldest);
      if (message === undefined) continue;
      this.#handled.delete(this.#oldest);
      newest = message;
      count++;
    }
    if (newest !== undefined) this.#tell(newest, count > 1);
    for (const [tag, message] of this.#handled) {
      this.#told.add(tag);
      this.#tell(message, false);
    }
    this.#handled.clear();
  }

  #flushSoon(): void {
    this.#flushing ??= setImmediate(() => {
      this.flush();
    });
  }

  #tell(message: ConsumeMessage, allUpTo: boolean): void {
    try {
      this.#channel.ack(message, allUpTo);
    } catch {
      // amqplib throws when the channel has closed a moment ago.
    }
  }
}
