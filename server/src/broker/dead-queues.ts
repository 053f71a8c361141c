import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { ManagementApi } from './management.js';

export interface DeadQueuesOptions {
  management: Pick<ManagementApi, 'queuesWithoutProcess'>;
  /** First part of the names of mailboxes. */
  prefix: string;
  logger: Logger;
}

/** One that has crashed is brought back within milliseconds, or, after a few attempts, never. */
const CONFIRM_MS = 1500;
/** A listing asks every queue of the broker: no more often than this, and for a tenth of the time at most. */
const LEAST_PAUSE_MS = 10_000;
const PAUSE_FACTOR = 10;

/**
 * Mailboxes that RabbitMQ knows and has no process for: one crashed, and again each time that it was brought back
 * (what a message can do to it is at {@link SURVIVES_HEADERS}). Such a queue is listed as running, takes bindings, and
 * lets messages that are routed to it go unconfirmed; whoever declares, consumes or deletes it gets no answer for a
 * minute, and a 404 then (rabbit_amqqueue:with). What tells it from a slow one is a listing with the number of
 * messages, for which each process is asked.
 */
export class DeadQueues {
  readonly #options: DeadQueuesOptions;
  /** Found, and somebody's, as far as is known. */
  #dead = new Set<string>();
  /** Found, and nobody's any more: not every version lets them be deleted. */
  #left = new Set<string>();
  #looking: Promise<void> | undefined;
  #notBefore = 0;
  #onFound: (queues: string[]) => void = () => undefined;

  constructor(options: DeadQueuesOptions) {
    this.#options = options;
  }

  /** Calls `listener` with those that were not known before. */
  onFound(listener: (queues: string[]) => void): void {
    this.#onFound = listener;
  }

  /** How many are not replaced yet. */
  get count(): number {
    return this.#dead.size;
  }

  /** Those that are not replaced yet. */
  names(): string[] {
    return [...this.#dead];
  }

  /** As of the last {@link look}. */
  has(queue: string): boolean {
    return this.#dead.has(queue) || this.#left.has(queue);
  }

  /** Nobody depends on it any more. */
  leave(queue: string): void {
    if (this.#dead.delete(queue)) this.#left.add(queue);
  }

  /** Looks now, or as soon as may be; those who ask meanwhile share it. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#lookInTime().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookInTime(): Promise<void> {
    const { logger } = this.#options;
    await wait(Math.max(0, this.#notBefore - performance.now()), undefined, { ref: false });
    const beganAt = performance.now();
    try {
      this.#take(await this.#list());
    } catch (error) {
      logger.warn({ err: error }, 'whether mailboxes are dead is not known');
    }
    const tookMs = performance.now() - beganAt;
    this.#notBefore = performance.now() + Math.max(LEAST_PAUSE_MS, tookMs * PAUSE_FACTOR);
  }

  /** Twice: a queue that is deleted between two listings, or just being brought back, is not dead. */
  async #list(): Promise<string[]> {
    const { management, prefix } = this.#options;
    const suspects = await management.queuesWithoutProcess(prefix);
    if (suspects.size === 0) return [];
    await wait(CONFIRM_MS, undefined, { ref: false });
    const confirmed = await management.queuesWithoutProcess(prefix);
    return [...suspects].filter((queue) => confirmed.has(queue));
  }

  #take(queues: string[]): void {
    const found = queues.filter((queue) => !this.#left.has(queue));
    const isNew = found.filter((queue) => !this.#dead.has(queue));
    this.#left = new Set(queues.filter((queue) => this.#left.has(queue)));
    this.#dead = new Set(found);
    if (isNew.length === 0) return;
    const text = 'mailboxes are dead: RabbitMQ could not bring them back; they are replaced';
    this.#options.logger.error({ mailboxes: isNew.length }, text);
    this.#onFound(isNew);
  }
}
