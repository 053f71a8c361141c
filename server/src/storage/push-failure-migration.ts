import type { Kysely } from 'kysely';

/**
 * A message that could not be pushed waits on where there is a copy of it. Of those that were sent before, or by a
 * server of an older version, it is assumed that there is one: what becomes of them is heard of by their deadline.
 */
export async function addPushFailures(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('recipients')
    .addColumn('has_copy', 'integer', (column) => column.notNull().defaultTo(1))
    .execute();
  await db.schema.alterTable('recipients').addColumn('push_failed_at', 'bigint').execute();
}
