import { sql, type CreateTableBuilder, type Kysely } from 'kysely';

type WithId = <Table extends string>(
  table: CreateTableBuilder<Table>,
) => CreateTableBuilder<Table, 'id'>;

/** What the admin console knows besides what there was: timelines, dead letters, its own sessions. */
export async function createConsole(db: Kysely<unknown>, withId: WithId): Promise<void> {
  await db.schema.alterTable('audit').addColumn('result', 'text').execute();
  await db.schema
    .createTable('consoles')
    .addColumn('session_id', 'text', (column) => column.primaryKey())
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('queue', 'text', (column) => column.notNull())
    .addColumn('feed', 'text', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .execute();
  await withId(db.schema.createTable('timeline'))
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('at', 'bigint', (column) => column.notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('device_id', 'text')
    .addColumn('message_id', 'text')
    .addColumn('type', 'text')
    .addColumn('reason', 'text')
    .addColumn('occasion', 'text', (column) => column.unique())
    .execute();
  await withId(db.schema.createTable('dead_letters'))
    .addColumn('at', 'bigint', (column) => column.notNull())
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('queue', 'text', (column) => column.notNull())
    .addColumn('user_id', 'text')
    .addColumn('device_id', 'text')
    .addColumn('message_id', 'text')
    .addColumn('type', 'text')
    .addColumn('size', 'integer', (column) => column.notNull())
    .addColumn('detail', 'text')
    .addColumn('fingerprint', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('changed_at', 'bigint')
    .execute();
  // What became of messages is asked for by user, too.
  await db.schema
    .createIndex('recipients_user')
    .on('recipients')
    .columns(['user_id', 'outcome_at'])
    .execute();
  for (const table of ['timeline', 'dead_letters'] as const) {
    await db.schema.createIndex(`${table}_user`).on(table).columns(['user_id', 'at']).execute();
    await db.schema.createIndex(`${table}_at`).on(table).column('at').execute();
    await db.schema
      .createIndex(`${table}_message`)
      .on(table)
      .column('message_id')
      .where(sql.ref('message_id'), 'is not', null)
      .execute();
  }
}
