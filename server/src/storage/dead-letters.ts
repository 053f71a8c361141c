import type { DeadReason } from '@warren/protocol';
import { sql, type Selectable } from 'kysely';
import { inNumbers, type Database } from './database.js';
import type { DeadLetterTable } from './schema.js';
import { fromStored, toStored } from './ids.js';

export interface DeadLetterEntry {
  /** Milliseconds since 1970. */
  at: number;
  reason: DeadReason;
  queue: string;
  userId: string | undefined;
  deviceId: string | undefined;
  messageId: string | undefined;
  type: string | undefined;
  size: number;
  detail: string | undefined;
  fingerprint: string;
}

export type StoredDeadLetter = DeadLetterEntry & {
  id: number;
  state: DeadLetterState;
  changedAt: number | null;
};

/** `gone`: it is not in the queue any more, for whatever reason. */
export type DeadLetterState = 'waiting' | 'resent' | 'discarded' | 'gone';

export interface DeadLetterFilter {
  reason?: DeadReason | undefined;
  user?: string | undefined;
  type?: string | undefined;
}

const MOST = 200_000;
const PART = 1000;

/** What lies in the queue of dead letters, so that one need not take it all out to find something. */
export class DeadLetterStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async add(entry: DeadLetterEntry): Promise<void> {
    await this.#database
      .insertInto('dead_letters')
      .values({
        at: entry.at,
        reason: entry.reason,
        queue: entry.queue,
        user_id: stored(entry.userId),
        device_id: stored(entry.deviceId),
        message_id: stored(entry.messageId),
        type: stored(entry.type),
        size: entry.size,
        detail: stored(entry.detail),
        fingerprint: entry.fingerprint,
        state: 'waiting',
        changed_at: null,
      })
      .execute();
  }

  /** Those that wait, the newest first. @param after the last one of the page before. */
  async list(
    filter: DeadLetterFilter,
    { after, limit }: { after?: number | undefined; limit: number },
  ): Promise<StoredDeadLetter[]> {
    let query = this.#waiting(filter).selectAll().orderBy('id', 'desc').limit(limit);
    if (after !== undefined) query = query.where('id', '<', after);
    return (await query.execute()).map(toEntry);
  }

  async count(filter: DeadLetterFilter): Promise<number> {
    const { count } = await this.#waiting(filter)
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow();
    return count;
  }

  async listByIds(ids: number[]): Promise<StoredDeadLetter[]> {
    const rows = await this.#database
      .selectFrom('dead_letters')
      .selectAll()
      .where('id', 'in', inNumbers(this.#database, ids))
      .where('state', '=', 'waiting')
      .execute();
    return rows.map(toEntry);
  }

  /** Of one user, whatever was done with them; the newest first. */
  async listOfUser(
    userId: string,
    { since, limit }: { since: number; limit: number },
  ): Promise<StoredDeadLetter[]> {
    const rows = await this.#database
      .selectFrom('dead_letters')
      .selectAll()
      .where('user_id', '=', toStored(userId))
      .where('at', '>=', since)
      .orderBy('at', 'desc')
      .limit(limit)
      .execute();
    return rows.map(toEntry);
  }

  async listOfMessage(messageId: string, limit: number): Promise<StoredDeadLetter[]> {
    const rows = await this.#database
      .selectFrom('dead_letters')
      .selectAll()
      .where('message_id', '=', toStored(messageId))
      .orderBy('id', 'desc')
      .limit(limit)
      .execute();
    return rows.map(toEntry);
  }

  async settle(ids: number[], state: Exclude<DeadLetterState, 'waiting'>): Promise<void> {
    if (ids.length === 0) return;
    await this.#database
      .updateTable('dead_letters')
      .set({ state, changed_at: Date.now() })
      .where('id', 'in', inNumbers(this.#database, ids))
      .execute();
  }

  /** As old, and as many, as the queue's own messages become by its policy, or twice that. */
  async removeOld(before: number): Promise<void> {
    const { last } = await this.#database
      .selectFrom('dead_letters')
      .select(({ fn }) => fn.max('id').as('last'))
      .executeTakeFirstOrThrow();
    const tooMany = ((last as number | null) ?? 0) - MOST;
    for (const isOld of [sql`at < ${before} order by at`, sql`id <= ${tooMany} order by id`]) {
      let removed: bigint;
      do {
        const { numAffectedRows = 0n } = await sql`
          delete from dead_letters where id in (
            select id from dead_letters where ${isOld} limit ${PART}
          )
        `.execute(this.#database);
        removed = numAffectedRows;
      } while (removed === BigInt(PART));
    }
  }

  #waiting({ reason, user, type }: DeadLetterFilter) {
    let query = this.#database.selectFrom('dead_letters').where('state', '=', 'waiting');
    if (reason !== undefined) query = query.where('reason', '=', reason);
    if (user !== undefined) query = query.where('user_id', '=', toStored(user));
    if (type !== undefined) query = query.where('type', '=', toStored(type));
    return query;
  }
}

const stored = (text: string | undefined): string | null =>
  text === undefined ? null : toStored(text);
const read = (text: string | null): string | undefined =>
  text === null ? undefined : fromStored(text);

const toEntry = (row: Selectable<DeadLetterTable>): StoredDeadLetter => ({
  id: row.id,
  at: row.at,
  reason: row.reason as DeadReason,
  queue: row.queue,
  userId: read(row.user_id),
  deviceId: read(row.device_id),
  messageId: read(row.message_id),
  type: read(row.type),
  size: row.size,
  detail: read(row.detail),
  fingerprint: row.fingerprint,
  state: row.state as DeadLetterState,
  changedAt: row.changed_at,
});
