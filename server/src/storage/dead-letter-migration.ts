import { sql, type Kysely } from 'kysely';
import type { Dialect } from './migrations.js';

/**
 * What dead letters say lies beside them. Until now it lay in the queue `warren.dead` alone, from which servers take
 * it: those that wait there are written down anew.
 */
export async function addDeadLetterContents(db: Kysely<unknown>, dialect: Dialect): Promise<void> {
  await sql`delete from dead_letters where state in ('waiting', 'gone')`.execute(db);
  await db.schema
    .createIndex('dead_letters_fingerprint')
    .on('dead_letters')
    .column('fingerprint')
    .execute();
  // All that counting them and finding too many of one user's asks for.
  await db.schema
    .createIndex('dead_letters_waiting')
    .on('dead_letters')
    .columns(['user_id', 'queue', 'id', 'size'])
    .where(sql.ref('state'), '=', sql.lit('waiting'))
    .execute();
  await db.schema
    .createTable('dead_letter_contents')
    .addColumn('id', dialect === 'sqlite' ? 'integer' : 'bigint', (column) =>
      column.primaryKey().references('dead_letters.id').onDelete('cascade'),
    )
    .addColumn('content', dialect === 'sqlite' ? 'blob' : 'bytea', (column) => column.notNull())
    .addColumn('content_type', 'text')
    .addColumn('correlation_id', 'text')
    .addColumn('headers', 'text', (column) => column.notNull())
    .execute();
}
