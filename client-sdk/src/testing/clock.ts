import type { Platform } from '../platform/platform.js';

const later: (callback: () => void) => unknown =
  (globalThis as { setImmediate?: (callback: () => void) => unknown }).setImmediate ??
  ((callback) => globalThis.setTimeout(callback, 0));

/** Lets every promise that can settle do so. */
export const settle = (): Promise<void> =>
  new Promise((resolve) => {
    later(resolve);
  });

/** A clock that stands still until it is told to go on. */
export class FakeClock {
  #now = Date.UTC(2026, 0, 1);
  readonly #timers = new Map<object, { at: number; callback: () => void }>();

  /** The parts of a platform that tell and measure time. */
  readonly platform: Pick<Platform, 'now' | 'setTimer' | 'clearTimer'> = {
    now: () => this.#now,
    setTimer: (callback, ms) => {
      const timer = {};
      this.#timers.set(timer, { at: this.#now + Math.ceil(ms), callback });
      return timer;
    },
    clearTimer: (timer) => {
      this.#timers.delete(timer as object);
    },
  };

  /** Milliseconds since 1970. */
  get now(): number {
    return this.#now;
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Lets time pass, in milliseconds: each timer that is due runs, in its turn. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      let next: object | undefined;
      let at = end;
      for (const [timer, due] of this.#timers) {
        if (due.at < at || (due.at === at && next === undefined)) {
          next = timer;
          at = due.at;
        }
      }
      if (next === undefined) break;
      const callback = this.#timers.get(next)?.callback;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, at);
      callback?.();
    }
    this.#now = end;
    await settle();
  }

  /**
   * As when a device wakes from sleep: the wall clock has gone on by so many milliseconds, and no timer
   * has run or come nearer.
   */
  jump(ms: number): void {
    this.#now += ms;
    for (const timer of this.#timers.values()) timer.at += ms;
  }
}
