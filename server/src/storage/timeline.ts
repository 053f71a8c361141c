import { type TimelineKind } from '@warren/protocol';
import { sql, type Selectable } from 'kysely';
import { inList, type Database } from './database.js';
import type { TimelineTable } from './schema.js';
import { fromStored, toStored } from './ids.js';

/** What happened to a user. */
export interface Happening {
  userId: string;
  /** Milliseconds since 1970. */
  at: number;
  kind: TimelineKind;
  deviceId?: string | null | undefined;
  messageId?: string | null | undefined;
  type?: string | null | undefined;
  reason?: string | null | undefined;
  /** The same for what several servers may see; it is written down once. */
  occasion?: string | undefined;
}

/** A tracked message to a user, with what is known of it. Times are milliseconds since 1970. */
export interface TrackedRow {
  message_id: string;
  user_id: string;
  type: string;
  created_at: number;
  outcome: string;
  outcome_at: number;
  delivered_at: number | null;
  read_at: number | null;
  pushed_at: number | null;
  push_failed_at: number | null;
  reason: string | null;
}

/** A push that has failed. */
export interface FailedPushRow {
  message_id: string;
  user_id: string;
  device_id: string;
  reason: string | null;
}

/** SQLite takes 32,766 parameters in one statement. */
const ROWS = 1000;

/** What happened to users, in the last days. */
export class TimelineStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async add(happenings: Happening[]): Promise<void> {
    for (let start = 0; start < happenings.length; start += ROWS) {
      await this.#database
        .insertInto('timeline')
        .values(
          happenings.slice(start, start + ROWS).map((happening) => ({
            user_id: toStored(happening.userId),
            at: happening.at,
            kind: happening.kind,
            device_id: stored(happening.deviceId),
            message_id: stored(happening.messageId),
            type: stored(happening.type),
            reason: stored(happening.reason),
            occasion: stored(happening.occasion),
          })),
        )
        // Whoever has closed a connection knows why; others saw it close.
        .onConflict((conflict) =>
          conflict
            .column('occasion')
            .doUpdateSet((eb) => ({ reason: eb.ref('excluded.reason') }))
            .where('timeline.reason', 'is', null),
        )
        .execute();
    }
  }

  /** The newest first. */
  async list(userId: string, { since, limit }: { since: number; limit: number }) {
    const rows = await this.#database
      .selectFrom('timeline')
      .selectAll()
      .where('user_id', '=', toStored(userId))
      .where('at', '>=', since)
      .orderBy('at', 'desc')
      .orderBy('id', 'desc')
      .limit(limit)
      .execute();
    return rows.map(toHappening);
  }

  /** Of one message, whoever it went to; the newest first. */
  async listOfMessage(messageId: string, limit: number) {
    const rows = await this.#database
      .selectFrom('timeline')
      .selectAll()
      .where('message_id', '=', toStored(messageId))
      .orderBy('at', 'desc')
      .orderBy('id', 'desc')
      .limit(limit)
      .execute();
    return rows.map(toHappening);
  }

  /** The newest first. */
  async listTracked(
    userId: string,
    { since, limit }: { since: number; limit: number },
  ): Promise<TrackedRow[]> {
    const rows = await this.#tracked()
      .where('recipients.user_id', '=', toStored(userId))
      .where('recipients.outcome_at', '>=', since)
      .orderBy('recipients.outcome_at', 'desc')
      .limit(limit)
      .execute();
    return rows.map((row) => ({ ...row, user_id: fromStored(row.user_id) }));
  }

  /** Those that have failed of these messages to one user. */
  async listFailedPushes(userId: string, messageIds: string[]): Promise<FailedPushRow[]> {
    const rows = await this.#database
      .selectFrom('pushes')
      .select(['message_id', 'user_id', 'device_id', 'reason'])
      .where('message_id', 'in', inList(this.#database, messageIds))
      .where('user_id', '=', toStored(userId))
      .where('state', '=', 'failed')
      .execute();
    return rows.map((row) => ({
      ...row,
      user_id: fromStored(row.user_id),
      device_id: fromStored(row.device_id),
    }));
  }

  /** Forgets what happened so long ago, a part at a time. */
  async removeOld(before: number): Promise<void> {
    for (;;) {
      const { numAffectedRows = 0n } = await sql`
        delete from timeline where id in (
          select id from timeline where at < ${before} order by at limit ${ROWS}
        )
      `.execute(this.#database);
      if (numAffectedRows < ROWS) return;
    }
  }

  #tracked() {
    return this.#database
      .selectFrom('recipients')
      .innerJoin('messages', 'messages.id', 'recipients.message_id')
      .select([
        'recipients.message_id',
        'recipients.user_id',
        'recipients.outcome',
        'recipients.outcome_at',
        'recipients.delivered_at',
        'recipients.read_at',
        'recipients.pushed_at',
        'recipients.push_failed_at',
        'recipients.reason',
        'messages.type',
        'messages.created_at',
      ]);
  }
}

/** What back ends and clients say may hold what PostgreSQL's text does not. */
const stored = (text: string | null | undefined): string | null =>
  text === undefined || text === null ? null : toStored(text);
const read = (text: string | null): string | undefined =>
  text === null ? undefined : fromStored(text);

const toHappening = (row: Selectable<TimelineTable>): Happening => ({
  userId: fromStored(row.user_id),
  at: row.at,
  kind: row.kind as TimelineKind,
  deviceId: read(row.device_id),
  messageId: read(row.message_id),
  type: read(row.type),
  reason: read(row.reason),
});
