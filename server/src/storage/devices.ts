import type { Selectable } from 'kysely';
import type { Database, DeviceTable } from './database.js';

/** The device id of a mailbox that waits for the user's first device. */
export const UNCLAIMED = '';

export type Device = Selectable<DeviceTable>;

/** Which users are provisioned, and the queues of their devices. */
export class DeviceStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async hasUser(userId: string): Promise<boolean> {
    const row = await this.#database
      .selectFrom('users')
      .select('user_id')
      .where('user_id', '=', userId)
      .executeTakeFirst();
    return row !== undefined;
  }

  async listOf(userId: string): Promise<Device[]> {
    return this.#database
      .selectFrom('devices')
      .selectAll()
      .where('user_id', '=', userId)
      .orderBy('id')
      .execute();
  }

  async find(userId: string, deviceId: string): Promise<Device | undefined> {
    return this.#database
      .selectFrom('devices')
      .selectAll()
      .where('user_id', '=', userId)
      .where('device_id', '=', deviceId)
      .executeTakeFirst();
  }

  /** Whoever comes second, of two at once, gets the first one's row. */
  async findOrAdd(
    userId: string,
    deviceId: string,
    makeQueues: () => { mail: string; live: string },
    now: number,
  ): Promise<Device> {
    const known = await this.find(userId, deviceId);
    if (known !== undefined) return known;
    const queues = makeQueues();
    await this.#database.transaction().execute(async (transaction) => {
      await transaction
        .insertInto('users')
        .values({ user_id: userId, created_at: now })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
      await transaction
        .insertInto('devices')
        .values({
          user_id: userId,
          device_id: deviceId,
          queue: queues.mail,
          live_queue: queues.live,
          session_id: null,
          installation_id: null,
          created_at: now,
          last_seen_at: null,
        })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    });
    const added = await this.find(userId, deviceId);
    if (added === undefined) throw new Error('A device was removed while it was being added.');
    return added;
  }

  /** Gives the mailbox that waited for a first device to this one. False when there is none. */
  async claim(userId: string, deviceId: string): Promise<boolean> {
    const result = await this.#database
      .updateTable('devices')
      .set({ device_id: deviceId })
      .where('user_id', '=', userId)
      .where('device_id', '=', UNCLAIMED)
      // Another request of the same device may have come first.
      .where((eb) =>
        eb.not(
          eb.exists(
            eb
              .selectFrom('devices')
              .select('id')
              .where('user_id', '=', userId)
              .where('device_id', '=', deviceId),
          ),
        ),
      )
      .executeTakeFirst();
    return result.numUpdatedRows > 0n;
  }

  /**
   * Makes `next` the device's session, of this installation; only if `expected` still is it, when that is
   * given.
   * @returns false when another session came first, or the device was removed.
   */
  async setSession(
    device: Device,
    next: string,
    installationId: string | undefined,
    expected: string | undefined,
    now: number,
  ): Promise<boolean> {
    let update = this.#database
      .updateTable('devices')
      .set({ session_id: next, installation_id: installationId ?? null, last_seen_at: now })
      .where('id', '=', device.id);
    if (expected !== undefined) update = update.where('session_id', '=', expected);
    const result = await update.executeTakeFirst();
    return result.numUpdatedRows > 0n;
  }

  /** Forgets the user and these devices; others, added since they were listed, keep the user known. */
  async remove(userId: string, devices: Device[]): Promise<void> {
    await this.#database.transaction().execute(async (transaction) => {
      for (const { id } of devices) {
        await transaction.deleteFrom('devices').where('id', '=', id).execute();
      }
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
