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

  async extend(sessionId: string, feed: FeedBody, expiresAt: number): Promise<void> {
    await this.#database
      .updateTable('consoles')
      .set({ feed: JSON.stringify(feed), expires_at: expiresAt })
      .where('session_id', '=', toStored(sessionId))
      .execute();
  }

  /** The ids of an actor's, the one that was fed longest ago first. */
  async listOf(actor: string): Promise<string[]> {
    const rows = await this.#database
      .selectFrom('consoles')
      .select('session_id')
      .where('actor', '=', toStored(actor))
      .orderBy('expires_at')
      .execute();
    return rows.map((row) => row.session_id);
  }

  /** Their ids. */
  async listExpired(now: number): Promise<string[]> {
    const rows = await this.#database
      .selectFrom('consoles')
      .select('session_id')
      .where('expires_at', '<', now)
      .execute();
    return rows.map((row) => row.session_id);
  }

  async remove(sessionId: string): Promise<void> {
    await this.#database
      .deleteFrom('consoles')
      .where('session_id', '=', toStored(sessionId))
      .execute();
  }
}
