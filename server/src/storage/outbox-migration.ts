import type { Kysely } from 'kysely';

/** Events of a message to thousands stand apart from the others. */
export async function addBulk(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('outbox')
    .addColumn('is_bulk', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
  await db.schema.createIndex('outbox_turn').on('outbox').columns(['is_bulk', 'id']).execute();
}
