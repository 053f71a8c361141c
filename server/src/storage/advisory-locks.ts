import type pg from 'pg';
import { createPool } from './database.js';

/** Each key's, once; in one order, so that nobody waits in a circle. */
const HASHES =
  '(select distinct hashtextextended(key, 0) as hash from unnest($1::text[]) as key order by hash) as hashes';
// As texts: a hash has more digits than a number keeps.
const TRY = `select hash::text, pg_try_advisory_lock(hash) as has from ${HASHES}`;
const GIVE_BACK = 'select pg_advisory_unlock(hash) from unnest($1::bigint[]) as hash';
const WAIT = `select pg_advisory_lock(hash) from ${HASHES}`;

/** Those who wait for a lock that another process has: each on a connection, which it keeps for its work. */
const MAX_AWAITED = 10;
/** One in use, and those that broke and are still in somebody's hands. */
const MAX_SHARED = 4;

/** A connection that holds the locks of many. */
interface Session {
  client: Promise<pg.PoolClient>;
  /** Settles when it can be asked again: it takes one question at a time. */
  idle: Promise<unknown>;
  /** Who holds locks on it, or asks for them. */
  users: number;
  /** Why it is asked no more: those who are in line for it would each wait for as long. */
  failure: Error | undefined;
  /** Of a connection that ends by itself. */
  onError: (error: Error) => void;
}

/**
 * Locks of PostgreSQL, over all processes that share it. They belong to the session, not to a transaction, which
 * would stay open while the broker is asked.
 *
 * Locks that are free, as nearly all are, are taken on one connection by all: however many users have something done
 * that takes long, nobody waits for a connection. PostgreSQL would grant this connection the same lock twice, so
 * whoever asks must be alone with its keys in this process.
 */
export class AdvisoryLocks {
  readonly #shared: pg.Pool;
  readonly #awaited: pg.Pool;
  #session: Session | undefined;

  constructor(url: string, onError: (error: Error) => void) {
    this.#shared = createPool(url, MAX_SHARED, onError);
    this.#awaited = createPool(url, MAX_AWAITED, onError);
  }

  async run(keys: string[], work: () => Promise<void>): Promise<void> {
    if (!(await this.#ifFree(keys, work))) await this.#whenFree(keys, work);
  }

  async close(): Promise<void> {
    await Promise.all([this.#shared.end(), this.#awaited.end()]);
  }

  /** Asks and does not wait, which would hold up all who share the connection. @returns whether they were free. */
  async #ifFree(keys: string[], work: () => Promise<void>): Promise<boolean> {
    const session = (this.#session ??= this.#open());
    session.users++;
    try {
      const { rows } = await this.#query<{ hash: string; has: boolean }>(session, TRY, keys);
      const taken = rows.filter(({ has }) => has).map(({ hash }) => hash);
      try {
        if (taken.length < rows.length) return false;
        await work();
        return true;
      } finally {
        await this.#query(session, GIVE_BACK, taken);
      }
    } finally {
      session.users--;
      if (session.users === 0) await this.#release(session);
    }
  }

  /** PostgreSQL serves them in their order; whoever only asks does not get ahead of them. */
  async #whenFree(keys: string[], work: () => Promise<void>): Promise<void> {
    const client = await this.#awaited.connect();
    // A connection that may hold a lock is closed, which gives it back.
    let isClean = false;
    try {
      await client.query(WAIT, [keys]);
      try {
        await work();
      } finally {
        await client.query('select pg_advisory_unlock_all()');
        isClean = true;
      }
    } finally {
      client.release(!isClean);
    }
  }

  #open(): Session {
    const client = this.#shared.connect();
    const session: Session = {
      client,
      idle: client,
      users: 0,
      failure: undefined,
      onError: (error) => {
        this.#retire(session, error);
      },
    };
    client.then((opened) => opened.on('error', session.onError), session.onError);
    return session;
  }

  async #query<Row extends pg.QueryResultRow>(
    session: Session,
    text: string,
    values: string[],
  ): Promise<pg.QueryResult<Row>> {
    const ask = async () => {
      if (session.failure !== undefined) throw session.failure;
      return (await session.client).query<Row>(text, [values]);
    };
    const answer = session.idle.then(ask, ask);
    session.idle = answer;
    try {
      return await answer;
    } catch (error) {
      this.#retire(session, error as Error);
      throw error;
    }
  }

  /** It may hold locks that nobody knows of, and is closed, but not while others rely on theirs. */
  #retire(session: Session, error: Error): void {
    session.failure ??= error;
    if (this.#session === session) this.#session = undefined;
  }

  async #release(session: Session): Promise<void> {
    if (this.#session === session) this.#session = undefined;
    const client = await session.client.catch(() => undefined);
    client?.off('error', session.onError);
    client?.release(session.failure !== undefined);
  }
}
