import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { HttpProblem } from '../problem.js';

/** How many requests each may make, by process; 0 is no limit. */
export interface RateLimits {
  /** Of one service key, a second. */
  perKey: number;
  /** Of one user, a minute, by all its devices together; ten times as many of an admin. */
  perUser: number;
  /** Messages to everybody, a minute, by whomever. */
  broadcasts: number;
}

export const DEFAULT_RATE_LIMITS: Readonly<RateLimits> = {
  perKey: 2000,
  perUser: 120,
  broadcasts: 10,
};

/** Counts requests by who makes them. */
export class RateLimiter {
  readonly #limiters: Record<string, RateLimiterMemory | undefined>;

  constructor({ perKey, perUser, broadcasts }: RateLimits) {
    const limiter = (points: number, duration: number): RateLimiterMemory | undefined =>
      points > 0 ? new RateLimiterMemory({ points, duration }) : undefined;
    this.#limiters = {
      key: limiter(perKey, 1),
      user: limiter(perUser, 60),
      // A page of the console asks several times a second.
      admin: limiter(perUser * 10, 60),
      broadcast: limiter(broadcasts, 60),
    };
  }

  /**
   * @param budget `key:…`, `user:…`, `admin:…` or `broadcast:…`
   * @throws {HttpProblem} `rate_limited`
   */
  async take(budget: string): Promise<void> {
    const kind = budget.slice(0, budget.indexOf(':'));
    try {
      await this.#limiters[kind]?.consume(budget);
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      const retryAfterSeconds = Math.ceil(error.msBeforeNext / 1000);
      throw new HttpProblem('rate_limited', undefined, { retryAfterSeconds });
    }
  }
}
