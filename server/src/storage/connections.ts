import { setImmediate as nextTurn } from 'node:timers/promises';
import { sql } from 'kysely';
import { inList, type Database } from './database.js';
import { fromStored, toStored } from './ids.js';

/** An open connection to the broker. */
export interface RecordedConnection {
  name: string;
  login: string;
  /** Who it has proved to be; undefined while that is not known. */
  user: string | undefined;
  /** The node that has it, and which of its runs; undefined when that is not known. */
  run: string | undefined;
  /** Whether it is known to be by STOMP or AMQP 1.0, where tokens are not exchanged. */
  keepsToken: boolean;
}

/** One that has just been opened. */
export interface OpenedConnection extends RecordedConnection {
  /** What a server called it that has made it to see how far the journal is. */
  mark: string | undefined;
}

/** What a number of events say together. No name is in two of the lists. */
export interface ConnectionChanges {
  opened: OpenedConnection[];
  /** Of connections that were opened before. */
  authenticated: { name: string; user: string }[];
  closed: string[];
}

/** Rows of one statement. */
const ROWS = 500;
/** Rows that are read at once: SQLite holds up everything else meanwhile. */
const PAGE = 2000;

/** Connections to the broker, remembered for servers that begin later. */
export class ConnectionStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** All or nothing of it; doing it again changes nothing. */
  async apply({ opened, authenticated, closed }: ConnectionChanges): Promise<void> {
    const fresh = opened.map(toRow);
    const known = authenticated.map(({ name, user }) =>
      toRow({ name, login: user, user, run: undefined, mark: undefined, keepsToken: false }),
    );
    await this.#database.transaction().execute(async (transaction) => {
      for (const [rows, isFresh] of [
        [fresh, true],
        [known, false],
      ] as const) {
        for (let start = 0; start < rows.length; start += ROWS) {
          await transaction
            .insertInto('connections')
            .values(rows.slice(start, start + ROWS))
            .onConflict((conflict) =>
              conflict.column('name').doUpdateSet({
                user_name: sql`excluded.user_name`,
                // A name that somebody else had before.
                ...(isFresh && {
                  login: sql<string>`excluded.login`,
                  run: sql<string>`excluded.run`,
                  mark: sql<string>`excluded.mark`,
                  is_stomp: sql<number>`excluded.is_stomp`,
                }),
              }),
            )
            .execute();
        }
      }
      if (closed.length > 0) await this.#delete(closed, transaction);
    });
  }

  /** All of them, by name. */
  async list(): Promise<Map<string, RecordedConnection>> {
    const all = new Map<string, RecordedConnection>();
    for (let after = ''; ;) {
      const rows = await this.#database
        .selectFrom('connections')
        .selectAll()
        .where('name', '>', after)
        .orderBy('name')
        .limit(PAGE)
        .execute();
      for (const { name, login, user_name: user, run, is_stomp: keepsToken } of rows) {
        all.set(name, {
          name,
          login: fromStored(login),
          user: user === null ? undefined : fromStored(user),
          run: run ?? undefined,
          keepsToken: keepsToken === 1,
        });
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE) return all;
      after = last.name;
      await nextTurn();
    }
  }

  /** Those that were found otherwise; what has been heard of them stands. */
  async add(connections: RecordedConnection[]): Promise<void> {
    for (let start = 0; start < connections.length; start += ROWS) {
      const rows = connections.slice(start, start + ROWS);
      await this.#database
        .insertInto('connections')
        .values(rows.map((connection) => toRow({ ...connection, mark: undefined })))
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    }
  }

  /** Whether the connection that was called so is among them. */
  async hasMark(mark: string): Promise<boolean> {
    const row = await this.#database
      .selectFrom('connections')
      .select('name')
      .where('mark', '=', mark)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** Whether no open connection can be missing that is older than the journal. */
  async isWhole(): Promise<boolean> {
    const row = await this.#database
      .selectFrom('connection_journal')
      .select('is_whole')
      .executeTakeFirst();
    return row?.is_whole === 1;
  }

  async setWhole(isWhole: boolean): Promise<void> {
    await this.#database
      .updateTable('connection_journal')
      .set({ is_whole: isWhole ? 1 : 0 })
      .execute();
  }

  /** They are not open any more, whatever has been heard. */
  async remove(names: string[]): Promise<void> {
    if (names.length > 0) await this.#delete(names, this.#database);
  }

  async #delete(names: string[], database: Database): Promise<void> {
    await database
      .deleteFrom('connections')
      .where('name', 'in', inList(this.#database, names))
      .execute();
  }
}

const toRow = ({ name, login, user, run, mark, keepsToken }: OpenedConnection) => ({
  name,
  login: toStored(login),
  user_name: user === undefined ? null : toStored(user),
  run: run ?? null,
  mark: mark ?? null,
  is_stomp: keepsToken ? 1 : 0,
});
