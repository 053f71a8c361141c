import type { Selectable } from 'kysely';
import type { Database } from './database.js';
import type { AuditTable } from './schema.js';
import { fromStored, toStored } from './ids.js';

/** Something that an operator or a back end does and that others may ask about. */
export interface AuditEntry {
  /** Milliseconds since 1970. */
  at: number;
  /** Who: as {@link RouteContext.caller}. */
  actor: string;
  action: string;
  /** To what it is done: an id. */
  target: string;
}

/** Who did what. */
export class AuditStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Before it is done. @returns the entry's number. */
  async add({ at, actor, action, target }: AuditEntry): Promise<number> {
    const { id } = await this.#database
      .insertInto('audit')
      .values({ at, actor: toStored(actor), action, target: toStored(target), result: null })
      .returning('id')
      .executeTakeFirstOrThrow();
    return id;
  }

  /** @param result `done`, or the code of an error. */
  async settle(id: number, result: string): Promise<void> {
    await this.#database.updateTable('audit').set({ result }).where('id', '=', id).execute();
  }

  /** Forgets what was done before `time`, in milliseconds since 1970. */
  async removeOld(time: number): Promise<void> {
    await this.#database.deleteFrom('audit').where('at', '<', time).execute();
  }

  /** The newest first. @param after the last one of the page before. */
  async list({
    after,
    limit,
  }: {
    after?: number | undefined;
    limit: number;
  }): Promise<Selectable<AuditTable>[]> {
    let query = this.#database.selectFrom('audit').selectAll().orderBy('id', 'desc').limit(limit);
    if (after !== undefined) query = query.where('id', '<', after);
    return (await query.execute()).map((row) => ({
      ...row,
      actor: fromStored(row.actor),
      target: fromStored(row.target),
    }));
  }
}
