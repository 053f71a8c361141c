import pLimit from 'p-limit';
import { HttpProblem } from '../problem.js';

/** As many as keep the broker's channels and the database busy. */
const AT_ONCE = 16;
/** A few seconds' worth: whoever waits longer may have given up before it is its turn. */
const MAX_WAITING = 400;
const MAX_RETRY_AFTER_SECONDS = 5;

/**
 * A queue before what is costly: when all clients come back at once, the first are served and the
 * others told to come again, at different times.
 */
export class Admission {
  readonly #limit = pLimit(AT_ONCE);

  /** @throws {HttpProblem} `overloaded` */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#limit.pendingCount >= MAX_WAITING) {
      const retryAfterSeconds = 1 + Math.floor(Math.random() * MAX_RETRY_AFTER_SECONDS);
      throw new HttpProblem('overloaded', undefined, { retryAfterSeconds });
    }
    return this.#limit(work);
  }
}
