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
/** Whether there are too many of one user is looked at once in so many. */
const LOOKED_AT_EVERY = 50;
const MOST_COUNTED = 10_000;
/** As the partial index has it; a parameter would not be seen to be the same. */
export const WAITING = sql.lit('waiting');

/** How many dead letters are kept: the oldest go first, and nobody's push out those of others. */
export class DeadLetterBounds {
  readonly #database: Database;
  /** Of whom how many have come since it was looked whether there are too many. */
  readonly #counts = new Map<string, number>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Called with each that is kept. @param userId undefined: it is a job, or its device is not known any more. */
  async trimWhenDue(userId: string | undefined, queue: string): Promise<void> {
    const key = JSON.stringify([userId, userId === undefined && queue]);
    if (this.#counts.size >= MOST_COUNTED) this.#counts.clear();
    const count = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, count % LOOKED_AT_EVERY);
    if (count === LOOKED_AT_EVERY) await this.#trim(userId, queue);
  }

  async #trim(userId: string | undefined, queue: string): Promise<void> {
    const [whose, most] =
      userId === undefined
        ? [sql`user_id is null and queue = ${queue}`, MOST_OF_QUEUE]
        : [sql`user_id = ${toStored(userId)}`, MOST_OF_USER];
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
