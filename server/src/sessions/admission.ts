import { FairLimit, type Leave } from '../fair-limit.js';
import { HttpProblem } from '../problem.js';
import type { Locks } from '../storage/locks.js';

/** As many as keep the broker's channels and the database busy. */
const AT_ONCE = 16;
/** A few seconds' worth: whoever waits longer may have given up before it is its turn. */
const MAX_WAITING = 600;
/** Of one user, whose devices may all come back at once. */
const MAX_WAITING_OF_ONE = 100;
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
 *
 * What is done for one user is done one after the other, so a user waits for its own turn first and takes a place
 * only then: one at most, however much it asks for.
 */
export class Admission {
  readonly #locks: Pick<Locks, 'user'>;
  /**
   * Here a user's requests wait for one another, and only the first of them at the lock: a revocation, or a
   * group that the user joins with others, is behind one of them there and not behind all.
   */
  readonly #turns = new FairLimit(Infinity, 1);
  readonly #places = new FairLimit(AT_ONCE, 1);
  #windowBegan = 0;
  #served = 0;
  #turnedAway = 0;

  constructor(locks: Pick<Locks, 'user'>) {
    this.#locks = locks;
  }

  /**
   * Does the work with the user's lock and in a place, which it may leave before it has ended.
   * @param signal ends the wait at once; what has begun goes on.
   * @throws {HttpProblem} `overloaded`; the signal's reason.
   */
  async run<Result>(
    userId: string,
    signal: AbortSignal,
    work: (leave: Leave) => Promise<Result>,
  ): Promise<Result> {
    const isFull =
      this.#places.waiting >= MAX_WAITING || this.#turns.waitingOf(userId) >= MAX_WAITING_OF_ONE;
    if (isFull) throw this.turnAway('overloaded');
    this.#roll();
    try {
      return await this.#turns.run(userId, () => this.#inTurn(userId, signal, work), signal);
    } finally {
      this.#served++;
    }
  }

  async #inTurn<Result>(
    userId: string,
    signal: AbortSignal,
    work: (leave: Leave) => Promise<Result>,
  ): Promise<Result> {
    let leave: Leave = () => undefined;
    const enter = async (): Promise<void> => {
      leave = await this.#places.enter(userId, signal);
    };
    const begin = (): Promise<Result> => {
      signal.throwIfAborted();
      return work(leave);
    };
    try {
      return await this.#locks.user(userId, begin, enter);
    } finally {
      leave();
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
