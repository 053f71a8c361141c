import { pushProviderSchema, type PushProviderName } from '@warren/protocol';
import { sql, type Kysely } from 'kysely';
import { inList, inPairs, type Database } from './database.js';
import type { Schema } from './schema.js';
import { fromStored, toStored } from './ids.js';
import { inLockOrder } from './lock-order.js';
import type { OutboxStore } from './outbox.js';
import { tellOfChange } from './outcomes.js';
import { setUnpushed } from './unpushed.js';
import { PushDeviceStore, type PushDevice } from './push-devices.js';

/** To which device of whom. */
export interface PushAddress {
  user: string;
  device: string;
}

/** A push that is still to be sent. */
export interface OpenPush extends PushAddress {
  /** Undefined: its registration is gone. */
  registration: PushDevice | undefined;
}

const OPEN_STATES = ['new', 'handed_over'];

/** A push, and what has become of it so far. */
export interface PushAttempt {
  userId: string;
  deviceId: string;
  provider: PushProviderName;
  state: string;
  reason: string | null;
}

/** What becomes of pushes once they were decided; every change is told in its transaction. */
export class PushStore {
  readonly #database: Database;
  readonly #outbox: OutboxStore;

  constructor(database: Database, outbox: OutboxStore) {
    this.#database = database;
    this.#outbox = outbox;
  }

  /** Those of a message to these users. */
  async listOf(id: string, userIds: string[]): Promise<PushAttempt[]> {
    const rows = await this.#database
      .selectFrom('pushes')
      .select(['user_id', 'device_id', 'provider', 'state', 'reason'])
      .where('message_id', '=', id)
      .where('user_id', 'in', inList(this.#database, userIds.map(toStored)))
      .execute();
    return rows.map((row) => ({
      userId: fromStored(row.user_id),
      deviceId: fromStored(row.device_id),
      provider: pushProviderSchema.parse(row.provider),
      state: row.state,
      reason: row.reason,
    }));
  }

  /** The queue of their provider has them. */
  async setHandedOver(id: string, to: PushAddress[]): Promise<void> {
    await this.#database
      .updateTable('pushes')
      .set({ state: 'handed_over' })
      .where('message_id', '=', id)
      .where('state', '=', 'new')
      .where(this.#among(to))
      .execute();
  }

  /**
   * Of these, those that are still to be sent, and belong to nobody else. The others are over, since their
   * recipient has acked, or cannot any more.
   * @param owner the job that asks; they are its own from now on.
   */
  async claimOpen(
    { id, provider, owner }: { id: string; provider: string; owner: string },
    to: PushAddress[],
  ): Promise<OpenPush[]> {
    const rows = await this.#database
      .updateTable('pushes')
      .set({ owner })
      .where('message_id', '=', id)
      .where('provider', '=', provider)
      .where('state', 'in', OPEN_STATES)
      .where((eb) => eb.or([eb('owner', 'is', null), eb('owner', '=', owner)]))
      .where((eb) =>
        eb.exists(
          eb
            .selectFrom('recipients')
            .select('recipients.user_id')
            .whereRef('recipients.message_id', '=', 'pushes.message_id')
            .whereRef('recipients.user_id', '=', 'pushes.user_id')
            .where('recipients.outcome', 'in', ['queued', 'pushed'])
            .where('recipients.deadline', 'is not', null),
        ),
      )
      .where(this.#among(to))
      .returning(['user_id', 'device_id'])
      .execute();
    const open = rows.map((row) => ({
      user: fromStored(row.user_id),
      device: fromStored(row.device_id),
    }));
    const users = [...new Set(open.map(({ user }) => user))];
    const registrations = await new PushDeviceStore(this.#database).listOfAll(users);
    return open.map((address) => ({
      ...address,
      registration: registrations.find(
        (known) =>
          known.userId === address.user &&
          known.deviceId === address.device &&
          known.provider === provider,
      ),
    }));
  }

  /** The provider has taken them. */
  async setSent(id: string, to: PushAddress[], now: number): Promise<void> {
    if (to.length === 0) return;
    await this.#database.transaction().execute(async (transaction) => {
      const users = await this.#settle(transaction, id, to, { state: 'sent', reason: null });
      const sent = transaction
        .updateTable('recipients')
        .where(
          inLockOrder(
            transaction,
            sql`message_id = ${id} and user_id in ${inList(transaction, users)}`,
          ),
        );
      await sent.set({ pushed_at: now }).where('pushed_at', 'is', null).execute();
      const rows = await sent
        .set({ outcome: 'pushed', outcome_at: now })
        .where('outcome', '=', 'queued')
        .where('deadline', 'is not', null)
        .returning(['message_id', 'user_id'])
        .execute();
      await tellOfChange(this.#change(transaction), rows, { outcome: 'pushed', at: now });
    });
  }

  /** They will not be sent. Those of whose devices none has had one, nor can any more, stay without. */
  async setFailed(
    id: string,
    to: PushAddress[],
    { reason, now }: { reason: string; now: number },
  ): Promise<void> {
    if (to.length === 0) return;
    await this.#database.transaction().execute(async (transaction) => {
      const users = await this.#settle(transaction, id, to, { state: 'failed', reason });
      const chosen = sql<boolean>`user_id in ${inList(transaction, users)}
        and outcome = 'queued'
        and not exists (
          select 1 from pushes
          where pushes.message_id = recipients.message_id
            and pushes.user_id = recipients.user_id
            and pushes.state <> 'failed'
        )`;
      const failure = { id, outcome: 'push_failed', reason, at: now } as const;
      await setUnpushed(this.#change(transaction), failure, chosen);
    });
  }

  /** @returns whose they were, as it is stored. */
  async #settle(
    transaction: Kysely<Schema>,
    id: string,
    to: PushAddress[],
    values: { state: string; reason: string | null },
  ): Promise<string[]> {
    const rows = await transaction
      .updateTable('pushes')
      .set(values)
      .where('message_id', '=', id)
      .where('state', 'in', OPEN_STATES)
      .where(this.#among(to))
      .returning('user_id')
      .execute();
    return [...new Set(rows.map((row) => row.user_id))];
  }

  #among(to: PushAddress[]) {
    const pairs = to.map(({ user, device }): [string, string] => [
      toStored(user),
      toStored(device),
    ]);
    return sql<boolean>`(pushes.user_id, pushes.device_id) in ${inPairs(this.#database, pairs)}`;
  }

  #change(transaction: Kysely<Schema>) {
    return { transaction, outbox: this.#outbox };
  }
}
