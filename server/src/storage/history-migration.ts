import { sql, type Kysely } from 'kysely';

/** Stored messages, whose timelines they belong to, and what was removed of them. */
export async function createHistory(
  db: Kysely<unknown>,
  dialect: 'sqlite' | 'postgres',
): Promise<void> {
  // In SQLite this very type makes the column the table's own key.
  const seqType = dialect === 'sqlite' ? 'integer' : 'bigint';
  // Compared byte by byte, whatever the database's language is: prefixes are looked for.
  const timelineType = dialect === 'sqlite' ? sql`text` : sql`text collate "C"`;
  await db.schema
    .createTable('history')
    .addColumn('seq', seqType, (column) => column.primaryKey())
    .addColumn('message_id', 'text', (column) => column.notNull())
    .addColumn('type', 'text', (column) => column.notNull())
    .addColumn('at', 'bigint', (column) => column.notNull())
    .addColumn('stored_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint')
    .addColumn('from_user', 'text')
    .addColumn('target', 'text', (column) => column.notNull())
    .addColumn('body', 'text', (column) => column.notNull())
    .addColumn('is_base64', 'integer', (column) => column.notNull())
    .addColumn('properties', 'text')
    .execute();
  for (const column of ['message_id', 'stored_at'] as const) {
    await db.schema.createIndex(`history_${column}`).on('history').column(column).execute();
  }
  let entries = db.schema
    .createTable('history_entries')
    .addColumn('timeline', timelineType, (column) => column.notNull())
    .addColumn('seq', 'bigint', (column) => column.notNull())
    .addColumn('at', 'bigint', (column) => column.notNull())
    .addColumn('size', 'integer', (column) => column.notNull())
    .addColumn('device_id', 'text')
    .addPrimaryKeyConstraint('history_entries_timeline_seq', ['timeline', 'seq']);
  if (dialect === 'sqlite') entries = entries.modifyEnd(sql`without rowid`);
  await entries.execute();
  await db.schema.createIndex('history_entries_seq').on('history_entries').column('seq').execute();
  await db.schema
    .createTable('history_trims')
    .addColumn('timeline', timelineType, (column) => column.primaryKey())
    .addColumn('at', 'bigint', (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('history_marks')
    .addColumn('mark', 'text', (column) => column.primaryKey())
    .addColumn('at', 'bigint', (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('history_state')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('last_seq', 'bigint', (column) => column.notNull())
    .execute();
  await sql`insert into history_state (id, last_seq) values (1, 0)`.execute(db);
}
