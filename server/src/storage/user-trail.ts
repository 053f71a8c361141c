import type { Kysely } from 'kysely';
import { inList, type Database } from './database.js';
import { fromStored, toStored } from './ids.js';
import type { Schema } from './schema.js';

/** A tracked message that went to a user. Times are milliseconds since 1970. */
export interface TrackedMessage {
  id: string;
  type: string;
  from: string | undefined;
  sentAt: number;
  outcome: string;
  outcomeAt: number;
  deliveredAt: number | null;
  readAt: number | null;
  pushedAt: number | null;
}

/** By then all servers have heard that the connections of a user who was erased are gone, in milliseconds. */
const LATE_MS = 30_000;
/** For so long it is looked for: not once a minute for a day, for each of those who were erased. */
const LOOKED_FOR_MS = 5 * 60 * 1000;
/** So long senders can still ask what became of their messages to such a user, in milliseconds. */
const OUTCOMES_MS = 24 * 60 * 60 * 1000;
/** What is written of them as they go. */
const LATE_KINDS = ['disconnected', 'session_ended'];

/** What is written down of users besides their devices, groups and stored messages. */
export class UserTrail {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Erases it; {@link eraseLate} erases what is written a moment later and, after a day, what became of messages to
   * the user, which their senders may ask for until then.
   * @param isKnown whether there was anything else of the user. Of somebody who never was nothing is written down.
   * @returns whether there was any.
   */
  async erase(userId: string, now: number, isKnown: boolean): Promise<boolean> {
    const user = toStored(userId);
    return this.#database.transaction().execute(async (transaction) => {
      await transaction
        .deleteFrom('pushes')
        .where('user_id', '=', user)
        .where('message_id', 'in', (eb) =>
          eb.selectFrom('recipients').select('message_id').where('user_id', '=', user),
        )
        .execute();
      await transaction
        .updateTable('messages')
        .set({ from_user: null })
        .where('from_user', '=', user)
        .execute();
      const letters = await transaction
        .deleteFrom('dead_letters')
        .where('user_id', '=', user)
        .executeTakeFirst();
      const happenings = await transaction
        .deleteFrom('timeline')
        .where('user_id', '=', user)
        .returning('kind')
        .execute();
      // What comes of having been erased a moment ago is nothing to be erased again.
      const told = happenings.filter(({ kind }) => !LATE_KINDS.includes(kind));
      await erasePresence(user, now, transaction);
      const hadAny = Number(letters.numDeletedRows) + told.length > 0;
      if (isKnown || hadAny || (await hasMessages(user, transaction))) {
        await transaction
          .insertInto('erasures')
          .values({ user_id: user, at: now })
          .onConflict((conflict) => conflict.column('user_id').doUpdateSet({ at: now }))
          .execute();
      }
      return hadAny;
    });
  }

  /** What was written of users while they were erased, and what their messages' senders have had a day to ask for. */
  async eraseLate(now: number): Promise<void> {
    const due = await this.#database
      .selectFrom('erasures')
      .selectAll()
      .where((eb) =>
        eb.or([
          eb.between('at', now - LATE_MS - LOOKED_FOR_MS, now - LATE_MS),
          eb('at', '<', now - OUTCOMES_MS),
        ]),
      )
      .execute();
    for (const { user_id: user, at } of due) {
      await this.#database.transaction().execute(async (transaction) => {
        await transaction
          .deleteFrom('timeline')
          .where('user_id', '=', user)
          .where((eb) =>
            eb.or([
              // Heard of late, or by another server.
              eb('at', '<=', at),
              eb.and([eb('kind', 'in', LATE_KINDS), eb('at', '<=', at + LATE_MS)]),
            ]),
          )
          .execute();
        await erasePresence(user, at + LATE_MS, transaction);
        if (at >= now - OUTCOMES_MS) return;
        await this.#eraseMessages(user, at, transaction);
        await transaction
          .deleteFrom('erasures')
          .where('user_id', '=', user)
          .where('at', '=', at)
          .execute();
      });
    }
  }

  /** In the order of their ids. @param after the last one of the page before. */
  async listMessages(userId: string, after: string, limit: number): Promise<TrackedMessage[]> {
    const rows = await this.#database
      .selectFrom('recipients')
      .innerJoin('messages', 'messages.id', 'recipients.message_id')
      .select(['messages.id', 'messages.type', 'messages.from_user', 'messages.created_at'])
      .select(['outcome', 'outcome_at', 'delivered_at', 'read_at', 'pushed_at'])
      .where('recipients.user_id', '=', toStored(userId))
      .where('messages.id', '>', after)
      .orderBy('messages.id')
      .limit(limit)
      .execute();
    return rows.map((row) => ({
      id: row.id,
      type: row.type,
      from: row.from_user === null ? undefined : fromStored(row.from_user),
      sentAt: row.created_at,
      outcome: row.outcome,
      outcomeAt: row.outcome_at,
      deliveredAt: row.delivered_at,
      readAt: row.read_at,
      pushedAt: row.pushed_at,
    }));
  }

  /** Messages that went to others as well stay theirs. */
  async #eraseMessages(user: string, before: number, transaction: Kysely<Schema>): Promise<void> {
    const rows = await transaction
      .deleteFrom('recipients')
      .where('user_id', '=', user)
      .where('message_id', 'in', (eb) =>
        eb.selectFrom('messages').select('id').where('created_at', '<=', before),
      )
      .returning('message_id')
      .execute();
    const ids = inList(
      this.#database,
      rows.map(({ message_id: id }) => id),
    );
    await transaction
      .deleteFrom('messages')
      .where('id', 'in', ids)
      .where((eb) =>
        eb.not(
          eb.exists(
            eb
              .selectFrom('recipients')
              .select('message_id')
              .whereRef('recipients.message_id', '=', 'messages.id'),
          ),
        ),
      )
      .execute();
  }
}

async function hasMessages(user: string, transaction: Kysely<Schema>): Promise<boolean> {
  const row = await transaction
    .selectFrom('recipients')
    .select('message_id')
    .where('user_id', '=', user)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** Of somebody who is online it is still to be told that they went. */
async function erasePresence(
  user: string,
  until: number,
  transaction: Kysely<Schema>,
): Promise<void> {
  await transaction
    .deleteFrom('presence')
    .where('user_id', '=', user)
    .where('is_online', '=', 0)
    .where('changed_at', '<=', until)
    .execute();
}
