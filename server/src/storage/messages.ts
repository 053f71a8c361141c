import {
  messageOutcomeSchema,
  type MessageOutcome,
  type Outcome,
  type Push,
  type Recipient,
} from '@warren/protocol';
import { sql, type Kysely } from 'kysely';
import { inList, type Database } from './database.js';
import { fromStored, toStored } from './ids.js';
import type { OutboxStore } from './outbox.js';
import { newsOf } from './outcomes.js';
import { oneByOne, PORTION, portions, whileThereIsMore } from './portions.js';
import type { Schema } from './schema.js';

/** A message to be followed. Times are milliseconds since 1970. */
export interface TrackedMessage {
  id: string;
  fingerprint: string;
  type: string;
  /** A list without its entries. */
  target: Recipient | { users: number };
  /** The one mailbox that it goes to; null: those of all devices that the recipients have. */
  queue: string | null;
  createdAt: number;
  expiresAt: number;
  /** When those of whom there is no word are settled. */
  deadline: number;
  /** Who has sent it, where that is a user. */
  from: string | undefined;
  /** What is pushed to whom it was not delivered in time, and when that is. */
  push: { content: Push; at: number } | undefined;
}

export interface KnownMessage {
  id: string;
  type: string;
  fingerprint: string;
  isConfirmed: boolean;
  createdAt: number;
}

export type WholeMessage = Omit<KnownMessage, 'id' | 'fingerprint'> & {
  /** A list without its entries. */
  target: unknown;
  expiresAt: number;
  from: string | undefined;
};

export interface RecipientState {
  userId: string;
  outcome: MessageOutcome;
  outcomeAt: number;
  deliveredAt: number | null;
  readAt: number | null;
  pushedAt: number | null;
  pushFailedAt: number | null;
  /** Of pushes that came to nothing. */
  reason: string | null;
}

/** Tracked messages and their recipients. */
export class MessageStore {
  readonly #database: Database;
  readonly #outbox: OutboxStore;

  constructor(database: Database, outbox: OutboxStore) {
    this.#database = database;
    this.#outbox = outbox;
  }

  async find(id: string): Promise<KnownMessage | undefined> {
    const row = await this.#database
      .selectFrom('messages')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst();
    return (
      row && {
        id,
        type: row.type,
        fingerprint: row.fingerprint,
        isConfirmed: row.is_confirmed === 1,
        createdAt: row.created_at,
      }
    );
  }

  /** For whoever wants to see all of it. */
  async findWhole(id: string): Promise<WholeMessage | undefined> {
    const row = await this.#database
      .selectFrom('messages')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst();
    return (
      row && {
        type: row.type,
        isConfirmed: row.is_confirmed === 1,
        createdAt: row.created_at,
        target: JSON.parse(row.target) as unknown,
        expiresAt: row.expires_at,
        from: row.from_user === null ? undefined : fromStored(row.from_user),
      }
    );
  }

  /**
   * Follows a message from now on. Its recipients are written down some at a time; if that is broken off, the same
   * message goes on with it.
   * @param outcomes of each recipient, if the broker confirms it.
   * @returns the message of this id that is followed already, whoever has sent it; else undefined.
   */
  async begin(
    message: TrackedMessage,
    outcomes: { user: string; outcome: Outcome }[],
  ): Promise<KnownMessage | undefined> {
    const { id, fingerprint } = message;
    const portions = portionsOf(message, outcomes);
    const isNew = await this.#database.transaction().execute(async (transaction) => {
      const pushTimes = portions.flatMap(({ pushAt }) => pushAt ?? []);
      const pushAt = pushTimes.length === 0 ? null : Math.min(...pushTimes);
      if (!(await insertMessage(message, pushAt, transaction))) return false;
      // Most have no more than this one.
      for (const portion of portions.splice(0, 1)) {
        await this.#addRecipients(message, portion, transaction);
      }
      return true;
    });
    const known = isNew ? undefined : await this.find(id);
    if (known?.isConfirmed === true || (known ?? message).fingerprint !== fingerprint) return known;
    try {
      await oneByOne(portions, (portion) =>
        this.#database
          .transaction()
          .execute((transaction) => this.#addRecipients(message, portion, transaction)),
      );
    } catch (error) {
      if (isNew) await this.remove(id).catch(() => undefined);
      throw error;
    }
    return known;
  }

  async confirm(id: string): Promise<void> {
    await this.#database
      .updateTable('messages')
      .set({ is_confirmed: 1 })
      .where('id', '=', id)
      .execute();
  }

  /** It was not sent, unless somebody else has sent it meanwhile. */
  async remove(id: string): Promise<void> {
    const { numDeletedRows } = await this.#database
      .deleteFrom('messages')
      .where('id', '=', id)
      .where('is_confirmed', '=', 0)
      .executeTakeFirst();
    if (numDeletedRows > 0n) await this.#removeOf([id], 'recipients', 'user_id');
  }

  async counts(id: string): Promise<Partial<Record<MessageOutcome, number>>> {
    const rows = await this.#database
      .selectFrom('recipients')
      .select(['outcome', ({ fn }) => fn.countAll<number>().as('count')])
      .where('message_id', '=', id)
      .groupBy('outcome')
      .execute();
    return Object.fromEntries(rows.map(({ outcome, count }) => [outcome, count]));
  }

  async listRecipients(
    id: string,
    { after, limit }: { after?: string | undefined; limit: number },
  ): Promise<RecipientState[]> {
    let query = this.#database
      .selectFrom('recipients')
      .selectAll()
      .where('message_id', '=', id)
      .orderBy('user_id')
      .limit(limit);
    if (after !== undefined) query = query.where('user_id', '>', toStored(after));
    const rows = await query.execute();
    return rows.map((row) => ({
      userId: fromStored(row.user_id),
      outcome: messageOutcomeSchema.parse(row.outcome),
      outcomeAt: row.outcome_at,
      deliveredAt: row.delivered_at,
      readAt: row.read_at,
      pushedAt: row.pushed_at,
      pushFailedAt: row.push_failed_at,
      reason: row.reason,
    }));
  }

  /** Forgets messages whose time was over so long ago. */
  async removeOld(before: number): Promise<void> {
    await whileThereIsMore(async () => {
      const old = await this.#database
        .selectFrom('messages')
        .select('id')
        .where('expires_at', '<', before)
        .limit(PORTION)
        .execute();
      const ids = old.map(({ id }) => id);
      if (ids.length === 0) return false;
      await this.#removeOf(ids, 'failed_copies', 'queue');
      await this.#removeOf(ids, 'pushes', 'user_id');
      await this.#removeOf(ids, 'recipients', 'user_id');
      // Last: should this be broken off, the others are found again.
      await this.#database
        .deleteFrom('messages')
        .where('id', 'in', inList(this.#database, ids))
        .execute();
      return ids.length === PORTION;
    });
  }

  /** What a table has of these messages. @param column which tells the rows of one message apart. */
  async #removeOf(ids: string[], table: string, column: string): Promise<void> {
    const key = sql.raw(`message_id, ${column}`);
    await whileThereIsMore(async () => {
      const { numAffectedRows = 0n } = await sql`
        delete from ${sql.table(table)} where (${key}) in (
          select ${key} from ${sql.table(table)}
          where message_id in ${inList(this.#database, ids)} limit ${PORTION}
        )
      `.execute(this.#database);
      return numAffectedRows >= BigInt(PORTION);
    });
  }

  /** Those that are not written down yet; of a message that was given up meanwhile none is. */
  async #addRecipients(
    message: TrackedMessage,
    { users, outcome, isOpen, hasCopy, pushAt }: RecipientGroup,
    transaction: Kysely<Schema>,
  ): Promise<void> {
    const { id, createdAt, deadline } = message;
    const { rows } = await sql<{ user_id: string }>`
      insert into recipients
        (message_id, user_id, outcome, outcome_at, deadline, has_copy, push_at)
      select cast(${id} as text), listed.*, cast(${outcome} as text),
        cast(${createdAt} as bigint), cast(${isOpen ? deadline : null} as bigint),
        cast(${hasCopy ? 1 : 0} as integer), cast(${pushAt} as bigint)
      from ${inList(this.#database, users.map(toStored))} as listed
      where exists (select 1 from messages where messages.id = ${id})
      on conflict do nothing
      returning user_id
    `.execute(transaction);
    if (isOpen) return;
    const added = rows.map(({ user_id: user }) => fromStored(user));
    await this.#outbox.add(newsOf(message, added, { outcome, at: createdAt }), transaction);
  }
}

/** @returns false when there is one of this id. */
async function insertMessage(
  message: TrackedMessage,
  pushAt: number | null,
  transaction: Kysely<Schema>,
): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await transaction
    .insertInto('messages')
    .values({
      id: message.id,
      fingerprint: message.fingerprint,
      type: message.type,
      target: JSON.stringify(message.target),
      queue: message.queue,
      is_confirmed: 0,
      created_at: message.createdAt,
      expires_at: message.expiresAt,
      from_user: message.from === undefined ? null : toStored(message.from),
      push: message.push === undefined ? null : JSON.stringify(message.push.content),
      push_at: pushAt,
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

interface RecipientGroup {
  users: string[];
  outcome: 'queued' | 'unprovisioned' | 'offline';
  /** Whether it may still change. */
  isOpen: boolean;
  /** Whether a queue gets a copy. */
  hasCopy: boolean;
  pushAt: number | null;
}

/** For whom there is no mailbox, it is over, unless there is a push. */
function portionsOf(
  { from, push, createdAt }: TrackedMessage,
  outcomes: { user: string; outcome: Outcome }[],
): RecipientGroup[] {
  const kinds = ['queued', 'unprovisioned', 'offline'] as const;
  const groups = kinds.flatMap((kind): RecipientGroup[] => {
    const users = outcomes.filter(({ outcome }) => outcome === kind).map(({ user }) => user);
    const hasCopy = kind === 'queued';
    const unpushed = { outcome: kind, isOpen: hasCopy, hasCopy, pushAt: null };
    if (push === undefined) return [{ ...unpushed, users }];
    const pushAt = hasCopy ? push.at : createdAt;
    const others = users.filter((user) => user !== from);
    return [
      // Nobody is to be told by push of what it has said itself.
      { ...unpushed, users: users.filter((user) => user === from) },
      { outcome: 'queued', isOpen: true, hasCopy, pushAt, users: others },
    ];
  });
  return groups.flatMap((group) => portions(group.users).map((users) => ({ ...group, users })));
}
