import type { Kysely } from 'kysely';

/**
 * Mailboxes have a type, and can be replaced by one of another: all that there were are classic queues. Large
 * groups are spread over several exchanges.
 */
export async function addMailboxTypes(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('devices')
    .addColumn('mailbox_type', 'text', (column) => column.notNull().defaultTo('classic'))
    .execute();
  await db.schema
    .alterTable('groups')
    .addColumn('is_sharded', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
  for (const [column, type] of [
    ['next_queue', 'text'],
    ['next_type', 'text'],
    ['next_since', 'bigint'],
    ['next_alone_since', 'bigint'],
    ['retired_queue', 'text'],
  ] as const) {
    await db.schema.alterTable('devices').addColumn(column, type).execute();
  }
  // Looked through every second; most rows are in neither.
  for (const column of ['next_queue', 'retired_queue'] as const) {
    await db.schema
      .createIndex(`devices_${column}`)
      .on('devices')
      .column(column)
      .where(column, 'is not', null)
      .execute();
  }
}
