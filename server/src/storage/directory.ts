import { sql } from 'kysely';
import { isSqlite, type Database } from './database.js';
import { PENDING } from './schema.js';
import { fromStored, toStored } from './ids.js';

export interface DirectoryQuery {
  /** A part of the id, upper or lower case. */
  search: string;
  /** The last one of the page before. */
  after?: string | undefined;
  limit: number;
}

export interface KnownUser {
  userId: string;
  devices: number;
  /** Milliseconds since 1970. */
  lastSeenAt: number | null;
}

/** Groups have up to 100,000, and a page has many groups. */
const MOST_COUNTED = 1000;

export interface KnownGroup {
  groupId: string;
  /** 1,000 at most. */
  members: number;
  /** Whether there are more than were counted. */
  hasMoreMembers: boolean;
  createdAt: number;
}

/** All users and groups, for people who look for one: page by page, in the order of the ids. */
export class Directory {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async listUsers(query: DirectoryQuery): Promise<KnownUser[]> {
    // Counted for those of the page alone.
    const { rows } = await sql<{ user_id: string; devices: number; last_seen_at: number | null }>`
      select page.user_id,
        (select count(*) from devices
          where devices.user_id = page.user_id and devices.ended_at is null) as devices,
        (select max(devices.last_seen_at) from devices
          where devices.user_id = page.user_id) as last_seen_at
      from (${this.#page('users', 'user_id', query)}) as page
      order by page.user_id
    `.execute(this.#database);
    return rows.map((row) => ({
      userId: fromStored(row.user_id),
      devices: row.devices,
      lastSeenAt: row.last_seen_at,
    }));
  }

  async listGroups(query: DirectoryQuery): Promise<KnownGroup[]> {
    const { rows } = await sql<{ group_id: string; members: number; created_at: number }>`
      select groups.group_id, groups.created_at,
        (select count(*) from (
          select 1 from members
          where members.group_ref = groups.id and members.pending <> ${PENDING.unbind}
          limit ${MOST_COUNTED + 1}
        ) as counted) as members
      from (${this.#page('groups', 'group_id', query, sql`ended_at is null`)}) as page
      join groups on groups.group_id = page.group_id
      order by groups.group_id
    `.execute(this.#database);
    return rows.map((row) => ({
      groupId: fromStored(row.group_id),
      members: Math.min(row.members, MOST_COUNTED),
      hasMoreMembers: row.members > MOST_COUNTED,
      createdAt: row.created_at,
    }));
  }

  /** How many users and devices are provisioned. */
  async count(): Promise<{ users: number; devices: number }> {
    const { rows } = await sql<{ users: number; devices: number }>`
      select (select count(*) from users) as users,
        (select count(*) from devices where ended_at is null) as devices
    `.execute(this.#database);
    return rows[0] ?? { users: 0, devices: 0 };
  }

  /**
   * Goes along the index in the order of the ids, and ends when the page is full: what is rare is found last,
   * after all others have been looked at.
   */
  #page(
    table: 'users' | 'groups',
    column: string,
    { search, after, limit }: DirectoryQuery,
    isListed = sql`true`,
  ) {
    const id = sql.ref(column);
    const pattern = `%${escapeLike(toStored(search))}%`;
    const like = isSqlite(this.#database) ? sql`like` : sql`ilike`;
    const fits = search === '' ? sql`true` : sql`${id} ${like} ${pattern} escape '\\'`;
    const isAfter = after === undefined ? sql`true` : sql`${id} > ${toStored(after)}`;
    return sql`
      select ${id} from ${sql.table(table)}
      where ${fits} and ${isAfter} and ${isListed} order by ${id} limit ${limit}
    `;
  }
}

const escapeLike = (text: string): string =>
  text.replace(/[\\%_]/g, (character) => `\\${character}`);
