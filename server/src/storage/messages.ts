import {
  messageOutcomeSchema,
  type MessageOutcome,
  type Outcome,
  type Recipient,
} from '@warren/protocol';
import { sql, type Kysely, type RawBuilder } from 'kysely';
import { inList, type Database, type Schema } from './database.js';
import { fromStored, toStored } from './ids.js';
import type { News, OutboxStore } from './outbox.js';

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
}

export interface KnownMessage {
  id: string;
  type: string;
  fingerprint: string;
  isConfirmed: boolean;
  createdAt: number;
}

export interface RecipientState {
  userId: string;
  outcome: MessageOutcome;
  outcomeAt: number;
  deliveredAt: number | null;
  readAt: number | null;
}

/** Why a mailbox will not hand a message on. */
export type Failure = Extract<
  MessageOutcome,
  'expired' | 'overflowed' | 'rejected' | 'revoked' | 'dropped'
>;

/** Tracked messages and what becomes of them; every change is told in the same transaction. */
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

  /**
   * Follows a message from now on.
   * @param outcomes of each recipient, if the broker confirms it.
   * @returns the message of this id that is followed already, whoever has sent it; else undefined.
   */
  async begin(
    message: TrackedMessage,
    outcomes: { user: string; outcome: Outcome }[],
  ): Promise<KnownMessage | undefined> {
    const { id, createdAt, deadline } = message;
    const isNew = await this.#database.transaction().execute(async (transaction) => {
      const { numInsertedOrUpdatedRows } = await transaction
        .insertInto('messages')
        .values({
          id,
          fingerprint: message.fingerprint,
          type: message.type,
          target: JSON.stringify(message.target),
          queue: message.queue,
          is_confirmed: 0,
          created_at: createdAt,
          expires_at: message.expiresAt,
        })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst();
      if (numInsertedOrUpdatedRows !== 1n) return false;
      for (const kind of ['queued', 'unprovisioned', 'offline'] as const) {
        const users = outcomes.filter(({ outcome }) => outcome === kind).map(({ user }) => user);
        if (users.length === 0) continue;
        const until = kind === 'queued' ? deadline : null;
        await sql`
          insert into recipients (message_id, user_id, outcome, outcome_at, deadline)
          select cast(${id} as text), listed.*, cast(${kind} as text),
            cast(${createdAt} as bigint), cast(${until} as bigint)
          from ${inList(this.#database, users.map(toStored))} as listed
        `.execute(transaction);
        if (kind !== 'queued') await this.#tell(transaction, message, users, kind, createdAt);
      }
      return true;
    });
    return isNew ? undefined : this.find(id);
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
    await this.#database.transaction().execute(async (transaction) => {
      const { numDeletedRows } = await transaction
        .deleteFrom('messages')
        .where('id', '=', id)
        .where('is_confirmed', '=', 0)
        .executeTakeFirst();
      if (numDeletedRows === 0n) return;
      await transaction.deleteFrom('recipients').where('message_id', '=', id).execute();
    });
  }

  /** The broker says so of those that are still open. */
  async settle(id: string, outcome: MessageOutcome, now: number): Promise<void> {
    await this.#end(now, outcome, sql`message_id = ${id}`);
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
    }));
  }

  /** The user's client has handled these. Those that have ended keep their outcome. */
  async setDelivered(userId: string, ids: string[], now: number): Promise<void> {
    if (ids.length === 0) return;
    const listed = inList(this.#database, ids);
    await this.#end(
      now,
      'delivered',
      sql`user_id = ${toStored(userId)} and message_id in ${listed}`,
    );
    await this.#database
      .updateTable('recipients')
      .set({ delivered_at: now })
      .where('user_id', '=', toStored(userId))
      .where('message_id', 'in', listed)
      .where('deadline', 'is', null)
      .where('delivered_at', 'is', null)
      .execute();
  }

  /** The user has read these. */
  async setRead(userId: string, ids: string[], now: number): Promise<void> {
    if (ids.length === 0) return;
    await this.setDelivered(userId, ids, now);
    await this.#database.transaction().execute(async (transaction) => {
      const rows = await transaction
        .updateTable('recipients')
        .set({
          read_at: now,
          outcome: sql<string>`case when outcome = 'delivered' then 'read' else outcome end`,
          outcome_at: sql<number>`case when outcome = 'delivered' then cast(${now} as bigint) else outcome_at end`,
        })
        .where('user_id', '=', toStored(userId))
        .where('message_id', 'in', inList(this.#database, ids))
        .where('read_at', 'is', null)
        .returning(['message_id', 'user_id', 'outcome'])
        .execute();
      const changed = rows.filter(({ outcome }) => outcome === 'read');
      await this.#tellRows(transaction, changed, 'read', now);
    });
  }

  /**
   * A message will not be handled out of this mailbox. It ends when no other mailbox that its recipient
   * had when it was sent can still hand it on.
   */
  async failCopy(
    id: string,
    userId: string,
    queue: string,
    reason: Failure,
    now: number,
  ): Promise<void> {
    await this.#database
      .insertInto('failed_copies')
      .values({ message_id: id, queue })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await this.#endHopeless(userId, [id], reason, now);
  }

  /** A mailbox is gone, and with it all that was sent there before. */
  async failMailbox(userId: string, queue: string, reason: Failure, now: number): Promise<void> {
    const rows = await this.#database
      .selectFrom('recipients')
      .innerJoin('messages', 'messages.id', 'recipients.message_id')
      .select('messages.id')
      .where('recipients.user_id', '=', toStored(userId))
      .where('recipients.deadline', 'is not', null)
      .where('messages.created_at', '<=', now)
      .execute();
    const ids = rows.map(({ id }) => id);
    if (ids.length === 0) return;
    const listed = inList(this.#database, ids);
    await sql`
      insert into failed_copies (message_id, queue)
      select listed.*, cast(${queue} as text) from ${listed} as listed where true
      on conflict do nothing
    `.execute(this.#database);
    await this.#endHopeless(userId, ids, reason, now);
  }

  /** Those of whom there was no word in time. @returns how many. */
  async expire(now: number, limit: number): Promise<number> {
    const due = await this.#database
      .selectFrom('recipients')
      .select('message_id')
      .where('deadline', '<', now)
      .orderBy('deadline')
      .limit(limit)
      .execute();
    const ids = [...new Set(due.map((row) => row.message_id))];
    if (ids.length === 0) return 0;
    return this.#end(
      now,
      'unconfirmed',
      sql`message_id in ${inList(this.#database, ids)} and deadline < ${now}`,
    );
  }

  /** Forgets messages whose time was over so long ago. */
  async removeOld(before: number): Promise<void> {
    await this.#database.transaction().execute(async (transaction) => {
      const old = transaction.selectFrom('messages').select('id').where('expires_at', '<', before);
      await transaction.deleteFrom('failed_copies').where('message_id', 'in', old).execute();
      await transaction.deleteFrom('recipients').where('message_id', 'in', old).execute();
      await transaction.deleteFrom('messages').where('expires_at', '<', before).execute();
    });
  }

  async #endHopeless(userId: string, ids: string[], reason: Failure, now: number): Promise<void> {
    await this.#end(
      now,
      reason,
      sql`user_id = ${toStored(userId)} and message_id in ${inList(this.#database, ids)}
        and not exists (
          select 1 from devices join messages on messages.id = recipients.message_id
          where devices.user_id = recipients.user_id
            and devices.ended_at is null
            and devices.created_at <= messages.created_at
            and (messages.queue is null or messages.queue = devices.queue)
            and not exists (
              select 1 from failed_copies
              where failed_copies.message_id = recipients.message_id
                and failed_copies.queue = devices.queue
            )
        )`,
    );
  }

  /** Ends those of the chosen recipients that are open, and tells of it. @returns how many. */
  async #end(now: number, outcome: MessageOutcome, chosen: RawBuilder<boolean>): Promise<number> {
    return this.#database.transaction().execute(async (transaction) => {
      const rows = await transaction
        .updateTable('recipients')
        .set({
          outcome,
          outcome_at: now,
          deadline: null,
          ...(outcome === 'delivered' && { delivered_at: now }),
        })
        .where('deadline', 'is not', null)
        .where(chosen)
        .returning(['message_id', 'user_id'])
        .execute();
      await this.#tellRows(transaction, rows, outcome, now);
      return rows.length;
    });
  }

  async #tellRows(
    transaction: Kysely<Schema>,
    rows: { message_id: string; user_id: string }[],
    outcome: MessageOutcome,
    now: number,
  ): Promise<void> {
    if (rows.length === 0) return;
    const ids = [...new Set(rows.map((row) => row.message_id))];
    const messages = await transaction
      .selectFrom('messages')
      .select(['id', 'type'])
      .where('id', 'in', inList(this.#database, ids))
      .execute();
    for (const message of messages) {
      const users = rows
        .filter((row) => row.message_id === message.id)
        .map((row) => fromStored(row.user_id));
      await this.#tell(transaction, message, users, outcome, now);
    }
  }

  async #tell(
    transaction: Kysely<Schema>,
    { id, type }: { id: string; type: string },
    users: string[],
    outcome: MessageOutcome,
    at: number,
  ): Promise<void> {
    const event =
      outcome === 'delivered' || outcome === 'read'
        ? (`message.${outcome}` as const)
        : ('message.failed' as const);
    const news = users.map((user): News => ({ event, at, user, messageId: id, type, outcome }));
    await this.#outbox.add(news, transaction);
  }
}
