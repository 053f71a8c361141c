export interface BackoffOptions {
  /** The first delay's upper bound, in milliseconds. */
  baseMs: number;
  /** No delay is longer. */
  maxMs: number;
  /** From 0 (inclusive) to 1 (exclusive). */
  random: () => number;
}

/**
 * Full jitter: any delay between nothing and a bound that doubles, so that thousands of clients which
 * lost the same broker do not come back together.
 */
export class Backoff {
  #failures = 0;
  readonly #options: BackoffOptions;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  next(): number {
    const { baseMs, maxMs, random } = this.#options;
    const bound = Math.min(maxMs, baseMs * 2 ** this.#failures);
    this.#failures++;
    return random() * bound;
  }

  reset(): void {
    this.#failures = 0;
  }
}
