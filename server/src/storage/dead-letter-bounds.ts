import { sql } from 'kysely';
import type { Database } from './database.js';
import { toStored } from './ids.js';
import { PORTION, whileThereIsMore } from './portions.js';

/** Of all together, of one user, and of the jobs of one queue. */
const MOST = { letters: 100_000, bytes: 1024 * 1024 * 1024 };
const MOST_OF_USER = { letters: 2000, bytes: 16 * 1024 * 1024 };
const MOST_OF_QUEUE = { letters: 20_000, bytes: 256 * 1024 * 1024 };
/** With those that were sent again or discarded. */
const MOST_ROWS = 2 * MOST.letters;
/** Whether there are too many is looked at whenever this part of what is kept has come. */
const LOOKED_AT_AFTER = 1 / 40;
const MOST_COUNTED = 10_000;
/** As the partial index has it; a parameter would not be seen to be the same. */
export const WAITING = sql.lit('waiting');

/** Whose it is. */
interface Kept {
  /** Undefined: it is a job, or its device is not known any more. */
  userId: string | undefined;
  queue: string;
  /** In bytes. */
  size: number;
}

const mostOf = ({ userId }: Kept): typeof MOST =>
  userId === undefined ? MOST_OF_QUEUE : MOST_OF_USER;

/** How many dead letters are kept: the oldest go first, and nobody's push out those of others. */
export class DeadLetterBounds {
  readonly #database: Database;
  /** Of whom how much has come since it was looked whether there is too much. */
  readonly #counts = new Map<string, { letters: number; bytes: number }>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Called with those that were kept. */
  async trimWhenDue(entries: Kept[]): Promise<void> {
    const due = new Map<string, Kept>();
    for (const entry of entries) {
      const { userId, queue, size } = entry;
      const key = JSON.stringify([userId, userId === undefined && queue]);
      if (this.#counts.size >= MOST_COUNTED) this.#counts.clear();
      const { letters, bytes } = this.#counts.get(key) ?? { letters: 0, bytes: 0 };
      const count = { letters: letters + 1, bytes: bytes + size };
      this.#counts.set(key, count);
      const most = mostOf(entry);
      const isDue =
        count.letters >= most.letters * LOOKED_AT_AFTER ||
        count.bytes >= most.bytes * LOOKED_AT_AFTER;
      if (!isDue) continue;
      this.#counts.delete(key);
      due.set(key, entry);
    }
    for (const entry of due.values()) await this.#trim(entry);
  }

  async #trim(entry: Kept): Promise<void> {
    const { userId, queue } = entry;
    const most = mostOf(entry);
    const whose =
      userId === undefined
        ? sql`user_id is null and queue = ${queue}`
        : sql`user_id = ${toStored(userId)}`;
    await sql`
      delete from dead_letters where id in (
        select id from (
          select
            id,
            row_number() over (order by id desc) as place,
            sum(size) over (order by id desc) as bytes
          from dead_letters where state = ${WAITING} and ${whose}
        ) as newest where place > ${most.letters} or bytes > ${most.bytes}
      )
    `.execute(this.#database);
  }

  /** @param before milliseconds since 1970. */
  async removeOld(before: number): Promise<void> {
    const last = Math.max(await this.#lastOfTooMany(), await this.#lastOfTooManyBytes());
    for (const isOld of [sql`at < ${before} order by at`, sql`id <= ${last} order by id`]) {
      await whileThereIsMore(async () => {
        const { numAffectedRows = 0n } = await sql`
          delete from dead_letters where id in (
            select id from dead_letters where ${isOld} limit ${PORTION}
          )
        `.execute(this.#database);
        return numAffectedRows === BigInt(PORTION);
      });
    }
  }

  async #lastOfTooMany(): Promise<number> {
    const ids = this.#database
      .selectFrom('dead_letters')
      .select('id')
      .orderBy('id', 'desc')
      .limit(1);
    const waiting = await ids.where('state', '=', WAITING).offset(MOST.letters).executeTakeFirst();
    const all = await ids.offset(MOST_ROWS).executeTakeFirst();
    return Math.max(waiting?.id ?? 0, all?.id ?? 0);
  }

  async #lastOfTooManyBytes(): Promise<number> {
    const { bytes } = await this.#database
      .selectFrom('dead_letters')
      .select(({ fn }) => fn.sum<number | string | null>('size').as('bytes'))
      .where('state', '=', WAITING)
      .executeTakeFirstOrThrow();
    if (Number(bytes ?? 0) <= MOST.bytes) return 0;
    const { rows } = await sql<{ id: number | null }>`
      select max(id) as id from (
        select id, sum(size) over (order by id desc) as bytes
        from dead_letters where state = ${WAITING}
      ) as newest where bytes > ${MOST.bytes}
    `.execute(this.#database);
    return rows[0]?.id ?? 0;
  }
}
