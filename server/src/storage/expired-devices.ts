import type { Database } from './database.js';
import type { Device } from './devices.js';
import { toStored } from './ids.js';

/** Of one user, the newest: a client that is a new device each time must not fill the database. */
const MOST = 200;

/** Devices whose mailbox has expired: they are none any more, but may come back, and have missed something then. */
export class ExpiredDeviceStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async remember({ created_at, last_seen_at, ...device }: Device, now: number): Promise<void> {
    await this.#database
      .insertInto('expired_devices')
      .values({
        user_id: toStored(device.user_id),
        device_id: toStored(device.device_id),
        created_at,
        last_seen_at: last_seen_at ?? created_at,
        expired_at: now,
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    await this.#trim(toStored(device.user_id));
  }

  /** Those of one user, or one of them, will not come back. @returns whether there were any. */
  async forget(userId: string, deviceId?: string): Promise<boolean> {
    let query = this.#database
      .deleteFrom('expired_devices')
      .where('user_id', '=', toStored(userId));
    if (deviceId !== undefined) query = query.where('device_id', '=', toStored(deviceId));
    const { numDeletedRows } = await query.executeTakeFirst();
    return numDeletedRows > 0n;
  }

  async #trim(user: string): Promise<void> {
    const oldest = await this.#database
      .selectFrom('expired_devices')
      .select('expired_at')
      .where('user_id', '=', user)
      .orderBy('expired_at', 'desc')
      .offset(MOST - 1)
      .limit(1)
      .executeTakeFirst();
    if (oldest === undefined) return;
    await this.#database
      .deleteFrom('expired_devices')
      .where('user_id', '=', user)
      .where('expired_at', '<', oldest.expired_at)
      .execute();
  }

  /** Forgets those that have expired before `time`, in milliseconds since 1970. */
  async removeOld(time: number): Promise<void> {
    await this.#database.deleteFrom('expired_devices').where('expired_at', '<', time).execute();
  }
}
