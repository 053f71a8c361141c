import pLimit from 'p-limit';
import { HttpProblem } from '../problem.js';

/** As many as keep the broker's channels and the database busy. */
const AT_ONCE = 16;
/** A few seconds' worth: whoever waits longer may have given up before it is its turn. */
const MAX_WAITING = 600;
/** The crowd is estimated by what came in so long, in milliseconds. */
const WINDOW_MS = 10_000;
/** Assumed before anything was measured, in sessions a second. */
const SLOWEST_RATE = 200;
const SHORTEST_SECONDS = 1;
const LONGEST_SECONDS = 60;

/**
 * A queue before what is costly: when all clients come back at once, the first are served and the
 * others told to come again, spread over the time that serving them all will take. A fixed delay would
 * have the crowd come back as a crowd, and refusing it would take the time that serving it needs.
 */
export class Admission {
  readonly #limit = pLimit(AT_ONCE);
  #windowBegan = 0;
  #served = 0;
  #turnedAway = 0;

  /** @throws {HttpProblem} `overloaded` */
  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#limit.pendingCount >= MAX_WAITING) throw this.turnAway('overloaded');
    this.#roll();
    try {
      return await this.#limit(work);
    } finally {
      this.#served++;
    }
  }

  /** What to answer who cannot be served now, with a time to come again that few others get. */
  turnAway(code: 'overloaded' | 'broker_unavailable'): HttpProblem {
    this.#roll();
    this.#turnedAway++;
    const retryAfterSeconds = 1 + Math.floor(Math.random() * this.#spreadSeconds());
    return new HttpProblem(code, undefined, { retryAfterSeconds });
  }

  #roll(): void {
    const now = Date.now();
    if (now - this.#windowBegan < WINDOW_MS) return;
    // Half of the last window's counts: what was learned fades and is not forgotten at once.
    const isNext = now - this.#windowBegan < 2 * WINDOW_MS;
    this.#windowBegan = now;
    this.#served = isNext ? this.#served / 2 : 0;
    this.#turnedAway = isNext ? this.#turnedAway / 2 : 0;
  }

  #spreadSeconds(): number {
    const rate = Math.max(SLOWEST_RATE, (this.#served * 1000) / WINDOW_MS);
    const needed = this.#turnedAway / rate;
    return Math.min(LONGEST_SECONDS, Math.max(SHORTEST_SECONDS, needed));
  }
}
