/** How a message ended. */
export type Ending = 'acked' | 'rejected';

/**
 * Remembers the ids of messages that have ended, so that one which the broker hands out again,
 * because its ack was lost, is not handled again. Bounded: the oldest are forgotten.
 */
export class DedupeWindow {
  readonly #endings = new Map<string, { ending: Ending; at: number }>();

  constructor(
    readonly maxEntries: number,
    readonly maxAgeMs: number,
    readonly now: () => number,
  ) {}

  get(id: string): Ending | undefined {
    const entry = this.#endings.get(id);
    if (entry === undefined) return undefined;
    return this.now() - entry.at <= this.maxAgeMs ? entry.ending : undefined;
  }

  add(id: string, ending: Ending): void {
    this.#endings.delete(id);
    this.#endings.set(id, { ending, at: this.now() });
    if (this.#endings.size <= this.maxEntries) return;
    // A Map iterates in the order of insertion.
    for (const oldest of this.#endings.keys()) {
      this.#endings.delete(oldest);
      break;
    }
  }
}
