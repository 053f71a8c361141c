import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';
import type { HistoryStore } from '../storage/history.js';
import { sendCommand } from './commands.js';

/** How often it is looked whether the history has come so far, in milliseconds. */
const LOOK_MS = { first: 10, most: 200 };
/** Twice this is shorter than a client waits for an answer. */
const TIMEOUT_MS = 3000;

/**
 * Tells when the history has all that was published until now: the worker may lag. A mark goes through its
 * queue, behind the messages; of many who ask at once, all wait for the same one.
 */
export class CaughtUp {
  readonly #channel: ConfirmChannel;
  readonly #store: HistoryStore;
  #underWay: Promise<boolean> | undefined;
  #next: Promise<boolean> | undefined;

  constructor(channel: ConfirmChannel, store: HistoryStore) {
    this.#channel = channel;
    this.#store = store;
  }

  /**
   * Resolves to whether it has within some seconds.
   * @throws {PublishError}
   */
  async wait(): Promise<boolean> {
    // One that is under way was sent before now, so it says nothing of what was published since.
    this.#next ??= this.#after(this.#underWay);
    return this.#next;
  }

  async #after(before: Promise<boolean> | undefined): Promise<boolean> {
    await before?.catch(() => undefined);
    this.#underWay = this.#next;
    this.#next = undefined;
    return this.#pass();
  }

  async #pass(): Promise<boolean> {
    const mark = randomUUID();
    await sendCommand(this.#channel, { kind: 'mark', mark });
    const deadline = performance.now() + TIMEOUT_MS;
    let lookMs = LOOK_MS.first;
    while (!(await this.#store.isMarked(mark))) {
      if (performance.now() > deadline) return false;
      await wait(lookMs);
      lookMs = Math.min(LOOK_MS.most, 2 * lookMs);
    }
    return true;
  }
}
