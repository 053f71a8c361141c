import { sql, type Kysely } from 'kysely';

/** Who is connected to the broker, as its events have told. */
export async function createConnections(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('connections')
    .addColumn('name', 'text', (column) => column.primaryKey())
    .addColumn('login', 'text', (column) => column.notNull())
    .addColumn('user_name', 'text')
    .addColumn('run', 'text')
    .addColumn('mark', 'text')
    .execute();
  await db.schema
    .createIndex('connections_mark')
    .on('connections')
    .column('mark')
    .where('mark', 'is not', null)
    .execute();
  await db.schema
    .createTable('connection_journal')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('is_whole', 'integer', (column) => column.notNull())
    .execute();
  await sql`insert into connection_journal (id, is_whole) values (1, 0)`.execute(db);
}
