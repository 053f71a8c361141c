import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { HttpProblem } from '../problem.js';

/** How many requests each may make, by process; 0 is no limit. */
export interface RateLimits {
  /** Of one service key, a second. */
  perKey: number;
  /**
   * Of one user, a minute, by all its devices together; ten times as many of an admin. As many KiB a minute its
   * devices are told of what it has read, and sixteen times as many it may send to others.
   */
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
      read: limiter(perUser, 60),
      sent: limiter(perUser * 16, 60),
      // A page of the console asks several times a second.
      admin: limiter(perUser * 10, 60),
      broadcast: limiter(broadcasts, 60),
    };
  }

  /**
   * @param budget `key:…`, `user:…`, `read:…`, `sent:…`, `admin:…` or `broadcast:…`
   * @param points how much of it; what is more than all of it takes all of it.
   * @throws {HttpProblem} `rate_limited`
   */
  async take(budget: string, points = 1): Promise<void> {
    const kind = budget.slice(0, budget.indexOf(':'));
    const limiter = this.#limiters[kind];
    try {
      await limiter?.consume(budget, Math.min(points, limiter.points));
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      const retryAfterSeconds = Math.ceil(error.msBeforeNext / 1000);
      throw new HttpProblem('rate_limited', undefined, { retryAfterSeconds });
    }
  }
}
