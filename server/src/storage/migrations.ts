import type { Kysely, Migration } from 'kysely';

/** In the order of their names. One that has been released is never changed. */
export const MIGRATIONS: Record<string, Migration> = {
  '001_devices': {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('users')
        .addColumn('user_id', 'text', (column) => column.primaryKey())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('devices')
        .addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
        .addColumn('user_id', 'text', (column) =>
          column.notNull().references('users.user_id').onDelete('cascade'),
        )
        .addColumn('device_id', 'text', (column) => column.notNull())
        .addColumn('queue', 'text', (column) => column.notNull().unique())
        .addColumn('live_queue', 'text', (column) => column.notNull())
        .addColumn('session_id', 'text')
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('last_seen_at', 'bigint')
        .addUniqueConstraint('devices_user_device', ['user_id', 'device_id'])
        .execute();
    },
  },
  '002_installations': {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema.alterTable('devices').addColumn('installation_id', 'text').execute();
    },
  },
};
