import { sql, type RawBuilder } from 'kysely';
import { isSqlite, type Database } from './database.js';

/**
 * For the `where` of an update of recipients. PostgreSQL locks each row when it comes to it, in the order of whatever
 * plan it has chosen: two servers that settle the same ones, one by message and one by user, could each wait for what
 * the other has. They all lock them in one order. In SQLite there is one writer at a time.
 */
export function inLockOrder(database: Database, chosen: RawBuilder<unknown>): RawBuilder<boolean> {
  if (isSqlite(database)) return sql<boolean>`(${chosen})`;
  return sql<boolean>`(message_id, user_id) in (
    select message_id, user_id from recipients where ${chosen}
    order by message_id, user_id for update
  )`;
}
