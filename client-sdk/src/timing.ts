import type { Platform } from './platform/platform.js';

/** setTimeout fires at once beyond 31 bits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Time that passes by the wall clock: also while the device sleeps and its timers do not run. */
export class Countdown {
  readonly #platform: Platform;
  #left: number;
  #at: number;

  constructor(platform: Platform, ms: number) {
    this.#platform = platform;
    this.#left = ms;
    this.#at = platform.now();
  }

  /** Milliseconds that are left, 0 when it is over. A clock that is set back ends nothing early. */
  get left(): number {
    const now = this.#platform.now();
    this.#left -= Math.max(0, now - this.#at);
    this.#at = now;
    return this.#left < 1 ? 0 : this.#left;
  }
}

/**
 * How long nothing was heard, by the wall clock: also while the device sleeps. Asked every few seconds; a clock that
 * is set back hides no more than what lies between two of them.
 */
export class Silence {
  readonly #now: () => number;
  readonly #heardAt: () => number;
  #knownAt = NaN;
  #ms = 0;
  #askedAt = 0;

  constructor(now: () => number, heardAt: () => number) {
    this.#now = now;
    this.#heardAt = heardAt;
  }

  get ms(): number {
    const now = this.#now();
    const heardAt = this.#heardAt();
    if (heardAt === this.#knownAt) this.#ms += Math.max(0, now - this.#askedAt);
    else this.#ms = Math.max(0, now - heardAt);
    this.#knownAt = heardAt;
    this.#askedAt = now;
    return this.#ms;
  }
}

/** A controller that aborts with its parent; AbortSignal.any is too new for many browsers. */
export function follow(parent: AbortSignal): {
  signal: AbortSignal;
  abort: () => void;
  /** Takes the listener off the parent. */
  release: () => void;
} {
  const controller = new AbortController();
  const abort = (): void => {
    controller.abort();
  };
  if (parent.aborted) abort();
  parent.addEventListener('abort', abort, { once: true });
  return {
    signal: controller.signal,
    abort,
    release: () => {
      parent.removeEventListener('abort', abort);
    },
  };
}

/** Resolves after a time by the platform's timers, or when the signal aborts. */
export function delay(
  platform: Platform,
  ms: number,
  signal?: AbortSignal,
): { done: Promise<undefined>; cancel: () => void } {
  let cancel: () => void = () => undefined;
  const done = new Promise<undefined>((resolve) => {
    const finish = (): void => {
      cancel();
      resolve(undefined);
    };
    const timer = platform.setTimer(finish, Math.min(ms, MAX_TIMER_MS));
    cancel = () => {
      platform.clearTimer(timer);
      signal?.removeEventListener('abort', finish);
    };
    signal?.addEventListener('abort', finish, { once: true });
    if (signal?.aborted === true) finish();
  });
  return { done, cancel };
}

/** A function, since the compiler takes a property that was false a moment ago to be false for ever. */
export const isOver = (signal: AbortSignal): boolean => signal.aborted;

export const isThenable = (value: unknown): boolean =>
  typeof (value as PromiseLike<unknown> | null)?.then === 'function';
