import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { HttpProblem } from '../problem.js';

/** How many requests each may make, by process; 0 is no limit. */
export interface RateLimits {
  /** Of one service key, a second. */
  perKey: number;
  /** Of one user, a minute, by all its devices together. */
  perUser: number;
}

export const DEFAULT_RATE_LIMITS: Readonly<RateLimits> = { perKey: 2000, perUser: 120 };

/** Counts requests by who makes them. */
export class RateLimiter {
  readonly #limiters: Record<string, RateLimiterMemory | undefined>;

  constructor({ perKey, perUser }: RateLimits) {
    this.#limiters = {
      key: perKey > 0 ? new RateLimiterMemory({ points: perKey, duration: 1 }) : undefined,
      user: perUser > 0 ? new RateLimiterMemory({ points: perUser, duration: 60 }) : undefined,
    };
  }

  /**
   * @param budget `key:…` or `user:…`
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
