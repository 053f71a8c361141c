import type { FeedBody } from '@warren/protocol';
import type { Database } from './database.js';
import { fromStored, toStored } from './ids.js';

export interface ConsoleSession {
  sessionId: string;
  actor: string;
  queue: string;
  feed: FeedBody;
  /** Milliseconds since 1970. */
  expiresAt: number;
}

/** Sessions of the admin console, known to all servers. */
export class ConsoleStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async add({ sessionId, actor, queue, feed, expiresAt }: ConsoleSession): Promise<void> {
    await this.#database
      .insertInto('consoles')
      .values({
        session_id: sessionId,
        actor: toStored(actor),
        queue,
        feed: JSON.stringify(feed),
        expires_at: expiresAt,
      })
      .execute();
  }

  async find(sessionId: string): Promise<ConsoleSession | undefined> {
    const row = await this.#database
      .selectFrom('consoles')
      .selectAll()
      .where('session_id', '=', toStored(sessionId))
      .executeTakeFirst();
    return (
      row && {
        sessionId,
        actor: fromStored(row.actor),
        queue: row.queue,
        feed: JSON.parse(row.feed) as FeedBody,
        expiresAt: row.expires_at,
      }
    );
  }

  /** @returns whether there is still such a session. */
  async extend(sessionId: string, feed: FeedBody, expiresAt: number): Promise<boolean> {
    const { numUpdatedRows } = await this.#database
      .updateTable('consoles')
      .set({ feed: JSON.stringify(feed), expires_at: expiresAt })
      .where('session_id', '=', sessionId)
      .executeTakeFirst();
    return numUpdatedRows > 0n;
  }

  async listExpired(now: number): Promise<{ sessionId: string; queue: string }[]> {
    const rows = await this.#database
      .selectFrom('consoles')
      .select(['session_id', 'queue'])
      .where('expires_at', '<', now)
      .execute();
    return rows.map((row) => ({ sessionId: row.session_id, queue: row.queue }));
  }

  async remove(sessionId: string): Promise<void> {
    await this.#database.deleteFrom('consoles').where('session_id', '=', sessionId).execute();
  }
}
