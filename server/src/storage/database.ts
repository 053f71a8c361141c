import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Libsql from 'libsql';
import { Kysely, Migrator, SqliteDialect, type Generated, type SqliteDatabase } from 'kysely';
import { MIGRATIONS } from './migrations.js';

/** A device of a user, or a mailbox that waits for the user's first one. */
export interface DeviceTable {
  id: Generated<number>;
  user_id: string;
  /** Empty for a mailbox that no device has taken yet; no real id is empty. */
  device_id: string;
  queue: string;
  live_queue: string;
  /** Null before the first session. */
  session_id: string | null;
  /** Whose session it is, when the client says; null when it does not. */
  installation_id: string | null;
  /** Milliseconds since 1970. */
  created_at: number;
  last_seen_at: number | null;
}

export interface UserTable {
  user_id: string;
  created_at: number;
}

export interface Schema {
  users: UserTable;
  devices: DeviceTable;
}

export type Database = Kysely<Schema>;

/**
 * Opens the file, makes it when it is missing, and brings its tables up to date.
 * @throws when the file cannot be opened or a migration fails.
 */
export async function openDatabase(file: string): Promise<Database> {
  if (file !== ':memory:') mkdirSync(dirname(file), { recursive: true });
  // libsql has better-sqlite3's interface and comes prebuilt; its own types do not say so.
  const sqlite = new Libsql(file) as unknown as SqliteDatabase & { exec(sql: string): void };
  // Readers do not wait for the writer; a power cut may lose the last moments, never the file.
  sqlite.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;',
  );
  const database = new Kysely<Schema>({ dialect: new SqliteDialect({ database: sqlite }) });
  const migrator = new Migrator({
    db: database,
    provider: { getMigrations: () => Promise.resolve(MIGRATIONS) },
  });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) {
    await database.destroy();
    throw new Error(`The database ${file} could not be brought up to date.`, { cause: error });
  }
  return database;
}
