import type { Kysely } from 'kysely';

/** Which connections are by STOMP, whose tokens nothing ends but their connections' end. */
export async function addStomp(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('connections')
    .addColumn('is_stomp', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
}
