import { encodeId } from '@warren/protocol';
import { sql, type Kysely, type RawBuilder, type Selectable } from 'kysely';
import { inList, isSqlite, type Database } from './database.js';
import type { HistoryTable, Schema } from './schema.js';
import { fromStored, toStored } from './ids.js';
import { oneByOne, portions } from './portions.js';

/** A message as it is written down. Times are milliseconds since 1970. */
export interface HistoryRecord {
  messageId: string;
  type: string;
  at: number;
  expiresAt: number | null;
  from: string | null;
  /** To whom, as JSON. */
  target: string;
  /** JSON, or base64. */
  body: string;
  isBase64: boolean;
  /** JSON; null when there are none. */
  properties: string | null;
  /** Whose views it belongs to. */
  timelines: string[];
  /** The one device that it went to. */
  deviceId: string | null;
}

export type HistoryRow = Selectable<HistoryTable>;

/** A part of a timeline. */
export interface TimelineRange {
  timeline: string;
  /** Only what was sent then or later, in milliseconds since 1970. */
  sentFrom?: number | undefined;
  /** Where that may begin, so that what is before it is not looked at. */
  seqFrom?: number | undefined;
}

/** Where a message stands. Times are milliseconds since 1970. */
export interface HistoryPlace {
  seq: number;
  at: number;
  storedAt: number;
}

export interface HistoryPage {
  ranges: TimelineRange[];
  /** Neither of these two is part of the page. */
  afterSeq?: number | undefined;
  beforeSeq?: number | undefined;
  /** Without what went to other devices of the user. Default: with it. */
  deviceId?: string | undefined;
  order: 'asc' | 'desc';
  limit: number;
}

/**
 * Views of the history. A message stands in each that it belongs to, and its body is kept once.
 * A conversation has a view for each side, so that one of them can be erased.
 */
export const timelineOf = {
  user: (userId: string): string => `u.${encodeId(userId)}`,
  /** What `userId` sees of what the two have sent to each other. */
  conversation: (userId: string, withId: string): string =>
    `c.${encodeId(userId)}.${encodeId(withId)}`,
  /** By its number: one that is made again is another group. */
  group: (ref: number): string => `g.${String(ref)}`,
  broadcast: 'b',
};

const DAY_MS = 24 * 60 * 60 * 1000;
/** Characters in the bodies of one page, but for the one that is over it. */
const MAX_PAGE_SIZE = 4 * 1024 * 1024;
/** SQLite takes 500 parts in one query. */
const MAX_RANGES = 400;
/** Nobody waits for a mark for so long. */
const MARKS_FORGOTTEN_MS = 10 * 60 * 1000;

/** Stored messages, in the order in which the history's queue had them. */
export class HistoryStore {
  readonly #database: Database;
  readonly #isSqlite: boolean;

  constructor(database: Database) {
    this.#database = database;
    this.#isSqlite = isSqlite(database);
  }

  /**
   * Writes messages down, all of them or none; those that it has from the last 24 hours, with the same id for
   * the same recipient, are left out. When it resolves they are on the disk.
   * @param marks that the history has come so far.
   */
  async write(batch: HistoryRecord[], marks: string[], now: number): Promise<void> {
    const records = withoutRepetitions(batch);
    await this.#durably(async (transaction) => {
      const { last_seq: last } = await transaction
        .updateTable('history_state')
        .set({ last_seq: sql<number>`last_seq + ${records.length}` })
        .returning('last_seq')
        .executeTakeFirstOrThrow();
      if (records.length > 0) {
        await this.#insert(records, last - records.length + 1, now, transaction);
      }
      if (marks.length === 0) return;
      const forgotten = now - MARKS_FORGOTTEN_MS;
      await transaction.deleteFrom('history_marks').where('at', '<', forgotten).execute();
      await transaction
        .insertInto('history_marks')
        .values(marks.map((mark) => ({ mark, at: now })))
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    });
  }

  /** Whether the history has come as far as this mark. */
  async isMarked(mark: string): Promise<boolean> {
    const row = await this.#database
      .selectFrom('history_marks')
      .select('mark')
      .where('mark', '=', mark)
      .executeTakeFirst();
    return row !== undefined;
  }

  /**
   * Of several timelines as if they were one. What is read into memory is bounded: a page ends with the
   * message by which it is 4 MiB long, whether there are more or not.
   */
  async page(page: HistoryPage): Promise<{ rows: HistoryRow[]; hasMore: boolean }> {
    const rows: HistoryRow[] = [];
    for (let start = 0; start < page.ranges.length; start += MAX_RANGES) {
      const ranges = page.ranges.slice(start, start + MAX_RANGES);
      // One more tells whether there are any.
      rows.push(...(await this.#pageOf({ ...page, ranges, limit: page.limit + 1 })));
    }
    const sign = page.order === 'asc' ? 1 : -1;
    rows.sort((a, b) => sign * (a.seq - b.seq));
    const end = endOf(rows, page.limit);
    return { rows: rows.slice(0, end.index), hasMore: end.isCut };
  }

  /** Where a message stands that belongs to one of these timelines; its newest place, if its id was used again. */
  async findIn(messageId: string, timelines: string[]): Promise<HistoryPlace | undefined> {
    const row = await this.#database
      .selectFrom('history')
      .innerJoin('history_entries', 'history_entries.seq', 'history.seq')
      .select(['history.seq', 'history.at', 'history.stored_at'])
      .where('message_id', '=', messageId)
      .where('timeline', 'in', inList(this.#database, timelines))
      .orderBy('history.seq', 'desc')
      .executeTakeFirst();
    return row && toPlace(row);
  }

  /** The first place that a message has, whoever sees it. */
  async find(messageId: string): Promise<HistoryPlace | undefined> {
    const row = await this.#database
      .selectFrom('history')
      .select(['seq', 'at', 'stored_at'])
      .where('message_id', '=', messageId)
      .orderBy('seq')
      .executeTakeFirst();
    return row && toPlace(row);
  }

  /** What is known of a message besides what it says. */
  async describe(
    messageId: string,
  ): Promise<{ type: string; at: number; target: string; from: string | undefined } | undefined> {
    const row = await this.#database
      .selectFrom('history')
      .select(['type', 'at', 'target', 'from_user'])
      .where('message_id', '=', messageId)
      .orderBy('seq')
      .executeTakeFirst();
    return (
      row && {
        type: row.type,
        at: row.at,
        target: row.target,
        from: row.from_user === null ? undefined : fromStored(row.from_user),
      }
    );
  }

  /** Where that begins which was stored at a time or later, for each of several times. */
  async seqsFrom(times: number[]): Promise<number[]> {
    const listed = this.#isSqlite
      ? sql`json_each(${JSON.stringify(times)}) as listed order by listed.key`
      : sql`unnest(${times}::bigint[]) with ordinality as listed(value, place) order by listed.place`;
    const { rows } = await sql<{ seq: number | null }>`
      select (
        select history.seq from history where history.stored_at >= listed.value
        order by history.stored_at, history.seq limit 1
      ) as seq from ${listed}
    `.execute(this.#database);
    // Nothing is yet; what comes will be later than all that there is.
    const end = rows.every(({ seq }) => seq !== null) ? 0 : (await this.lastSeq()) + 1;
    return rows.map(({ seq }) => seq ?? end);
  }

  async seqFrom(time: number): Promise<number> {
    const [seq = 0] = await this.seqsFrom([time]);
    return seq;
  }

  async lastSeq(): Promise<number> {
    const { last_seq: last } = await this.#database
      .selectFrom('history_state')
      .select('last_seq')
      .executeTakeFirstOrThrow();
    return last;
  }

  async #pageOf(page: HistoryPage): Promise<HistoryRow[]> {
    const { ranges, order, limit } = page;
    const direction = sql.raw(order);
    const parts = ranges.map((range) => this.#partOf(page, range));
    const { rows } = await sql<HistoryRow>`
      select history.* from (
        select part.seq, sum(part.size) over (order by part.seq ${direction}) - part.size as before
        from (${sql.join(parts, sql` union all `)}) as part
        order by part.seq ${direction} limit ${limit}
      ) as found
      inner join history on history.seq = found.seq
      where found.before < ${MAX_PAGE_SIZE}
      order by history.seq ${direction}
    `.execute(this.#database);
    return rows;
  }

  /** The places of one timeline's newest or oldest; each part is read from an index, and no further. */
  #partOf(
    { afterSeq = 0, beforeSeq = Number.MAX_SAFE_INTEGER, deviceId, order, limit }: HistoryPage,
    { timeline, sentFrom, seqFrom = 0 }: TimelineRange,
  ): RawBuilder<unknown> {
    const direction = sql.raw(order);
    const from = Math.max(afterSeq, seqFrom - 1);
    const isLater = sentFrom === undefined ? sql`` : sql`and entry.at >= ${sentFrom}`;
    const isMeant =
      deviceId === undefined
        ? sql``
        : sql`and (entry.device_id is null or entry.device_id = ${encodeId(deviceId)})`;
    return sql`select one.seq, one.size from (
      select entry.seq, entry.size from history_entries as entry
      where entry.timeline = ${timeline} and entry.seq > ${from} and entry.seq < ${beforeSeq}
      ${isLater} ${isMeant}
      order by entry.seq ${direction} limit ${limit}
    ) as one`;
  }

  async #insert(
    records: HistoryRecord[],
    firstSeq: number,
    now: number,
    transaction: Kysely<Schema>,
  ): Promise<void> {
    const numbered = records.map((record, index) => ({ ...record, seq: firstSeq + index }));
    const rows = numbered.map(
      ({ seq, messageId, type, at, expiresAt, from, target, body, isBase64, properties }) =>
        [
          seq,
          messageId,
          type,
          at,
          now,
          expiresAt,
          from === null ? null : toStored(from),
          target,
          body,
          isBase64 ? 1 : 0,
          properties,
        ] as const,
    );
    const inserted = await sql<{ seq: number }>`
      insert into history (seq, message_id, type, at, stored_at, expires_at, from_user, target, body,
        is_base64, properties)
      select ${this.#columns(
        ['bigint', 'text', 'text', 'bigint', 'bigint', 'bigint', 'text'],
        0,
      )}, ${this.#columns(['text', 'text', 'integer', 'text'], 7)}
      from ${this.#each(rows)} as listed
      where not exists (
        select 1 from history as known
        where known.message_id = ${this.#column('text', 1)}
          and known.target = ${this.#column('text', 7)}
          and known.at > ${this.#column('bigint', 3)} - ${DAY_MS}
      )
      returning seq
    `.execute(transaction);
    const isNew = new Set(inserted.rows.map(({ seq }) => seq));
    const entries = numbered
      .filter(({ seq }) => isNew.has(seq))
      .flatMap(({ seq, at, body, timelines, deviceId }) => {
        const device = deviceId === null ? null : encodeId(deviceId);
        return timelines.map((timeline) => [timeline, seq, at, body.length, device] as const);
      });
    // A message to a list has one for each user.
    await oneByOne(portions(entries), async (some) => {
      await sql`
        insert into history_entries (timeline, seq, at, size, device_id)
        select ${this.#columns(['text', 'bigint', 'bigint', 'integer', 'text'], 0)} from ${this.#each(some)} as listed
      `.execute(transaction);
    });
  }

  /** Rows as one parameter: thousands of parameters take longer to write down than to insert. */
  #each(rows: readonly (readonly unknown[])[]): RawBuilder<unknown> {
    const json = JSON.stringify(rows);
    return this.#isSqlite ? sql`json_each(${json})` : sql`json_array_elements(${json}::json)`;
  }

  #columns(types: string[], first: number): RawBuilder<unknown> {
    return sql.join(types.map((type, index) => this.#column(type, first + index)));
  }

  /** A value of a row of {@link #each}. */
  #column(type: string, index: number): RawBuilder<unknown> {
    return this.#isSqlite
      ? sql`json_extract(listed.value, ${sql.lit(`$[${String(index)}]`)})`
      : sql`cast(listed.value ->> ${sql.lit(index)} as ${sql.raw(type)})`;
  }

  /** In SQLite a commit is elsewhere left to the operating system for a moment, which a power cut would cost. */
  async #durably(work: (transaction: Kysely<Schema>) => Promise<void>): Promise<void> {
    if (!this.#isSqlite) {
      await this.#database.transaction().execute(work);
      return;
    }
    await this.#database.connection().execute(async (connection) => {
      await sql`pragma synchronous = full`.execute(connection);
      try {
        await connection.transaction().execute(work);
      } finally {
        await sql`pragma synchronous = normal`.execute(connection);
      }
    });
  }
}

/** Where a page ends, and whether there may be more. */
function endOf(rows: HistoryRow[], limit: number): { index: number; isCut: boolean } {
  let size = 0;
  for (const [index, { body }] of rows.entries()) {
    if (index === limit) return { index, isCut: true };
    size += body.length;
    if (size >= MAX_PAGE_SIZE) return { index: index + 1, isCut: true };
  }
  return { index: rows.length, isCut: false };
}

const toPlace = ({
  seq,
  at,
  stored_at: storedAt,
}: Pick<HistoryRow, 'seq' | 'at' | 'stored_at'>) => ({
  seq,
  at,
  storedAt,
});

/** The database looks for those that it had before the batch. */
function withoutRepetitions(records: HistoryRecord[]): HistoryRecord[] {
  const sentAt = new Map<string, number>();
  return records.filter(({ messageId, target, at }) => {
    const key = `${messageId} ${target}`;
    const isRepetition = at - (sentAt.get(key) ?? -Infinity) < DAY_MS;
    if (!isRepetition) sentAt.set(key, at);
    return !isRepetition;
  });
}
