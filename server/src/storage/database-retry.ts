import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import { isUnfitForDatabase } from './database-errors.js';

const RETRY_MS = { low: 100, high: 5000 };

export interface DatabaseRetryOptions {
  logger: Logger;
  /** What is logged once when the database cannot do it, and when it can again. */
  texts: { failing: string; recovered: string };
}

/** What a consumer has taken and the database is to keep: tried again for as long as it cannot. */
export class DatabaseRetry {
  readonly #options: DatabaseRetryOptions;
  #isFailing = false;

  constructor(options: DatabaseRetryOptions) {
    this.#options = options;
  }

  /** @throws what the database will never take, and once the signal aborts. */
  async run<Result>(work: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
    const { logger, texts } = this.#options;
    for (let attempt = 0; ; attempt++) {
      try {
        const result = await work();
        if (this.#isFailing) logger.info(texts.recovered);
        this.#isFailing = false;
        return result;
      } catch (error) {
        if (isUnfitForDatabase(error)) throw error;
        if (!this.#isFailing) logger.error({ err: error }, texts.failing);
        this.#isFailing = true;
        signal.throwIfAborted();
      }
      await wait(Math.min(RETRY_MS.high, RETRY_MS.low * 2 ** attempt), undefined, { signal });
    }
  }
}
