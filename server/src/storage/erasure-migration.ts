import { sql, type Kysely } from 'kysely';

/** Users who were erased a moment ago: what is still written of them by others goes as well. */
export async function createErasures(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('erasures')
    .addColumn('user_id', 'text', (column) => column.primaryKey())
    .addColumn('at', 'bigint', (column) => column.notNull())
    .execute();
  await db.schema
    .createIndex('messages_from_user')
    .on('messages')
    .column('from_user')
    .where(sql.ref('from_user'), 'is not', null)
    .execute();
}
