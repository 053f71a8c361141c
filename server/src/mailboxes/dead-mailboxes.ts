import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { DeadQueues } from '../broker/dead-queues.js';
import type { DeviceStore } from '../storage/devices.js';
import type { Locks } from '../storage/locks.js';
import type { MailboxReplacement } from './replacement.js';

export interface DeadMailboxesOptions {
  deadQueues: DeadQueues;
  devices: DeviceStore;
  locks: Locks;
  replacement: MailboxReplacement;
  logger: Logger;
}

/** One message may have crashed all that there are. */
const AT_ONCE = 10;

/**
 * Gives devices whose mailbox is dead another one, as soon as that is known: what is sent to several would go
 * unconfirmed for as long as one of them is.
 */
export class DeadMailboxes {
  readonly #options: DeadMailboxesOptions;
  readonly #limit = pLimit(AT_ONCE);
  #underWay: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: DeadMailboxesOptions) {
    this.#options = options;
    options.deadQueues.onFound((queues) => {
      this.#underWay = this.#replaceAll(queues).catch((error: unknown) => {
        options.logger.warn({ err: error }, 'dead mailboxes were not all replaced');
      });
    });
  }

  /** Those that could not be replaced when they were found. One that fails holds up no other. @throws the first failure */
  async replaceKnown(): Promise<void> {
    await this.#replaceAll(this.#options.deadQueues.names());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#underWay;
  }

  async #replaceAll(queues: string[]): Promise<void> {
    const results = await Promise.allSettled(
      queues.map((queue) => this.#limit(() => this.#replace(queue))),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  async #replace(queue: string): Promise<void> {
    const { deadQueues, devices, locks, replacement } = this.#options;
    if (this.#isClosed) return;
    const owner = await devices.findByQueue(queue);
    if (owner === undefined) {
      deadQueues.leave(queue);
      return;
    }
    await locks.user(owner.user_id, async () => {
      const device = await devices.findByQueue(queue);
      if (device?.ended_at !== null || !deadQueues.has(queue)) return;
      await replacement.advance(device, { mayInterrupt: () => true });
    });
  }
}
