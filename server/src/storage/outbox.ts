import { eventKey, type EventBodies, type EventName } from '@warren/protocol';
import { SqliteAdapter, type Kysely } from 'kysely';
import { uuidv7 } from 'uuidv7';
import type { Schema } from './schema.js';

/** How long one process may take to publish what it has claimed, in milliseconds. */
const CLAIM_MS = 30_000;
/** SQLite takes 32,766 parameters in one statement. */
const ROWS = 1000;

/** More of one message at once stand apart from other events. */
const FEW = 50;
/** What those that stand apart get of each claim at least, when all wait: one part of so many. */
const BULK_SHARE = 4;

/** An event that is to be told. */
export type News = {
  [Name in EventName]: { event: Name; at: number } & EventBodies[Name];
}[EventName];

export interface OutboxEntry {
  id: number;
  eventId: string;
  routingKey: string;
  body: string;
}

/**
 * Events that are still to be published: written in the transaction that made them true, so that none
 * is forgotten whatever dies.
 */
export class OutboxStore {
  readonly #database: Kysely<Schema>;

  constructor(database: Kysely<Schema>) {
    this.#database = database;
  }

  /** @param database the transaction that they belong to. */
  async add(news: News[], database: Kysely<Schema> = this.#database): Promise<void> {
    // Nothing comes after a final outcome that they would have to be told before.
    const isBulk = news.length > FEW && news.every(({ event }) => event === 'message.failed');
    for (let start = 0; start < news.length; start += ROWS) {
      const rows = news.slice(start, start + ROWS).map(({ at, ...event }) => {
        const id = uuidv7();
        const user = 'user' in event ? event.user : undefined;
        return {
          event_id: id,
          routing_key: eventKey(event.event, user),
          body: JSON.stringify({ id, at: new Date(at).toISOString(), ...event }),
          claimed_until: 0,
          is_bulk: Number(isBulk),
        };
      });
      await database.insertInto('outbox').values(rows).execute();
    }
  }

  /**
   * The oldest that no process has in hand. Now this one has. What has become of one message for a hundred thousand
   * waits behind what is told of others, and gets a share of its own beside it.
   */
  async claim(limit: number, now: number): Promise<OutboxEntry[]> {
    const first = await this.#claimOf(0, limit - Math.floor(limit / BULK_SHARE), now);
    return [...first, ...(await this.#claimOf(1, limit - first.length, now))];
  }

  async #claimOf(isBulk: 0 | 1, limit: number, now: number): Promise<OutboxEntry[]> {
    const isSqlite = this.#database.getExecutor().adapter instanceof SqliteAdapter;
    let free = this.#database
      .selectFrom('outbox')
      .select('id')
      .where('is_bulk', '=', isBulk)
      .where('claimed_until', '<', now)
      .orderBy('id')
      .limit(limit);
    if (!isSqlite) free = free.forUpdate().skipLocked();
    const rows = await this.#database
      .updateTable('outbox')
      .set({ claimed_until: now + CLAIM_MS })
      .where('id', 'in', free)
      .returning(['id', 'event_id', 'routing_key', 'body'])
      .execute();
    return rows
      .map((row) => ({
        id: row.id,
        eventId: row.event_id,
        routingKey: row.routing_key,
        body: row.body,
      }))
      .sort((a, b) => a.id - b.id);
  }

  /** They were published. */
  async remove(entries: OutboxEntry[]): Promise<void> {
    if (entries.length === 0) return;
    const ids = entries.map(({ id }) => id);
    await this.#database.deleteFrom('outbox').where('id', 'in', ids).execute();
  }

  /** They were not. */
  async release(entries: OutboxEntry[]): Promise<void> {
    if (entries.length === 0) return;
    const ids = entries.map(({ id }) => id);
    await this.#database
      .updateTable('outbox')
      .set({ claimed_until: 0 })
      .where('id', 'in', ids)
      .execute();
  }
}
