import type { Database } from './database.js';
import { toDevice, type Device } from './devices.js';
import type { MailboxType } from './schema.js';

/** How far the replacement of mailboxes has come. One step at a time, each by whoever holds the user's lock. */
export class MailboxStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Of a mailbox that is not there yet. */
  async setType(device: Device, type: MailboxType): Promise<Device> {
    await this.#database
      .updateTable('devices')
      .set({ mailbox_type: type })
      .where('id', '=', device.id)
      .execute();
    return { ...device, mailbox_type: type };
  }

  /** Another mailbox is to take over, which may have mail from now on. */
  async plan(
    { id }: Device,
    { queue, type, now }: { queue: string; type: MailboxType; now: number },
  ): Promise<Device> {
    const row = await this.#database
      .updateTable('devices')
      .set({ next_queue: queue, next_type: type, next_since: now, next_alone_since: null })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
    return toDevice(row);
  }

  /** All new mail goes to the next one. Null: it may not have been bound, after all. */
  async setNextAlone({ id }: Device, since: number | null): Promise<void> {
    await this.#database
      .updateTable('devices')
      .set({ next_alone_since: since })
      .where('id', '=', id)
      .execute();
  }

  /** The next one takes over; the other is to be deleted. */
  async promote(device: Device): Promise<Device> {
    const { id, queue, next_queue: next, next_type: type } = device;
    if (next === null || type === null) return device;
    const row = await this.#database
      .updateTable('devices')
      .set({
        queue: next,
        mailbox_type: type,
        retired_queue: queue,
        next_queue: null,
        next_type: null,
        next_since: null,
        next_alone_since: null,
      })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow();
    return toDevice(row);
  }

  /** It is deleted. */
  async forgetRetired({ id, retired_queue: retired }: Device): Promise<void> {
    await this.#database
      .updateTable('devices')
      .set({ retired_queue: null })
      .where('id', '=', id)
      .where('retired_queue', '=', retired)
      .execute();
  }

  /** Devices whose replacement is still under way, by their number. */
  async listUnfinished(after: number, limit: number): Promise<Device[]> {
    const rows = await this.#database
      .selectFrom('devices')
      .selectAll()
      .where('id', '>', after)
      .where('ended_at', 'is', null)
      .where((eb) => eb.or([eb('next_queue', 'is not', null), eb('retired_queue', 'is not', null)]))
      .orderBy('id')
      .limit(limit)
      .execute();
    return rows.map(toDevice);
  }
}
