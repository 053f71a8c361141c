import type { Platform } from './platform/platform.js';
import type { Delivery } from './transport.js';

export interface LaneOptions {
  platform: Platform;
  /** How many messages are handled at once. */
  concurrency: number;
  /**
   * Handles one message. `isCurrent` tells whether its connection still is the one; `outdated` that a
   * newer message with its collapse key waits, so that this one need not be handled.
   */
  process: (delivery: Delivery, isCurrent: () => boolean, outdated: boolean) => Promise<void>;
}

const FROM_HEADER = 'x-warren-from';
export const COLLAPSE_HEADER = 'x-warren-collapse-key';
/**
 * At the beginning of a connection, and after messages were passed over, newer ones are probably on
 * their way from the broker: so long they are waited for …
 */
const COLLAPSE_WAIT_MS = 30;
/** … but no longer than this in all, or a steady stream would never be handled. */
const COLLAPSE_LIMIT_MS = 300;

/** Of its sender and type: nobody's message takes the place of somebody else's. */
function collapseKeyOf({ properties: { type, headers } }: Delivery): string | undefined {
  const key = headers[COLLAPSE_HEADER];
  return key && JSON.stringify([headers[FROM_HEADER], type, key]);
}

/** One queue's messages, in their order, whichever connection they come by. */
export class Lane {
  readonly #options: LaneOptions;
  #pending: Delivery[] = [];
  #next = 0;
  /** Deliveries that nobody handles yet. The broker holds them for this connection. */
  #kept: Delivery[] = [];
  #generation = 0;
  #held = false;
  /** While the first messages of a connection come. */
  #backlogUntil: number | undefined;
  readonly #workers = new Set<Promise<void>>();
  /** Of the messages that wait, the newest with each collapse key. */
  readonly #newest = new Map<string, Delivery>();
  /** Keys of which messages were just passed over, and until when newer ones are waited for. */
  readonly #passedOver = new Map<string, number>();

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  push(delivery: Delivery): void {
    this.#pending.push(delivery);
    this.#backlogUntil ??= this.#options.platform.now() + COLLAPSE_LIMIT_MS;
    this.#rememberNewest(delivery);
    this.#start();
  }

  /** While held, nothing new is begun; what comes waits. */
  hold(held: boolean): void {
    this.#held = held;
    for (let waiting = this.#pending.length - this.#next; waiting > 0; waiting--) this.#start();
  }

  /**
   * Leaves a delivery unacked until {@link restore}.
   * @param most how many may be kept at once: each takes one of the messages that the broker sends ahead.
   * @returns false when there is no room.
   */
  keep(delivery: Delivery, most: number): boolean {
    if (this.#kept.length >= most) return false;
    this.#kept.push(delivery);
    return true;
  }

  /** Has what was kept processed again, before all that came after it. */
  restore(): void {
    if (this.#kept.length === 0) return;
    this.#pending = [...this.#kept, ...this.#pending.slice(this.#next)];
    this.#next = 0;
    this.#kept = [];
    for (const delivery of this.#pending) this.#rememberNewest(delivery);
    this.hold(this.#held);
  }

  /** Forgets what has not begun, and what was kept. */
  discard(): void {
    this.#pending = [];
    this.#next = 0;
    this.#kept = [];
    this.#generation++;
    this.#newest.clear();
    this.#passedOver.clear();
    this.#backlogUntil = undefined;
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    while (this.#workers.size > 0) await Promise.all(this.#workers);
  }

  #rememberNewest(delivery: Delivery): void {
    const key = collapseKeyOf(delivery);
    if (key !== undefined) this.#newest.set(key, delivery);
  }

  #start(): void {
    if (this.#held || this.#workers.size >= this.#options.concurrency) return;
    const worker = this.#work().finally(() => {
      this.#workers.delete(worker);
      // What came between its last look and now.
      if (this.#next < this.#pending.length) this.#start();
    });
    this.#workers.add(worker);
  }

  async #work(): Promise<void> {
    while (!this.#held) {
      const delivery = this.#pending[this.#next];
      if (delivery === undefined) return;
      this.#next++;
      // An index instead of shift(), which moves all others each time.
      if (this.#next >= this.#pending.length) {
        this.#pending = [];
        this.#next = 0;
      }
      const generation = this.#generation;
      const isCurrent = (): boolean => this.#generation === generation;
      const key = collapseKeyOf(delivery);
      const outdated = key !== undefined && (await this.#isOutdated(delivery, key, isCurrent));
      if (key !== undefined && !isCurrent()) continue;
      await this.#options.process(delivery, isCurrent, outdated);
    }
  }

  async #isOutdated(delivery: Delivery, key: string, isCurrent: () => boolean): Promise<boolean> {
    const { platform } = this.#options;
    const passedOverUntil = this.#passedOver.get(key);
    const until = passedOverUntil ?? this.#backlogUntil ?? 0;
    if (this.#newest.get(key) === delivery && platform.now() < until) {
      await new Promise<void>((resolve) => platform.setTimer(resolve, COLLAPSE_WAIT_MS));
      // Its connection is gone, and has nothing to say of what the next one brings.
      if (!isCurrent()) return true;
    }
    if (this.#newest.get(key) === delivery) {
      this.#newest.delete(key);
      this.#passedOver.delete(key);
      return false;
    }
    if (passedOverUntil === undefined)
      this.#passedOver.set(key, platform.now() + COLLAPSE_LIMIT_MS);
    return true;
  }
}
