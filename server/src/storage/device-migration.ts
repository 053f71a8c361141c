import { sql, type Kysely } from 'kysely';

/** What users recognize their devices by, and which of them nobody remembers. */
export async function addDeviceDetails(db: Kysely<unknown>): Promise<void> {
  for (const column of ['name', 'platform']) {
    await db.schema.alterTable('devices').addColumn(column, 'text').execute();
  }
  await db.schema
    .alterTable('devices')
    .addColumn('is_passing', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
  // Looked through every minute; most rows are not in it.
  await db.schema
    .createIndex('devices_passing')
    .on('devices')
    .column('id')
    .where(sql<boolean>`is_passing = 1`)
    .execute();
}
