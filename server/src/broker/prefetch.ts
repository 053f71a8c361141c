/**
 * So much of a queue is held at once, or one message: more than a thousand usual ones. The broker takes messages of
 * up to 128 MiB.
 */
const HELD_BYTES = 32 * 1024 * 1024;
/** So many smaller ones say that the large ones are over. */
const GROW_AFTER = 1000;

/**
 * How many messages the broker may send ahead of the acks, by the size of those that come. It counts messages alone
 * (RabbitMQ knows no `prefetch_size`), the number of a consumer that is there cannot be changed (that was `global`,
 * which RabbitMQ 4.3 refuses), and it has sent on by the time that one large message is seen. So what comes in excess
 * is not held: when the rest is done, the channel is to be closed, by which the broker has the excess again, and the
 * next one begins with another number.
 */
export class Prefetch {
  readonly #most: number;
  #count: number;
  /** The largest of those that came since the number was found, or was looked at again. */
  #largest = 0;
  #done = 0;

  /** @param most of messages of a usual size. */
  constructor(most: number) {
    this.#most = most;
    this.#count = most;
  }

  /** What a new channel holds. */
  begin(): InHand {
    return new InHand(this.#count, this);
  }

  /** One came, held or not. */
  note(bytes: number): void {
    this.#largest = Math.max(this.#largest, bytes);
  }

  /** So many as may be held of the largest. */
  fit(): void {
    this.#count = this.#fitting();
    this.#lookAgain();
  }

  /** One is done. @returns whether there may be many more than there were. */
  noteDone(): boolean {
    if (++this.#done < GROW_AFTER) return false;
    const mayGrow =
      this.#count < this.#most && this.#fitting() >= Math.min(this.#most, 2 * this.#count);
    if (mayGrow) this.fit();
    else this.#lookAgain();
    return mayGrow;
  }

  #lookAgain(): void {
    this.#largest = 0;
    this.#done = 0;
  }

  #fitting(): number {
    const fitting = Math.floor(HELD_BYTES / Math.max(1, this.#largest));
    return Math.min(this.#most, Math.max(1, fitting));
  }
}

/** The messages that one channel holds. */
class InHand {
  /** What to ask of the broker. */
  readonly count: number;
  readonly #prefetch: Prefetch;
  readonly #drained = new AbortController();
  #messages = 0;
  #bytes = 0;
  #isOver = false;

  constructor(count: number, prefetch: Prefetch) {
    this.count = count;
    this.#prefetch = prefetch;
  }

  /** Aborts when nothing is held any more, and nothing is to be on this channel. */
  get drained(): AbortSignal {
    return this.#drained.signal;
  }

  /** @returns whether the message may be held; one that may not comes again. */
  take(bytes: number): boolean {
    if (this.#isOver) return false;
    this.#prefetch.note(bytes);
    if (this.#messages > 0 && this.#bytes + bytes > HELD_BYTES) {
      this.#prefetch.fit();
      this.#isOver = true;
      return false;
    }
    this.#messages++;
    this.#bytes += bytes;
    return true;
  }

  /** It is not held any more. To be said just before its ack, since the next one may come at once. */
  release(bytes: number): void {
    this.#messages--;
    this.#bytes -= bytes;
    if (!this.#isOver) this.#isOver = this.#prefetch.noteDone();
    if (this.#isOver && this.#messages === 0) this.#drained.abort();
  }
}

export type { InHand };
