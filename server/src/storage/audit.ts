import type { Database } from './database.js';

/** Something that an operator or a back end did and that concerns many. */
export interface AuditEntry {
  /** Milliseconds since 1970. */
  at: number;
  /** Who: as {@link RouteContext.caller}. */
  actor: string;
  action: string;
  /** To what it was done: an id. */
  target: string;
}

/** Who did what. */
export class AuditStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async add({ at, actor, action, target }: AuditEntry): Promise<void> {
    await this.#database.insertInto('audit').values({ at, actor, action, target }).execute();
  }
}
