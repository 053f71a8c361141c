import type { DeadReason } from '@warren/protocol';
import type { Kysely, Selectable } from 'kysely';
import { inList, inNumbers, type Database } from './database.js';
import { DeadLetterBounds, WAITING } from './dead-letter-bounds.js';
import { fromStored, toStored } from './ids.js';
import { portions } from './portions.js';
import type { DeadLetterTable, Schema } from './schema.js';

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
  /** The same of one that is handed over twice. */
  fingerprint: string;
}

/** What it says, as it was published. */
export interface DeadLetterContent {
  content: Buffer;
  contentType: string | undefined;
  correlationId: string | undefined;
  /** Whatever the broker has read. */
  headers: Record<string, unknown>;
}

export interface NewDeadLetter {
  entry: DeadLetterEntry;
  content: DeadLetterContent;
  /**
   * Whether it may be here already. Of two that say the same to the same mailbox, without an id, and died in one
   * second, the second one is then taken for the first.
   */
  isRedelivered: boolean;
}

export type StoredDeadLetter = DeadLetterEntry & {
  id: number;
  state: DeadLetterState;
  changedAt: number | null;
};

export type DeadLetterState = 'waiting' | 'resent' | 'discarded';

export interface DeadLetterFilter {
  reason?: DeadReason | undefined;
  user?: string | undefined;
  type?: string | undefined;
}

/** In one statement. */
const ROWS = 50;

/** Messages that were given up, and what was done with them. */
export class DeadLetterStore {
  readonly #database: Database;
  readonly #bounds: DeadLetterBounds;

  constructor(database: Database) {
    this.#database = database;
    this.#bounds = new DeadLetterBounds(database);
  }

  /** @returns those that are new. */
  async add(letters: NewDeadLetter[]): Promise<DeadLetterEntry[]> {
    const redelivered = letters.filter(({ isRedelivered }) => isRedelivered);
    const known = await this.#known(redelivered.map(({ entry }) => entry.fingerprint));
    const added = letters.filter(
      ({ entry, isRedelivered }) => !isRedelivered || !known.has(entry.fingerprint),
    );
    if (added.length === 0) return [];
    await this.#database.transaction().execute(async (transaction) => {
      for (const part of portions(added, ROWS)) await insert(transaction, part);
    });
    const entries = added.map(({ entry }) => entry);
    await this.#bounds.trimWhenDue(entries);
    return entries;
  }

  async #known(fingerprints: string[]): Promise<Set<string>> {
    if (fingerprints.length === 0) return new Set();
    const rows = await this.#database
      .selectFrom('dead_letters')
      .select('fingerprint')
      .where('fingerprint', 'in', inList(this.#database, fingerprints))
      .execute();
    return new Set(rows.map(({ fingerprint }) => fingerprint));
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

  /** As {@link list}, their ids alone. */
  async listIds(filter: DeadLetterFilter, limit: number): Promise<number[]> {
    const rows = await this.#waiting(filter)
      .select('id')
      .orderBy('id', 'desc')
      .limit(limit)
      .execute();
    return rows.map(({ id }) => id);
  }

  /** Those of them that wait, with what they say; the oldest first. */
  async read(ids: number[]): Promise<(StoredDeadLetter & DeadLetterContent)[]> {
    const rows = await this.#database
      .selectFrom('dead_letters')
      .innerJoin('dead_letter_contents', 'dead_letter_contents.id', 'dead_letters.id')
      .selectAll()
      .where('dead_letters.id', 'in', inNumbers(this.#database, ids))
      .where('state', '=', WAITING)
      .orderBy('dead_letters.id')
      .execute();
    return rows.map((row) => ({
      ...toEntry(row),
      content: Buffer.from(row.content),
      contentType: read(row.content_type),
      correlationId: read(row.correlation_id),
      headers: headersFromText(row.headers),
    }));
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

  /** @returns how many of them have waited until now. */
  async settle(ids: number[], state: 'resent' | 'discarded'): Promise<number> {
    if (ids.length === 0) return 0;
    return this.#database.transaction().execute(async (transaction) => {
      const settled = await transaction
        .updateTable('dead_letters')
        .set({ state, changed_at: Date.now() })
        .where('id', 'in', inNumbers(this.#database, ids))
        .where('state', '=', 'waiting')
        .executeTakeFirst();
      await transaction
        .deleteFrom('dead_letter_contents')
        .where('id', 'in', inNumbers(this.#database, ids))
        .execute();
      return Number(settled.numUpdatedRows);
    });
  }

  /** @param before milliseconds since 1970. */
  async removeOld(before: number): Promise<void> {
    await this.#bounds.removeOld(before);
  }

  #waiting({ reason, user, type }: DeadLetterFilter) {
    let query = this.#database.selectFrom('dead_letters').where('state', '=', WAITING);
    if (reason !== undefined) query = query.where('reason', '=', reason);
    if (user !== undefined) query = query.where('user_id', '=', toStored(user));
    if (type !== undefined) query = query.where('type', '=', toStored(type));
    return query;
  }
}

async function insert(transaction: Kysely<Schema>, letters: NewDeadLetter[]): Promise<void> {
  const ids = await transaction
    .insertInto('dead_letters')
    .values(
      letters.map(({ entry }) => ({
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
      })),
    )
    .returning('id')
    .execute();
  // The database may name them in any order, but gives the numbers in that of the rows.
  const inOrder = ids.map(({ id }) => id).sort((a, b) => a - b);
  await transaction
    .insertInto('dead_letter_contents')
    .values(
      letters.map(({ content }, index) => ({
        id: inOrder[index] ?? 0,
        content: content.content,
        content_type: stored(content.contentType),
        correlation_id: stored(content.correlationId),
        headers: headersToText(content.headers),
      })),
    )
    .execute();
}

const stored = (text: string | undefined): string | null =>
  text === undefined ? null : toStored(text);
const read = (text: string | null): string | undefined =>
  text === null ? undefined : fromStored(text);

/** What JSON does not know is bytes: `{ type: 'Buffer', data }`, as they write themselves. */
function headersToText(headers: Record<string, unknown>): string {
  try {
    return JSON.stringify(headers);
  } catch {
    // Tables in tables in tables.
    return '{}';
  }
}

const headersFromText = (text: string): Record<string, unknown> =>
  JSON.parse(text, (_name, value: unknown) => {
    const { type, data } = Object(value) as { type?: unknown; data?: unknown };
    return type === 'Buffer' && Array.isArray(data) ? Buffer.from(data as number[]) : value;
  }) as Record<string, unknown>;

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
