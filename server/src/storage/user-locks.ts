import type pg from 'pg';
import { createPool } from './database.js';
import { toStored } from './ids.js';

/**
 * One at a time for each user, over all processes that share the database: what is being revoked must
 * not be opened in the same moment.
 */
export class UserLocks {
  readonly #tails = new Map<string, Promise<unknown>>();
  readonly #pool: pg.Pool | undefined;

  /** @param url of PostgreSQL, when other processes share it. */
  constructor(url: string | undefined, onError: (error: Error) => void) {
    // Connections of its own: those who wait for a lock must not hold up those who have one.
    this.#pool = url === undefined ? undefined : createPool(url, 10, onError);
  }

  async run<Result>(userId: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.#tails.get(userId);
    const turn = (async () => {
      await before?.catch(() => undefined);
      return this.#acrossProcesses(userId, work);
    })();
    this.#tails.set(userId, turn);
    try {
      return await turn;
    } finally {
      if (this.#tails.get(userId) === turn) this.#tails.delete(userId);
    }
  }

  async close(): Promise<void> {
    await this.#pool?.end();
  }

  async #acrossProcesses<Result>(userId: string, work: () => Promise<Result>): Promise<Result> {
    if (this.#pool === undefined) return work();
    const client = await this.#pool.connect();
    const lock = [`warren:${toStored(userId)}`];
    // A connection that may hold the lock is closed, which gives it back.
    let isClean = false;
    try {
      // Of the session, not of a transaction, which would stay open while the broker is asked.
      await client.query('select pg_advisory_lock(hashtextextended($1, 0))', lock);
      try {
        return await work();
      } finally {
        await client.query('select pg_advisory_unlock(hashtextextended($1, 0))', lock);
        isClean = true;
      }
    } finally {
      client.release(!isClean);
    }
  }
}
