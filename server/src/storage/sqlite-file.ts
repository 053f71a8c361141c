import { chmodSync, closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import Libsql from 'libsql';
import {
  SqliteAdapter,
  SqliteDialect,
  SqliteDriver,
  type DatabaseConnection,
  type Driver,
  type SqliteDatabase,
  type SqliteDialectConfig,
  type SqliteStatement,
} from 'kysely';
import { DATABASE_FILE } from './database-errors.js';

/** libsql has better-sqlite3's interface and comes prebuilt; its own types do not say so. */
type Connection = SqliteDatabase & { exec(sql: string): void; readonly inTransaction: boolean };

/**
 * How long another process's lock is waited for, in milliseconds, which holds up all else in this one; and how
 * long once that was in vain, until something was written again.
 */
const PATIENCE_MS = { first: 1000, then: 20 };
/** How many ask the file in one turn of the event loop, queries or transactions. */
const IN_ONE_TURN = 8;
/** Kysely has each statement prepared anew, which was a fifth of the time that a tracked message takes. */
const MOST_PREPARED = 200;
/** Longer ones, which are made for so many rows, hardly come again. In characters. */
const LONGEST_PREPARED = 4000;
const CHANGES_TABLES = /^\s*(create|alter|drop)\b/i;
const PRAGMAS = [
  // Readers do not wait for the writer; a power cut may lose the last moments, never the file.
  'journal_mode = WAL',
  'synchronous = NORMAL',
  // 64 MiB: indexes of some hundred thousand messages, which 2 MiB would read from the file each time.
  'cache_size = -65536',
];

/** Kysely's own, but for how migrations run, and for what a transaction that SQLite has given up is told. */
export class FileDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig;

  constructor(dataDir: string) {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const file = join(dataDir, DATABASE_FILE);
    keepPrivate(file);
    const config = { database: new SqliteFile(file) };
    super(config);
    this.#config = config;
  }

  override createDriver(): Driver {
    return new FileDriver(this.#config);
  }

  override createAdapter(): SqliteAdapter {
    return new FileAdapter();
  }
}

/**
 * Users' messages are in it: no other account of the host is to read it, whatever the umask says, and also in a folder
 * that was there before. SQLite gives the files beside it the same mode.
 */
function keepPrivate(file: string): void {
  closeSync(openSync(file, 'a', 0o600));
  for (const path of [file, `${file}-wal`, `${file}-shm`]) {
    if (existsSync(path)) chmodSync(path, 0o600);
  }
}

class FileAdapter extends SqliteAdapter {
  /** All migrations or none of them, whatever dies in between: SQLite can do that. */
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class FileDriver extends SqliteDriver {
  readonly #waiting: (() => void)[] = [];
  #inTurn = 0;

  /**
   * A file answers at once: whoever asks again and again, for each message of a batch, say, would have all of it
   * before anything else was heard. Those for whom this turn of the event loop has no room wait in their order.
   */
  override async acquireConnection(): Promise<DatabaseConnection> {
    if (this.#inTurn === IN_ONE_TURN) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    } else if (this.#inTurn++ === 0) this.#endTurn();
    return super.acquireConnection();
  }

  #endTurn(): void {
    setImmediate(() => {
      const next = this.#waiting.splice(0, IN_ONE_TURN);
      this.#inTurn = next.length;
      if (next.length > 0) this.#endTurn();
      for (const goOn of next) goOn();
    });
  }

  /** On a full disk there is nothing to roll back any more, and that error would hide the one that matters. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await super.rollbackTransaction(connection).catch((error: unknown) => {
      if (!String(error).includes('no transaction is active')) throw error;
    });
  }
}

/**
 * A file that is opened anew after another process has held its lock for too long: libsql leaves the statement
 * that SQLite then refused (SQLITE_BUSY) unfinished until the garbage collector comes by, and as long as it is
 * there, no transaction can be committed.
 */
class SqliteFile implements SqliteDatabase {
  readonly #path: string;
  #connection: Connection;
  /** By their text; the first was not used for longest. */
  readonly #prepared = new Map<string, SqliteStatement>();
  #isStale = false;
  #isPatient = true;

  constructor(path: string) {
    this.#path = path;
    this.#connection = open(path, PATIENCE_MS.first);
  }

  prepare(sql: string): SqliteStatement {
    if (this.#isStale && !this.#connection.inTransaction) this.#reopen();
    const known = this.#prepared.get(sql);
    const statement = known ?? this.#prepare(sql);
    if (sql.length <= LONGEST_PREPARED && !CHANGES_TABLES.test(sql)) this.#keep(sql, statement);
    return statement;
  }

  #keep(sql: string, statement: SqliteStatement): void {
    this.#prepared.delete(sql);
    this.#prepared.set(sql, statement);
    const [oldest] = this.#prepared.keys();
    if (this.#prepared.size > MOST_PREPARED && oldest !== undefined) this.#prepared.delete(oldest);
  }

  #prepare(sql: string): SqliteStatement {
    if (CHANGES_TABLES.test(sql)) this.#prepared.clear();
    const statement = this.#attempt(sql, () => this.#connection.prepare(sql));
    return {
      reader: statement.reader,
      all: (parameters) => this.#attempt(sql, () => statement.all(parameters)),
      run: (parameters) => {
        const result = this.#attempt(sql, () => statement.run(parameters));
        if (!this.#isPatient && !this.#connection.inTransaction && !/^rollback/i.test(sql)) {
          this.#connection.exec(patience(PATIENCE_MS.first));
          this.#isPatient = true;
        }
        return result;
      },
      // One of its own: whoever iterates may stop in the middle.
      iterate: (parameters) =>
        this.#attempt(sql, () => this.#connection.prepare(sql).iterate(parameters)),
    };
  }

  close(): void {
    this.#prepared.clear();
    this.#connection.close();
  }

  #reopen(): void {
    const stale = this.#connection;
    this.#connection = open(this.#path, PATIENCE_MS.then);
    this.#prepared.clear();
    this.#isStale = false;
    this.#isPatient = false;
    stale.close();
  }

  #attempt<Result>(sql: string, work: () => Result): Result {
    try {
      return work();
    } catch (error) {
      // It may be left unfinished.
      this.#prepared.delete(sql);
      if (
        error instanceof Error &&
        'code' in error &&
        String(error.code).startsWith('SQLITE_BUSY')
      ) {
        this.#isStale = true;
      }
      throw error;
    }
  }
}

const patience = (ms: number): string => `PRAGMA busy_timeout = ${String(ms)}`;

function open(path: string, patienceMs: number): Connection {
  const connection = new Libsql(path) as unknown as Connection;
  try {
    connection.exec(patience(patienceMs));
    for (const pragma of PRAGMAS) connection.exec(`PRAGMA ${pragma}`);
  } catch (error) {
    connection.close();
    throw error;
  }
  return connection;
}
