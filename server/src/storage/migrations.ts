import { createConnections } from './connection-migration.js';
import { createConsole } from './console-migration.js';
import { addDeadLetterContents } from './dead-letter-migration.js';
import { addDeviceDetails } from './device-migration.js';
import { createErasures } from './erasure-migration.js';
import { createHistory } from './history-migration.js';
import { addLogouts } from './logout-migration.js';
import { addStomp } from './stomp-migration.js';
import { addMailboxTypes } from './mailbox-migration.js';
import { addBulk } from './outbox-migration.js';
import { addPushFailures } from './push-failure-migration.js';
import { sql, type CreateTableBuilder, type Kysely, type Migration } from 'kysely';

export type Dialect = 'sqlite' | 'postgres';

/** In the order of their names. One that has been released is never changed. */
export function migrationsFor(dialect: Dialect): Record<string, Migration> {
  const withId = <Table extends string>(table: CreateTableBuilder<Table>) =>
    dialect === 'sqlite'
      ? table.addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
      : table.addColumn('id', 'bigserial', (column) => column.primaryKey());
  return {
    '001_devices': {
      async up(db: Kysely<unknown>): Promise<void> {
        await db.schema
          .createTable('users')
          .addColumn('user_id', 'text', (column) => column.primaryKey())
          .addColumn('created_at', 'bigint', (column) => column.notNull())
          .execute();
        await withId(db.schema.createTable('devices'))
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
    '003_endings': {
      async up(db: Kysely<unknown>): Promise<void> {
        await db.schema.alterTable('devices').addColumn('expires_at', 'bigint').execute();
        await db.schema.alterTable('devices').addColumn('ended_at', 'bigint').execute();
        // Looked through every second; most rows are not in them.
        for (const column of ['expires_at', 'ended_at'] as const) {
          await db.schema
            .createIndex(`devices_${column}`)
            .on('devices')
            .column(column)
            .where(column, 'is not', null)
            .execute();
        }
        await db.schema
          .createTable('cutoffs')
          .addColumn('user_id', 'text', (column) => column.notNull())
          .addColumn('device_id', 'text', (column) => column.notNull())
          .addColumn('sessions_before', 'bigint', (column) => column.notNull())
          .addColumn('tokens_before', 'bigint', (column) => column.notNull())
          .addPrimaryKeyConstraint('cutoffs_user_device', ['user_id', 'device_id'])
          .execute();
      },
    },
    '004_groups': {
      async up(db: Kysely<unknown>): Promise<void> {
        await withId(db.schema.createTable('groups'))
          .addColumn('group_id', 'text', (column) => column.notNull().unique())
          .addColumn('created_at', 'bigint', (column) => column.notNull())
          .addColumn('ended_at', 'bigint')
          .execute();
        await db.schema
          .createTable('members')
          .addColumn('group_ref', 'bigint', (column) => column.notNull())
          .addColumn('user_id', 'text', (column) => column.notNull())
          .addColumn('joined_at', 'bigint', (column) => column.notNull())
          .addColumn('pending', 'integer', (column) => column.notNull())
          .addPrimaryKeyConstraint('members_group_user', ['group_ref', 'user_id'])
          .execute();
        await db.schema
          .createIndex('members_user')
          .on('members')
          .columns(['user_id', 'group_ref'])
          .execute();
        await db.schema
          .createIndex('members_pending')
          .on('members')
          .column('pending')
          .where('pending', '<>', 0)
          .execute();
        await db.schema
          .alterTable('devices')
          .addColumn('is_bound', 'integer', (column) => column.notNull().defaultTo(0))
          .execute();
        await withId(db.schema.createTable('audit'))
          .addColumn('at', 'bigint', (column) => column.notNull())
          .addColumn('actor', 'text', (column) => column.notNull())
          .addColumn('action', 'text', (column) => column.notNull())
          .addColumn('target', 'text', (column) => column.notNull())
          .execute();
      },
    },
    '005_tracking': {
      async up(db: Kysely<unknown>): Promise<void> {
        await db.schema
          .createTable('presence')
          .addColumn('user_id', 'text', (column) => column.primaryKey())
          .addColumn('is_online', 'integer', (column) => column.notNull())
          .addColumn('changed_at', 'bigint', (column) => column.notNull())
          .execute();
        await withId(db.schema.createTable('outbox'))
          .addColumn('event_id', 'text', (column) => column.notNull())
          .addColumn('routing_key', 'text', (column) => column.notNull())
          .addColumn('body', 'text', (column) => column.notNull())
          .addColumn('claimed_until', 'bigint', (column) => column.notNull())
          .execute();
        await db.schema
          .createTable('messages')
          .addColumn('id', 'text', (column) => column.primaryKey())
          .addColumn('fingerprint', 'text', (column) => column.notNull())
          .addColumn('type', 'text', (column) => column.notNull())
          .addColumn('target', 'text', (column) => column.notNull())
          .addColumn('queue', 'text')
          .addColumn('is_confirmed', 'integer', (column) => column.notNull())
          .addColumn('created_at', 'bigint', (column) => column.notNull())
          .addColumn('expires_at', 'bigint', (column) => column.notNull())
          .execute();
        await db.schema
          .createIndex('messages_expires_at')
          .on('messages')
          .column('expires_at')
          .execute();
        await db.schema
          .createTable('recipients')
          .addColumn('message_id', 'text', (column) => column.notNull())
          .addColumn('user_id', 'text', (column) => column.notNull())
          .addColumn('outcome', 'text', (column) => column.notNull())
          .addColumn('outcome_at', 'bigint', (column) => column.notNull())
          .addColumn('delivered_at', 'bigint')
          .addColumn('read_at', 'bigint')
          .addColumn('deadline', 'bigint')
          .addPrimaryKeyConstraint('recipients_message_user', ['message_id', 'user_id'])
          .execute();
        // Most have ended, and are in neither.
        for (const [name, column] of [
          ['recipients_deadline', 'deadline'],
          ['recipients_open', 'user_id'],
        ] as const) {
          await db.schema
            .createIndex(name)
            .on('recipients')
            .column(column)
            .where(sql.ref('deadline'), 'is not', null)
            .execute();
        }
        await db.schema
          .createTable('failed_copies')
          .addColumn('message_id', 'text', (column) => column.notNull())
          .addColumn('queue', 'text', (column) => column.notNull())
          .addPrimaryKeyConstraint('failed_copies_message_queue', ['message_id', 'queue'])
          .execute();
      },
    },
    '006_history': {
      async up(db: Kysely<unknown>): Promise<void> {
        await createHistory(db, dialect);
        await db.schema
          .alterTable('groups')
          .addColumn('history', 'text', (column) => column.notNull().defaultTo('all'))
          .execute();
        for (const column of ['missed_at', 'missed_since'] as const) {
          await db.schema.alterTable('devices').addColumn(column, 'bigint').execute();
        }
        await db.schema
          .alterTable('devices')
          .addColumn('missed_for_good', 'integer', (column) => column.notNull().defaultTo(0))
          .execute();
        await db.schema
          .createTable('expired_devices')
          .addColumn('user_id', 'text', (column) => column.notNull())
          .addColumn('device_id', 'text', (column) => column.notNull())
          .addColumn('created_at', 'bigint', (column) => column.notNull())
          .addColumn('last_seen_at', 'bigint', (column) => column.notNull())
          .addColumn('expired_at', 'bigint', (column) => column.notNull())
          .addPrimaryKeyConstraint('expired_devices_user_device', ['user_id', 'device_id'])
          .execute();
      },
    },
    '007_push': {
      async up(db: Kysely<unknown>): Promise<void> {
        for (const [table, column, type] of [
          ['messages', 'from_user', 'text'],
          ['messages', 'push', 'text'],
          ['messages', 'push_at', 'bigint'],
          ['recipients', 'push_at', 'bigint'],
          ['recipients', 'pushed_at', 'bigint'],
          ['recipients', 'reason', 'text'],
        ] as const) {
          await db.schema.alterTable(table).addColumn(column, type).execute();
        }
        await db.schema
          .createIndex('messages_push_at')
          .on('messages')
          .column('push_at')
          .where(sql.ref('push_at'), 'is not', null)
          .execute();
        await db.schema
          .createIndex('recipients_push_at')
          .on('recipients')
          .columns(['message_id', 'push_at', 'user_id'])
          .where(sql.ref('push_at'), 'is not', null)
          .execute();
        await withId(db.schema.createTable('push_devices'))
          .addColumn('user_id', 'text', (column) => column.notNull())
          .addColumn('device_id', 'text', (column) => column.notNull())
          .addColumn('provider', 'text', (column) => column.notNull())
          .addColumn('token', 'text', (column) => column.notNull())
          .addColumn('token_hash', 'text', (column) => column.notNull().unique())
          .addColumn('language', 'text')
          .addColumn('preferences', 'text', (column) => column.notNull())
          .addColumn('updated_at', 'bigint', (column) => column.notNull())
          .addUniqueConstraint('push_devices_user_device', ['user_id', 'device_id'])
          .execute();
        await db.schema
          .createTable('pushes')
          .addColumn('message_id', 'text', (column) => column.notNull())
          .addColumn('user_id', 'text', (column) => column.notNull())
          .addColumn('device_id', 'text', (column) => column.notNull())
          .addColumn('provider', 'text', (column) => column.notNull())
          .addColumn('state', 'text', (column) => column.notNull())
          .addColumn('reason', 'text')
          .addColumn('owner', 'text')
          .addPrimaryKeyConstraint('pushes_message_user_device', [
            'message_id',
            'user_id',
            'device_id',
          ])
          .execute();
      },
    },
    '008_console': { up: (db: Kysely<unknown>) => createConsole(db, withId) },
    '009_mailbox_types': { up: addMailboxTypes },
    '010_connections': { up: createConnections },
    '011_device_details': { up: addDeviceDetails },
    '012_erasures': { up: createErasures },
    '013_push_failures': { up: addPushFailures },
    '014_logouts': { up: addLogouts },
    '015_stomp': { up: addStomp },
    '016_dead_letter_contents': {
      up: (db: Kysely<unknown>) => addDeadLetterContents(db, dialect),
    },
    '017_outbox_bulk': { up: addBulk },
  };
}
