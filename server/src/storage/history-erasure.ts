import { encodeId } from '@warren/protocol';
import type { Kysely } from 'kysely';
import { inList, inNumbers, type Database } from './database.js';
import type { Schema } from './schema.js';
import { timelineOf } from './history.js';

/** All conversations of a user begin so, and the next character is greater than what follows. */
const rangeOfConversations = (userId: string): [from: string, to: string] => {
  const path = `c.${encodeId(userId)}`;
  return [`${path}.`, `${path}/`];
};

/** Rows that are deleted in one transaction, which holds up others in SQLite. */
const CHUNK = 1000;

/** Removes stored messages; one that stands in several views stays in the others. */
export class HistoryErasure {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** When the newest message was sent that was removed from one of these; 0 if none was. */
  async trimmedUntil(timelines: string[]): Promise<number> {
    const { at } = await this.#database
      .selectFrom('history_trims')
      .select(({ fn }) => fn.max<number | null>('at').as('at'))
      .where('timeline', 'in', inList(this.#database, ['', ...timelines]))
      .executeTakeFirstOrThrow();
    return at ?? 0;
  }

  /** Forgets what a user sees; what others see as well stays theirs. @returns whether there was anything. */
  async eraseUser(userId: string): Promise<boolean> {
    const timelines = [timelineOf.user(userId), ...(await this.conversationsOf(userId))];
    let hadAny = false;
    for (const timeline of timelines) hadAny = (await this.erase(timeline)) || hadAny;
    return hadAny;
  }

  /** What a user sees of the conversations with each of the others. */
  async conversationsOf(userId: string): Promise<string[]> {
    const [from, to] = rangeOfConversations(userId);
    const rows = await this.#database
      .selectFrom('history_entries')
      .select('timeline')
      .distinct()
      .where('timeline', '>=', from)
      .where('timeline', '<', to)
      .execute();
    return rows.map(({ timeline }) => timeline);
  }

  /** @returns whether there was anything. */
  async erase(timeline: string): Promise<boolean> {
    let hadAny = false;
    while (await this.#removeUntil(timeline, Number.MAX_SAFE_INTEGER)) hadAny = true;
    await this.#database.deleteFrom('history_trims').where('timeline', '=', timeline).execute();
    return hadAny;
  }

  /** Leaves the newest messages of a timeline. */
  async trim(timeline: string, keep: number): Promise<void> {
    const row = await this.#database
      .selectFrom('history_entries')
      .select('seq')
      .where('timeline', '=', timeline)
      .orderBy('seq', 'desc')
      .offset(keep)
      .limit(1)
      .executeTakeFirst();
    if (row === undefined) return;
    while (await this.#removeUntil(timeline, row.seq));
  }

  /** Removes some of what was stored before a time. @returns how many. */
  async removeOld(before: number): Promise<number> {
    return this.#database.transaction().execute(async (transaction) => {
      const rows = await transaction
        .selectFrom('history')
        .select(['seq', 'at'])
        .where('stored_at', '<', before)
        .orderBy('stored_at')
        .limit(CHUNK)
        .execute();
      if (rows.length === 0) return 0;
      const seqs = inNumbers(
        this.#database,
        rows.map(({ seq }) => seq),
      );
      await transaction.deleteFrom('history_entries').where('seq', 'in', seqs).execute();
      await transaction.deleteFrom('history').where('seq', 'in', seqs).execute();
      await noteTrim('', Math.max(...rows.map(({ at }) => at)), transaction);
      return rows.length;
    });
  }

  /** Some of the oldest of a timeline, and what nobody sees any more. @returns whether there were any. */
  async #removeUntil(timeline: string, seq: number): Promise<boolean> {
    return this.#database.transaction().execute(async (transaction) => {
      const oldest = transaction
        .selectFrom('history_entries')
        .select('seq')
        .where('timeline', '=', timeline)
        .where('seq', '<=', seq)
        .orderBy('seq')
        .limit(CHUNK);
      const entries = await transaction
        .deleteFrom('history_entries')
        .where('timeline', '=', timeline)
        .where('seq', 'in', oldest)
        .returning('seq')
        .execute();
      const removed = entries.map((entry) => entry.seq);
      if (removed.length === 0) return false;
      const listed = inNumbers(this.#database, removed);
      const { at } = await transaction
        .selectFrom('history')
        .select(({ fn }) => fn.max<number | null>('at').as('at'))
        .where('seq', 'in', listed)
        .executeTakeFirstOrThrow();
      await transaction
        .deleteFrom('history')
        .where('seq', 'in', listed)
        .where((eb) =>
          eb.not(
            eb.exists(
              eb
                .selectFrom('history_entries')
                .select('history_entries.seq')
                .whereRef('history_entries.seq', '=', 'history.seq'),
            ),
          ),
        )
        .execute();
      if (at !== null) await noteTrim(timeline, at, transaction);
      return true;
    });
  }
}

async function noteTrim(timeline: string, at: number, transaction: Kysely<Schema>): Promise<void> {
  await transaction
    .insertInto('history_trims')
    .values({ timeline, at })
    .onConflict((conflict) =>
      conflict.column('timeline').doUpdateSet({ at }).where('history_trims.at', '<', at),
    )
    .execute();
}
