import {
  messageOutcomeSchema,
  type MessageOutcome,
  type Outcome,
  type Recipient,
} from '@warren/protocol';
import { sql } from 'kysely';
import { inList, type Database } from './database.js';
import { fromStored, toStored } from './ids.js';
import type { OutboxStore } from './outbox.js';
import { newsOf } from './outcomes.js';

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
        if (kind === 'queued') continue;
        await this.#outbox.add(newsOf(message, users, kind, createdAt), transaction);
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

  /** Forgets messages whose time was over so long ago. */
  async removeOld(before: number): Promise<void> {
    await this.#database.transaction().execute(async (transaction) => {
      const old = transaction.selectFrom('messages').select('id').where('expires_at', '<', before);
      await transaction.deleteFrom('failed_copies').where('message_id', 'in', old).execute();
      await transaction.deleteFrom('recipients').where('message_id', 'in', old).execute();
      await transaction.deleteFrom('messages').where('expires_at', '<', before).execute();
    });
  }
}
