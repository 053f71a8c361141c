import type { MessageOutcome } from '@warren/protocol';
import { sql, type Kysely, type RawBuilder } from 'kysely';
import { inList, inPairs, type Database } from './database.js';
import type { Schema } from './schema.js';
import { fromStored, toStored } from './ids.js';
import type { News, OutboxStore } from './outbox.js';
import { inLockOrder } from './lock-order.js';
import { oneByOne, PORTION, portions, whileThereIsMore } from './portions.js';

/** Why a message will not be handled out of a mailbox. */
export type Failure = Extract<
  MessageOutcome,
  'expired' | 'overflowed' | 'rejected' | 'revoked' | 'dropped' | 'superseded'
>;

/** Those of a push that could not be sent. Not final while a copy waits in a mailbox. */
export type PushFailure = Extract<MessageOutcome, 'push_failed' | 'no_push_device'>;
export const isPushFailure = (outcome: MessageOutcome): outcome is PushFailure =>
  outcome === 'push_failed' || outcome === 'no_push_device';

/** What is told of an outcome. */
export interface Told {
  outcome: MessageOutcome;
  at: number;
  /** Of a push that could not be sent. */
  reason?: string;
  /** Whether a copy still waits that a device may handle. Default: as the outcome says. */
  isWaiting?: boolean;
}

/** What an outcome is to those who listen. */
export function newsOf(
  { id, type }: { id: string; type: string },
  users: string[],
  { outcome, at, reason, isWaiting = false }: Told,
): News[] {
  const event =
    outcome === 'delivered' || outcome === 'read' || outcome === 'pushed'
      ? (`message.${outcome}` as const)
      : isWaiting
        ? ('message.push_failed' as const)
        : ('message.failed' as const);
  const more = reason === undefined ? {} : { reason };
  return users.map((user) => ({ event, at, user, messageId: id, type, outcome, ...more }));
}

/** What becomes of tracked messages; every change is told in the transaction that makes it. */
export class OutcomeStore {
  readonly #database: Database;
  readonly #outbox: OutboxStore;

  constructor(database: Database, outbox: OutboxStore) {
    this.#database = database;
    this.#outbox = outbox;
  }

  /** The broker says so of those that are still open. */
  async settle(id: string, outcome: MessageOutcome, now: number): Promise<void> {
    let after = '';
    await whileThereIsMore(async () => {
      const users = await this.#database
        .selectFrom('recipients')
        .select('user_id')
        .where('message_id', '=', id)
        .where('deadline', 'is not', null)
        .where('user_id', '>', after)
        .orderBy('user_id')
        .limit(PORTION)
        .execute();
      const listed = inList(
        this.#database,
        users.map(({ user_id: user }) => user),
      );
      await this.#end(now, outcome, sql`message_id = ${id} and user_id in ${listed}`);
      after = users.at(-1)?.user_id ?? '';
      return users.length === PORTION;
    });
  }

  /**
   * The user's client has handled these. Those that have ended keep their outcome.
   * @returns those of whom it is news, and when they were sent, in milliseconds since 1970.
   */
  async setDelivered(userId: string, ids: string[], now: number): Promise<Sent[]> {
    if (ids.length === 0) return [];
    const listed = inList(this.#database, ids);
    const delivered = await this.#end(
      now,
      'delivered',
      sql`user_id = ${toStored(userId)} and message_id in ${listed}`,
    );
    await this.#database
      .updateTable('recipients')
      .set({ delivered_at: now })
      .where('delivered_at', 'is', null)
      .where(
        inLockOrder(
          this.#database,
          sql`user_id = ${toStored(userId)} and message_id in ${listed}
            and deadline is null and delivered_at is null`,
        ),
      )
      .execute();
    return delivered;
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
        .where('read_at', 'is', null)
        .where(
          inLockOrder(
            this.#database,
            sql`user_id = ${toStored(userId)} and message_id in ${inList(this.#database, ids)}
              and read_at is null`,
          ),
        )
        .returning(['message_id', 'user_id', 'outcome'])
        .execute();
      const changed = rows.filter(({ outcome }) => outcome === 'read');
      const change = { transaction, outbox: this.#outbox };
      await tellOfChange(change, changed, { outcome: 'read', at: now });
    });
  }

  /**
   * These messages will not be handled out of this mailbox. Each ends when no other mailbox that its recipient
   * had when it was sent can still hand it on.
   */
  async failCopies(
    ids: string[],
    userId: string,
    queue: string,
    reason: Failure,
    now: number,
  ): Promise<void> {
    if (ids.length === 0) return;
    // Of those that nobody follows, there is nothing to remember.
    await sql`
      insert into failed_copies (message_id, queue)
      select id, cast(${queue} as text) from messages where id in ${inList(this.#database, ids)}
      order by id
      on conflict do nothing
    `.execute(this.#database);
    await this.#endHopeless(userId, ids, reason, now);
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
    await oneByOne(portions(rows.map(({ id }) => id)), async (ids) => {
      const listed = inList(this.#database, ids);
      await sql`
        insert into failed_copies (message_id, queue)
        select listed.*, cast(${queue} as text) from ${listed} as listed where true
        on conflict do nothing
      `.execute(this.#database);
      await this.#endHopeless(userId, ids, reason, now);
    });
  }

  /** Some of those of whom there was no word in time. @returns how many. */
  async expire(now: number): Promise<number> {
    const due = await this.#database
      .selectFrom('recipients')
      .select(['message_id', 'user_id'])
      .where('deadline', '<', now)
      .orderBy('deadline')
      .limit(PORTION)
      .execute();
    if (due.length === 0) return 0;
    const listed = inPairs(
      this.#database,
      due.map(({ message_id: id, user_id: user }) => [id, user]),
    );
    const chosen = sql<boolean>`(message_id, user_id) in ${listed} and deadline < ${now}`;
    return (await this.#end(now, 'unconfirmed', chosen)).length;
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
            and (
              ${mayHold(sql`devices.queue`)} and
              (devices.next_alone_since is null or messages.created_at <= devices.next_alone_since)
              or ${mayHold(sql`devices.next_queue`)} and
              messages.created_at >= devices.next_since
            )
        )`,
    );
  }

  /** Ends those of the chosen recipients that are open, and tells of it. @returns one for each. */
  async #end(now: number, outcome: MessageOutcome, chosen: RawBuilder<boolean>): Promise<Sent[]> {
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
        .where(inLockOrder(this.#database, sql`deadline is not null and (${chosen})`))
        .returning(['message_id', 'user_id'])
        .execute();
      const change = { transaction, outbox: this.#outbox };
      const messages = await tellOfChange(change, rows, { outcome, at: now });
      const times = new Map(messages.map(({ id, created_at: sentAt }) => [id, sentAt]));
      return rows.map(({ message_id: id }) => ({ id, sentAt: times.get(id) ?? now }));
    });
  }
}

/** Whether a mailbox of `devices` may have a copy that can still be handed on. */
const mayHold = (queue: RawBuilder<unknown>): RawBuilder<boolean> => sql`(
  ${queue} is not null
  and (messages.queue is null or messages.queue in (devices.queue, devices.next_queue))
  and not exists (
    select 1 from failed_copies
    where failed_copies.message_id = recipients.message_id and failed_copies.queue = ${queue}
  )
)`;

/** A message, and when it was sent, in milliseconds since 1970. */
export interface Sent {
  id: string;
  sentAt: number;
}

export interface Change {
  transaction: Kysely<Schema>;
  outbox: OutboxStore;
}

/** Tells of recipients whose outcome has changed, in the transaction that has changed it. */
export async function tellOfChange(
  { transaction, outbox }: Change,
  rows: { message_id: string; user_id: string }[],
  told: Told,
): Promise<{ id: string; created_at: number }[]> {
  if (rows.length === 0) return [];
  const ids = [...new Set(rows.map((row) => row.message_id))];
  const messages = await transaction
    .selectFrom('messages')
    .select(['id', 'type', 'created_at'])
    .where('id', 'in', inList(transaction, ids))
    .execute();
  for (const message of messages) {
    const users = rows
      .filter((row) => row.message_id === message.id)
      .map((row) => fromStored(row.user_id));
    await outbox.add(newsOf(message, users, told), transaction);
  }
  return messages;
}
