import { pushSchema, type Push, type Recipient } from '@warren/protocol';
import { sql, type Kysely } from 'kysely';
import { inList, type Database } from './database.js';
import type { Schema } from './schema.js';
import { fromStored, toStored } from './ids.js';
import { inLockOrder } from './lock-order.js';
import type { OutboxStore } from './outbox.js';
import { PORTION, whileThereIsMore } from './portions.js';
import { PushDeviceStore, type PushDevice } from './push-devices.js';
import type { PushAddress } from './pushes.js';
import { setUnpushed } from './unpushed.js';

/** A message of which those who do not handle it in time get a push. Times are milliseconds since 1970. */
export interface PushedMessage {
  id: string;
  type: string;
  /** A list without its entries. */
  target: Recipient | { users: number };
  from: string | undefined;
  push: Push;
  createdAt: number;
  /** When it stops waiting. */
  expiresAt: number;
}

/** Somebody who has not acked in time. */
export interface Due {
  user: string;
  /** Whether a copy of it waits for the user. */
  hasCopy: boolean;
  devices: PushDevice[];
}

export interface Decision {
  user: string;
  /** Those that get a push. */
  devices: PushDevice[];
  /** When none does, and the sender is to be told: why. */
  failureReason?: string;
}

/** SQLite takes 32,766 parameters in one statement. */
const ROWS = 1000;

/** Who gets a push, and whether it has been put into its provider's queue. */
export class PushDecisionStore {
  readonly #database: Database;
  readonly #outbox: OutboxStore;

  constructor(database: Database, outbox: OutboxStore) {
    this.#database = database;
    this.#outbox = outbox;
  }

  async find(id: string): Promise<PushedMessage | undefined> {
    const row = await this.#database
      .selectFrom('messages')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirst();
    if (row?.push == null) return undefined;
    return {
      id,
      type: row.type,
      target: JSON.parse(row.target) as PushedMessage['target'],
      from: row.from_user === null ? undefined : fromStored(row.from_user),
      push: pushSchema.parse(JSON.parse(row.push)),
      createdAt: row.created_at,
      expiresAt: row.expires_at,
    };
  }

  /** The broker says that nobody has a copy: whoever would wait for an ack is due for a push now. */
  async hasten(id: string, now: number): Promise<void> {
    await this.#database
      .updateTable('messages')
      .set({ push_at: now })
      .where('id', '=', id)
      .where('push_at', '>', now)
      .execute();
    let after = '';
    await whileThereIsMore(async () => {
      const rows = await this.#database
        .selectFrom('recipients')
        .select('user_id')
        .where('message_id', '=', id)
        .where('user_id', '>', after)
        .orderBy('user_id')
        .limit(PORTION)
        .execute();
      const users = rows.map(({ user_id: user }) => user);
      await this.#database
        .updateTable('recipients')
        .set({
          has_copy: 0,
          push_at: sql<number>`case when push_at > ${now} then cast(${now} as bigint) else push_at end`,
        })
        .where(
          inLockOrder(
            this.#database,
            sql`message_id = ${id} and user_id in ${inList(this.#database, users)}`,
          ),
        )
        .execute();
      after = users.at(-1) ?? '';
      return rows.length === PORTION;
    });
  }

  /**
   * Decides for those who are due, some at a time. Who has acked, or whose message has ended otherwise, is
   * not asked about: the statement that takes them tells which those are, and no ack comes in between.
   * @returns whether there were any.
   */
  async decide(
    id: string,
    { now, limit }: { now: number; limit: number },
    decide: (due: Due) => Decision,
  ): Promise<boolean> {
    return this.#database.transaction().execute(async (transaction) => {
      const due = transaction
        .selectFrom('recipients')
        .select('user_id')
        .where('message_id', '=', id)
        .where('push_at', '<=', now)
        .orderBy('user_id')
        .limit(limit);
      const rows = await transaction
        .updateTable('recipients')
        .set({ push_at: null })
        .where('push_at', '<=', now)
        .where(
          inLockOrder(
            transaction,
            sql`message_id = ${id} and push_at <= ${now} and user_id in (${due})`,
          ),
        )
        .returning(['user_id', 'outcome', 'deadline', 'has_copy'])
        .execute();
      const open = rows.filter(
        ({ outcome, deadline }) => outcome === 'queued' && deadline !== null,
      );
      if (open.length > 0) {
        const decisions = (await duesOf(transaction, open)).map(decide);
        await this.#addPushes(transaction, id, decisions);
        await this.#noteFailures(transaction, id, decisions, now);
      }
      return rows.length > 0;
    });
  }

  /** Decided, and not yet known to be in the queue of their provider. */
  async listNew(id: string, limit: number): Promise<(PushAddress & { provider: string })[]> {
    const rows = await this.#database
      .selectFrom('pushes')
      .select(['user_id', 'device_id', 'provider'])
      .where('message_id', '=', id)
      .where('state', '=', 'new')
      .orderBy('user_id')
      .limit(limit)
      .execute();
    return rows.map((row) => ({
      user: fromStored(row.user_id),
      device: fromStored(row.device_id),
      provider: row.provider,
    }));
  }

  /** When the next of the message's recipients is due; undefined when none is left. */
  async nextDue(id: string): Promise<number | undefined> {
    const row = await this.#database
      .selectFrom('recipients')
      .select(({ fn }) => fn.min('push_at').as('at'))
      .where('message_id', '=', id)
      .where('push_at', 'is not', null)
      .executeTakeFirst();
    const at = row?.at ?? null;
    await this.#database
      .updateTable('messages')
      .set({ push_at: at })
      .where('id', '=', id)
      .execute();
    return at ?? undefined;
  }

  /**
   * Messages for which all should have been decided `graceMs` ago: their jobs are lost. Each is told to one
   * process, and again when that has not helped.
   */
  async claimOverdue(
    now: number,
    { graceMs, limit }: { graceMs: number; limit: number },
  ): Promise<string[]> {
    const overdue = this.#database
      .selectFrom('messages')
      .select('id')
      .where('push_at', '<', now - graceMs)
      .where('is_confirmed', '=', 1)
      .limit(limit);
    const rows = await this.#database
      .updateTable('messages')
      .set({ push_at: now })
      .where('id', 'in', overdue)
      .where('push_at', '<', now - graceMs)
      .returning('id')
      .execute();
    return rows.map(({ id }) => id);
  }

  async #addPushes(transaction: Kysely<Schema>, id: string, decisions: Decision[]): Promise<void> {
    const rows = decisions.flatMap(({ devices }) =>
      devices.map(({ userId, deviceId, provider }) => ({
        message_id: id,
        user_id: toStored(userId),
        device_id: toStored(deviceId),
        provider,
        state: 'new',
        reason: null,
        owner: null,
      })),
    );
    for (let start = 0; start < rows.length; start += ROWS) {
      await transaction
        .insertInto('pushes')
        .values(rows.slice(start, start + ROWS))
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
  }

  async #noteFailures(
    transaction: Kysely<Schema>,
    id: string,
    decisions: Decision[],
    now: number,
  ): Promise<void> {
    const change = { transaction, outbox: this.#outbox };
    const reasons = new Set(decisions.flatMap(({ failureReason }) => failureReason ?? []));
    for (const reason of reasons) {
      const users = decisions
        .filter(({ failureReason }) => failureReason === reason)
        .map(({ user }) => toStored(user));
      const failure = { id, outcome: 'no_push_device', reason, at: now } as const;
      await setUnpushed(change, failure, sql`user_id in ${inList(transaction, users)}`);
    }
  }
}

async function duesOf(
  transaction: Kysely<Schema>,
  rows: { user_id: string; has_copy: number }[],
): Promise<Due[]> {
  const dues = new Map<string, Due>();
  for (const row of rows) {
    const user = fromStored(row.user_id);
    dues.set(user, { user, hasCopy: row.has_copy === 1, devices: [] });
  }
  for (const device of await new PushDeviceStore(transaction).listOfAll([...dues.keys()])) {
    dues.get(device.userId)?.devices.push(device);
  }
  return [...dues.values()];
}
