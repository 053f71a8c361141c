import { endedWithin } from './ended-within.js';

/**
 * For what may not come for hours. A promise that many wait for, each for a while, remembers every one of them until
 * it settles; this forgets who has given up.
 */
export class WaitingRoom {
  readonly #waiting = new Set<() => void>();

  /** How many wait now. */
  get size(): number {
    return this.#waiting.size;
  }

  /** It has come, for all who wait. */
  open(): void {
    for (const goOn of this.#waiting) goOn();
  }

  /** Resolves to whether it came within `ms` milliseconds. */
  async within(ms: number): Promise<boolean> {
    let enter: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => (enter = resolve));
    this.#waiting.add(enter);
    try {
      return await endedWithin(opened, ms);
    } finally {
      this.#waiting.delete(enter);
    }
  }
}
