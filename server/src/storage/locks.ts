import type pg from 'pg';
import { createPool } from './database.js';
import { toStored } from './ids.js';

/**
 * One at a time for each user, and for each group, over all processes that share the database: what is
 * being revoked must not be opened in the same moment.
 */
export class Locks {
  readonly #tails = new Map<string, Promise<unknown>>();
  readonly #pool: pg.Pool | undefined;

  /** @param url of PostgreSQL, when other processes share it. */
  constructor(url: string | undefined, onError: (error: Error) => void) {
    // Connections of its own: those who wait for a lock must not hold up those who have one.
    this.#pool = url === undefined ? undefined : createPool(url, 10, onError);
  }

  user<Result>(userId: string, work: () => Promise<Result>): Promise<Result> {
    return this.users([userId], work);
  }

  /** All of them at once. */
  users<Result>(userIds: string[], work: () => Promise<Result>): Promise<Result> {
    return this.#run(
      userIds.map((userId) => `warren:${toStored(userId)}`),
      work,
    );
  }

  /** Not to be asked for by whoever has a user's, nor the other way round. */
  group<Result>(groupId: string, work: () => Promise<Result>): Promise<Result> {
    return this.#run([`warren-group:${toStored(groupId)}`], work);
  }

  async close(): Promise<void> {
    await this.#pool?.end();
  }

  async #run<Result>(keys: string[], work: () => Promise<Result>): Promise<Result> {
    const before = keys.map((key) => this.#tails.get(key) ?? Promise.resolve());
    const turn = (async () => {
      await Promise.allSettled(before);
      return this.#acrossProcesses(keys, work);
    })();
    for (const key of keys) this.#tails.set(key, turn);
    try {
      return await turn;
    } finally {
      for (const key of keys) if (this.#tails.get(key) === turn) this.#tails.delete(key);
    }
  }

  async #acrossProcesses<Result>(keys: string[], work: () => Promise<Result>): Promise<Result> {
    if (this.#pool === undefined) return work();
    const client = await this.#pool.connect();
    // A connection that may hold a lock is closed, which gives it back.
    let isClean = false;
    try {
      // Of the session, not of a transaction, which would stay open while the broker is asked. All take
      // them in one order, so that nobody waits in a circle.
      const sorted =
        'select distinct hashtextextended(key, 0) as hash from unnest($1::text[]) as key order by hash';
      await client.query(`select pg_advisory_lock(hash) from (${sorted}) as hashes`, [keys]);
      try {
        return await work();
      } finally {
        await client.query('select pg_advisory_unlock_all()');
        isClean = true;
      }
    } finally {
      client.release(!isClean);
    }
  }
}
