import { inList, type Database } from './database.js';
import { fromStored, toStored } from './ids.js';
import type { OutboxStore } from './outbox.js';

/** Which users are online, as it was last told; so that one of many servers tells of a change, once. */
export class PresenceStore {
  readonly #database: Database;
  readonly #outbox: OutboxStore;

  constructor(database: Database, outbox: OutboxStore) {
    this.#database = database;
    this.#outbox = outbox;
  }

  /** Tells of those for whom it is news. */
  async set(userIds: string[], isOnline: boolean, now: number): Promise<number> {
    if (userIds.length === 0) return 0;
    return this.#database.transaction().execute(async (transaction) => {
      const rows = await transaction
        .insertInto('presence')
        .values(
          // In one order, so that servers that see the same ones come and go do not lock each other out.
          [...userIds].sort().map((userId) => ({
            user_id: toStored(userId),
            is_online: isOnline ? 1 : 0,
            changed_at: now,
          })),
        )
        .onConflict((conflict) =>
          conflict
            .column('user_id')
            .doUpdateSet((eb) => ({
              is_online: eb.ref('excluded.is_online'),
              changed_at: eb.ref('excluded.changed_at'),
            }))
            .whereRef('presence.is_online', '<>', 'excluded.is_online'),
        )
        .returning('user_id')
        .execute();
      const event = isOnline ? ('user.online' as const) : ('user.offline' as const);
      const news = rows.map((row) => ({ event, at: now, user: fromStored(row.user_id) }));
      await this.#outbox.add(news, transaction);
      return news.length;
    });
  }

  /** Pages through those of whom it was told that they are. */
  async listOnline(after: string, limit: number): Promise<string[]> {
    const rows = await this.#database
      .selectFrom('presence')
      .select('user_id')
      .where('is_online', '=', 1)
      .where('user_id', '>', toStored(after))
      .orderBy('user_id')
      .limit(limit)
      .execute();
    return rows.map((row) => fromStored(row.user_id));
  }

  /** When users who are not online went; milliseconds since 1970. */
  async lastSeen(userIds: string[]): Promise<Map<string, number>> {
    const rows = await this.#database
      .selectFrom('presence')
      .select(['user_id', 'changed_at'])
      .where('user_id', 'in', inList(this.#database, userIds.map(toStored)))
      .execute();
    return new Map(rows.map((row) => [fromStored(row.user_id), row.changed_at]));
  }

  /** Forgets those who went so long ago. */
  async removeOld(before: number): Promise<void> {
    await this.#database
      .deleteFrom('presence')
      .where('is_online', '=', 0)
      .where('changed_at', '<', before)
      .execute();
  }
}
