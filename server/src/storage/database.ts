import { setTimeout as wait } from 'node:timers/promises';
import { Kysely, Migrator, PostgresDialect, sql, SqliteAdapter, type RawBuilder } from 'kysely';
import pg from 'pg';
import { DatabaseError } from './database-errors.js';
import type { Schema } from './schema.js';
import { migrationsFor, type Dialect } from './migrations.js';
import { FileDialect } from './sqlite-file.js';

export type Database = Kysely<Schema>;

/** Where the state lives: a file below `dataDir`, or PostgreSQL when `url` is given. */
export interface StorageOptions {
  dataDir: string;
  /** `postgres://name:password@host/database`; `?sslmode=verify-full` for TLS. */
  url?: string | undefined;
}

/** PostgreSQL's bigint comes as a string, since it may not fit a number; times and counts do. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) =>
    oid === pg.types.builtins.INT8 ? Number : (pg.types.getTypeParser(oid, format) as never),
};

/** Connections to PostgreSQL; those that break must not end the process. */
export function createPool(url: string, max: number, onError: (error: Error) => void): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max,
    types,
    connectionTimeoutMillis: 4000,
    query_timeout: 4000,
    application_name: 'warren',
  });
  pool.on('error', onError);
  // The pool listens only while nobody has it: one that breaks between two queries would not be heard.
  pool.on('connect', (client) => client.on('error', onError));
  return pool;
}

/** Longer than all migrations take together, in milliseconds. */
const MIGRATION_RETRIES_MS = [100, 300, 1000, 3000, 5000];

/**
 * Opens the database, makes what is missing, and brings its tables up to date.
 * @throws {DatabaseError}
 */
export async function openDatabase(
  options: StorageOptions,
  onError: (error: Error) => void,
): Promise<Database> {
  for (const waitMs of MIGRATION_RETRIES_MS) {
    try {
      return await openOnce(options, onError);
    } catch (error) {
      if (!isRace(options, error)) throw error;
    }
    await wait(waitMs);
  }
  return openOnce(options, onError);
}

/**
 * A worker and a server that are started together on a new file: one of them makes the tables. Opened anew,
 * since a connection that has lost does not see what the other one has done. PostgreSQL has a lock for it.
 */
const isRace = ({ url }: StorageOptions, error: unknown): boolean =>
  url === undefined &&
  error instanceof DatabaseError &&
  error.cause instanceof Error &&
  /locked|busy|already exists|duplicate column|UNIQUE/i.test(error.cause.message);

async function openOnce(
  { dataDir, url }: StorageOptions,
  onError: (error: Error) => void,
): Promise<Database> {
  const dialect: Dialect = url === undefined ? 'sqlite' : 'postgres';
  let database: Database | undefined;
  try {
    database = new Kysely<Schema>({
      dialect:
        url === undefined
          ? new FileDialect(dataDir)
          : new PostgresDialect({ pool: createPool(url, 10, onError) }),
    });
    await migrate(database, dialect);
    return database;
  } catch (error) {
    await database?.destroy();
    throw new DatabaseError(url === undefined ? dataDir : undefined, error);
  }
}

/** What the write-ahead log holds goes into the file, so that a copy of that is whole. */
export async function closeDatabase(database: Database): Promise<void> {
  if (isSqlite(database)) {
    await sql`pragma wal_checkpoint(truncate)`.execute(database).catch(() => undefined);
  }
  await database.destroy();
}

async function migrate(database: Database, dialect: Dialect): Promise<void> {
  const migrations = migrationsFor(dialect);
  const migrator = new Migrator({
    db: database,
    provider: { getMigrations: () => Promise.resolve(migrations) },
  });
  const { error } = await migrator.migrateToLatest();
  if (error instanceof Error) throw error;
}

/**
 * A list of texts as one parameter: thousands of parameters take longer to write down than the query
 * takes to run. For `where(column, 'in', …)`.
 */
export function inList(database: Database, values: string[]): RawBuilder<string> {
  return isSqlite(database)
    ? sql`(select value from json_each(${JSON.stringify(values)}))`
    : sql`(select unnest(${values}::text[]))`;
}

/** As {@link inList}. */
export function inNumbers(database: Database, values: number[]): RawBuilder<number> {
  return isSqlite(database)
    ? sql`(select value from json_each(${JSON.stringify(values)}))`
    : sql`(select unnest(${values}::bigint[]))`;
}

/** A list of pairs of texts, as {@link inList}: for `sql` with two columns in brackets. */
export function inPairs(database: Database, pairs: [string, string][]): RawBuilder<unknown> {
  if (isSqlite(database)) {
    const list = JSON.stringify(pairs);
    return sql`(select value ->> 0, value ->> 1 from json_each(${list}))`;
  }
  const [first, second] = [pairs.map(([text]) => text), pairs.map(([, text]) => text)];
  return sql`(select * from unnest(${first}::text[], ${second}::text[]))`;
}

export const isSqlite = (database: Database): boolean =>
  database.getExecutor().adapter instanceof SqliteAdapter;
