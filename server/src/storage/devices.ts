import { sql, type Selectable } from 'kysely';
import { inList, type Database } from './database.js';
import type { DeviceTable, MailboxType } from './schema.js';
import { fromStored, toStored } from './ids.js';
import { PORTION, whileThereIsMore } from './portions.js';

/** The device id of a mailbox that waits for the user's first device. */
export const UNCLAIMED = '';

export type Device = Selectable<DeviceTable>;

/** Where new mail for a device goes. */
export const inboxOf = ({ queue, next_queue: next }: Device): string => next ?? queue;

/** All mailboxes that may hold mail for a device: two while one takes the other's place. */
export const mailboxesOf = ({ queue, next_queue: next }: Device): string[] =>
  next === null ? [queue] : [queue, next];

/** All queues of a device, those included that are still to be deleted. */
export const queuesOf = (device: Device): string[] => [
  ...mailboxesOf(device),
  ...(device.retired_queue === null ? [] : [device.retired_queue]),
  device.live_queue,
];

/** The queues of a new device. */
export interface NewQueues {
  mail: string;
  type: MailboxType;
  live: string;
}

/** A session as it is granted or renewed. Times are milliseconds since 1970. */
export interface SessionRecord {
  sessionId: string;
  installationId: string | undefined;
  /** As the client says; what it leaves out stays as it was. */
  name: string | undefined;
  platform: string | undefined;
  isPassing: boolean;
  now: number;
  expiresAt: number;
}

/** Which users are provisioned, and the queues of their devices. */
export class DeviceStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async hasUser(userId: string): Promise<boolean> {
    return (await this.userSince(userId)) !== undefined;
  }

  /** Since when a user is known, in milliseconds since 1970; undefined for one who is not. */
  async userSince(userId: string): Promise<number | undefined> {
    const row = await this.#database
      .selectFrom('users')
      .select('created_at')
      .where('user_id', '=', toStored(userId))
      .executeTakeFirst();
    return row?.created_at;
  }

  /** Those of these who are known. */
  async findUsers(userIds: string[]): Promise<Set<string>> {
    const rows = await this.#database
      .selectFrom('users')
      .select('user_id')
      .where('user_id', 'in', inList(this.#database, userIds.map(toStored)))
      .execute();
    return new Set(rows.map((row) => fromStored(row.user_id)));
  }

  /** Everybody who is known. */
  async listUsers(): Promise<string[]> {
    const all: string[] = [];
    let after = '';
    await whileThereIsMore(async () => {
      const rows = await this.#database
        .selectFrom('users')
        .select('user_id')
        .where('user_id', '>', after)
        .orderBy('user_id')
        .limit(PORTION)
        .execute();
      for (const row of rows) all.push(fromStored(row.user_id));
      after = rows.at(-1)?.user_id ?? '';
      return rows.length === PORTION;
    });
    return all;
  }

  async listOf(userId: string): Promise<Device[]> {
    const rows = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where('user_id', '=', toStored(userId))
      .orderBy('id')
      .execute();
    return rows.map(toDevice);
  }

  async find(userId: string, deviceId: string): Promise<Device | undefined> {
    const row = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where('user_id', '=', toStored(userId))
      .where('device_id', '=', toStored(deviceId))
      .executeTakeFirst();
    return row && toDevice(row);
  }

  /** By one of its mailboxes. */
  async findByQueue(queue: string): Promise<Device | undefined> {
    const row = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where((eb) => eb.or([eb('queue', '=', queue), eb('next_queue', '=', queue)]))
      .executeTakeFirst();
    return row && toDevice(row);
  }

  /** By the mailboxes that their sessions are granted on. */
  async listByQueues(queues: string[]): Promise<Device[]> {
    if (queues.length === 0) return [];
    const rows = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where('queue', 'in', inList(this.#database, queues))
      .execute();
    return rows.map(toDevice);
  }

  /**
   * Makes the user known, too. A device that comes back after its mailbox had expired goes on being the one
   * that it was, and has missed something.
   */
  async add(userId: string, deviceId: string, queues: NewQueues, now: number): Promise<Device> {
    return this.#database.transaction().execute(async (transaction) => {
      const past = await transaction
        .selectFrom('expired_devices')
        .selectAll()
        .where('user_id', '=', toStored(userId))
        .orderBy('created_at')
        .execute();
      const same = past.find((device) => device.device_id === toStored(deviceId));
      await transaction
        .insertInto('users')
        .values({ user_id: toStored(userId), created_at: past[0]?.created_at ?? now })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
      const row = await transaction
        .insertInto('devices')
        .values({
          user_id: toStored(userId),
          device_id: toStored(deviceId),
          queue: queues.mail,
          mailbox_type: queues.type,
          live_queue: queues.live,
          session_id: null,
          installation_id: null,
          created_at: same?.created_at ?? now,
          last_seen_at: same?.last_seen_at ?? null,
          expires_at: null,
          ended_at: null,
          is_bound: 0,
          is_passing: 0,
          missed_at: same === undefined ? null : now,
          missed_since: same?.last_seen_at ?? null,
          missed_for_good: same === undefined ? 0 : 1,
        })
        .returningAll()
        .executeTakeFirstOrThrow();
      if (same !== undefined) {
        await transaction
          .deleteFrom('expired_devices')
          .where('user_id', '=', same.user_id)
          .where('device_id', '=', same.device_id)
          .execute();
      }
      return toDevice(row);
    });
  }

  /** Gives a mailbox that waited for a first device to this one. */
  async claim({ id }: Device, deviceId: string): Promise<void> {
    await this.#database
      .updateTable('devices')
      .set({ device_id: toStored(deviceId) })
      .where('id', '=', id)
      .execute();
  }

  async setSession(
    { id }: Device,
    { sessionId, installationId, name, platform, isPassing, now, expiresAt }: SessionRecord,
  ): Promise<void> {
    await this.#database
      .updateTable('devices')
      .set({
        session_id: sessionId,
        installation_id: installationId ?? null,
        last_seen_at: now,
        expires_at: expiresAt,
        is_bound: 1,
        is_passing: isPassing ? 1 : 0,
        ...(name !== undefined && { name }),
        ...(platform !== undefined && { platform }),
      })
      .where('id', '=', id)
      .execute();
  }

  /** Devices of all these users that are not to go. */
  async listOfAll(userIds: string[]): Promise<Device[]> {
    const rows = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where('user_id', 'in', inList(this.#database, userIds.map(toStored)))
      .where('ended_at', 'is', null)
      .execute();
    return rows.map(toDevice);
  }

  /** Its mailbox is bound to the groups of its user. */
  async setBound({ id }: Device): Promise<void> {
    await this.#database.updateTable('devices').set({ is_bound: 1 }).where('id', '=', id).execute();
  }

  /**
   * A mailbox has lost messages.
   * @param since when the first of them was sent. @param isForGood whether the history may not have them.
   * @returns whether nothing was missing before.
   */
  async setMissed(
    queue: string,
    { now, since, isForGood }: { now: number; since: number; isForGood: boolean },
  ): Promise<boolean> {
    const missedForGood = isForGood ? 1 : 0;
    const { numUpdatedRows } = await this.#database
      .updateTable('devices')
      .set({ missed_at: now, missed_since: since, missed_for_good: missedForGood })
      .where((eb) => eb.or([eb('queue', '=', queue), eb('next_queue', '=', queue)]))
      .where('missed_at', 'is', null)
      .executeTakeFirst();
    if (numUpdatedRows > 0n) return true;
    await this.#database
      .updateTable('devices')
      .set({
        // Always another one: what is recovered is what was missed until then.
        missed_at: sql<number>`case when missed_at >= ${now} then missed_at + 1 else cast(${now} as bigint) end`,
        missed_since: sql<number>`case when missed_since < ${since} then missed_since else cast(${since} as bigint) end`,
        ...(isForGood && { missed_for_good: 1 }),
      })
      .where((eb) => eb.or([eb('queue', '=', queue), eb('next_queue', '=', queue)]))
      .execute();
    return false;
  }

  /** The device has recovered what it had missed until `missedAt`. */
  async clearMissed({ id }: Device, missedAt: number): Promise<void> {
    await this.#database
      .updateTable('devices')
      .set({ missed_at: null, missed_since: null, missed_for_good: 0 })
      .where('id', '=', id)
      .where('missed_at', '=', missedAt)
      .execute();
  }

  /** For devices whose connections ended; the newest time counts. */
  async setSeen(queues: string[], now: number): Promise<void> {
    if (queues.length === 0) return;
    await this.#database
      .updateTable('devices')
      .set({ last_seen_at: now })
      .where('queue', 'in', queues)
      .where((eb) => eb.or([eb('last_seen_at', 'is', null), eb('last_seen_at', '<', now)]))
      .execute();
  }

  /** Devices whose newest token ended before `time`, the longest over first. */
  async listExpired(time: number, limit: number): Promise<Device[]> {
    const rows = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where('expires_at', '<', time)
      .orderBy('expires_at')
      .limit(limit)
      .execute();
    return rows.map(toDevice);
  }

  /** Devices that may be connected, by their number: those whose newest token has not been seen to end. */
  async listWithToken(after: number, limit: number): Promise<Device[]> {
    const rows = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where('id', '>', after)
      .where('expires_at', 'is not', null)
      .orderBy('id')
      .limit(limit)
      .execute();
    return rows.map(toDevice);
  }

  /** Its expiry was enforced; unless it was renewed meanwhile. */
  async clearExpiry({ id, expires_at: expiresAt }: Device): Promise<void> {
    await this.#database
      .updateTable('devices')
      .set({ expires_at: null })
      .where('id', '=', id)
      .where('expires_at', '=', expiresAt)
      .execute();
  }

  /** Devices that their clients forget and that were not seen since `time`, by their number. */
  async listPassing(time: number, after: number, limit: number): Promise<Device[]> {
    const rows = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where('is_passing', '=', 1)
      .where('id', '>', after)
      .where('last_seen_at', '<', time)
      .where('ended_at', 'is', null)
      .orderBy('id')
      .limit(limit)
      .execute();
    return rows.map(toDevice);
  }

  /** Those that go, whose queues may still be there. */
  async listEnded(limit: number): Promise<Device[]> {
    const rows = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where('ended_at', 'is not', null)
      .limit(limit)
      .execute();
    return rows.map(toDevice);
  }

  /** Pages through all devices by their number. */
  async listAfter(id: number, limit: number): Promise<Device[]> {
    const rows = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where('id', '>', id)
      .orderBy('id')
      .limit(limit)
      .execute();
    return rows.map(toDevice);
  }

  async setEnded(devices: Device[], now: number): Promise<void> {
    if (devices.length === 0) return;
    const ids = devices.map(({ id }) => id);
    await this.#database
      .updateTable('devices')
      .set({ ended_at: now })
      .where('id', 'in', ids)
      .execute();
  }

  /** Forgets these devices of one user, and the user when it has no other. */
  async remove(devices: Device[]): Promise<void> {
    const [first] = devices;
    if (first === undefined) return;
    const ids = devices.map(({ id }) => id);
    const userId = toStored(first.user_id);
    await this.#database.transaction().execute(async (transaction) => {
      await transaction.deleteFrom('devices').where('id', 'in', ids).execute();
      await transaction
        .deleteFrom('users')
        .where('user_id', '=', userId)
        .where((eb) =>
          eb.not(eb.exists(eb.selectFrom('devices').select('id').where('user_id', '=', userId))),
        )
        .execute();
    });
  }
}

export const toDevice = (row: Device): Device => ({
  ...row,
  user_id: fromStored(row.user_id),
  device_id: fromStored(row.device_id),
});
