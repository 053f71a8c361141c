import { groupHistorySchema, type GroupHistory } from '@warren/protocol';
import { sql, type Selectable } from 'kysely';
import { inList, type Database } from './database.js';
import { PENDING, type GroupTable } from './schema.js';
import { fromStored, toStored } from './ids.js';

export interface Group {
  /** What members see of its history. */
  history: GroupHistory;
  /** Its number in the database. A group that is made again gets another one. */
  ref: number;
  groupId: string;
  /** Milliseconds since 1970. */
  createdAt: number;
  /** Whether it is to go. */
  isEnded: boolean;
  /** Whether it is spread over several exchanges. */
  isSharded: boolean;
}

export interface Member {
  userId: string;
  /** Milliseconds since 1970. */
  joinedAt: number;
}

/** Groups and who is in them. Users need not be known. */
export class GroupStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async find(groupId: string): Promise<Group | undefined> {
    const row = await this.#database
      .selectFrom('groups')
      .selectAll()
      .where('group_id', '=', toStored(groupId))
      .executeTakeFirst();
    return row && toGroup(row);
  }

  /** Those of these that there are, and are not to go. */
  async findAll(groupIds: string[]): Promise<Group[]> {
    if (groupIds.length === 0) return [];
    const rows = await this.#database
      .selectFrom('groups')
      .selectAll()
      .where('group_id', 'in', inList(this.#database, groupIds.map(toStored)))
      .where('ended_at', 'is', null)
      .execute();
    return rows.map(toGroup);
  }

  async add(groupId: string, history: GroupHistory, now: number): Promise<Group> {
    const row = await this.#database
      .insertInto('groups')
      .values({
        group_id: toStored(groupId),
        created_at: now,
        ended_at: null,
        history,
        is_sharded: 0,
      })
      .returningAll()
      .executeTakeFirstOrThrow();
    return toGroup(row);
  }

  async setHistory({ ref }: Group, history: GroupHistory): Promise<void> {
    await this.#database.updateTable('groups').set({ history }).where('id', '=', ref).execute();
  }

  async setSharded({ ref }: Group): Promise<void> {
    await this.#database
      .updateTable('groups')
      .set({ is_sharded: 1 })
      .where('id', '=', ref)
      .execute();
  }

  async setEnded({ ref }: Group, now: number): Promise<void> {
    await this.#database
      .updateTable('groups')
      .set({ ended_at: now })
      .where('id', '=', ref)
      .execute();
  }

  /** With its members. */
  async remove({ ref }: Group): Promise<void> {
    await this.#database.transaction().execute(async (transaction) => {
      await transaction.deleteFrom('members').where('group_ref', '=', ref).execute();
      await transaction.deleteFrom('groups').where('id', '=', ref).execute();
    });
  }

  async listEnded(limit: number): Promise<string[]> {
    const rows = await this.#database
      .selectFrom('groups')
      .select('group_id')
      .where('ended_at', 'is not', null)
      .limit(limit)
      .execute();
    return rows.map(({ group_id: groupId }) => fromStored(groupId));
  }

  async countMembers({ ref }: Group): Promise<number> {
    const { count } = await this.#database
      .selectFrom('members')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('group_ref', '=', ref)
      .where('pending', '<>', PENDING.unbind)
      .executeTakeFirstOrThrow();
    return count;
  }

  /** In the order in which the database keeps them. @param after the last one of the page before. */
  async listMembers(
    { ref }: Group,
    { after, limit }: { after?: string | undefined; limit: number },
  ): Promise<Member[]> {
    let query = this.#database
      .selectFrom('members')
      .select(['user_id', 'joined_at'])
      .where('group_ref', '=', ref)
      .where('pending', '<>', PENDING.unbind)
      .orderBy('user_id')
      .limit(limit);
    if (after !== undefined) query = query.where('user_id', '>', toStored(after));
    const rows = await query.execute();
    return rows.map((row) => ({ userId: fromStored(row.user_id), joinedAt: row.joined_at }));
  }

  /** Also those who are being taken out. In the order of their ids. */
  async listAllMembers(
    { ref }: Group,
    { after, limit }: { after?: string | undefined; limit: number },
  ): Promise<string[]> {
    let query = this.#database
      .selectFrom('members')
      .select('user_id')
      .where('group_ref', '=', ref)
      .orderBy('user_id')
      .limit(limit);
    if (after !== undefined) query = query.where('user_id', '>', toStored(after));
    return (await query.execute()).map((row) => fromStored(row.user_id));
  }

  /** Milliseconds since 1970; undefined for who is no member. */
  async joinedAt({ ref }: Group, userId: string): Promise<number | undefined> {
    const row = await this.#database
      .selectFrom('members')
      .select('joined_at')
      .where('group_ref', '=', ref)
      .where('user_id', '=', toStored(userId))
      .where('pending', '<>', PENDING.unbind)
      .executeTakeFirst();
    return row?.joined_at;
  }

  async isMember(groupId: string, userId: string): Promise<boolean> {
    const row = await this.#memberships()
      .select('members.user_id')
      .where('groups.group_id', '=', toStored(groupId))
      .where('members.user_id', '=', toStored(userId))
      .executeTakeFirst();
    return row !== undefined;
  }

  async listOf(userId: string): Promise<string[]> {
    const rows = await this.#memberships()
      .select('groups.group_id')
      .where('members.user_id', '=', toStored(userId))
      .execute();
    return rows.map(({ group_id: groupId }) => fromStored(groupId));
  }

  /** As {@link listOf}, with what is to be known to bind the user's queues to them. */
  async listPlaces(userId: string): Promise<Pick<Group, 'groupId' | 'isSharded'>[]> {
    const rows = await this.#memberships()
      .select(['groups.group_id', 'groups.is_sharded'])
      .where('members.user_id', '=', toStored(userId))
      .execute();
    return rows.map((row) => ({
      groupId: fromStored(row.group_id),
      isSharded: row.is_sharded === 1,
    }));
  }

  /** In which groups a user is, and since when. */
  async listMemberships(userId: string): Promise<{ ref: number; joinedAt: number }[]> {
    const rows = await this.#memberships()
      .select(['groups.id', 'members.joined_at'])
      .where('members.user_id', '=', toStored(userId))
      .execute();
    return rows.map((row) => ({ ref: row.id, joinedAt: row.joined_at }));
  }

  /** @returns how many were none before; their bindings are pending. */
  async addMembers({ ref }: Group, userIds: string[], now: number): Promise<number> {
    const values = sql<{ user_id: string }>`${inList(this.#database, userIds.map(toStored))}`;
    const { numAffectedRows } = await sql`
      insert into members (group_ref, user_id, joined_at, pending)
      select cast(${ref} as bigint), listed.*, cast(${now} as bigint), cast(${PENDING.bind} as integer)
      from ${values} as listed where true
      on conflict (group_ref, user_id) do update
      set pending = excluded.pending, joined_at = excluded.joined_at
      where members.pending = ${PENDING.unbind}
    `.execute(this.#database);
    return Number(numAffectedRows);
  }

  /** @returns how many were; their bindings are pending. */
  async endMembers({ ref }: Group, userIds: string[]): Promise<number> {
    const { numUpdatedRows } = await this.#database
      .updateTable('members')
      .set({ pending: PENDING.unbind })
      .where('group_ref', '=', ref)
      .where('user_id', 'in', inList(this.#database, userIds.map(toStored)))
      .where('pending', '<>', PENDING.unbind)
      .executeTakeFirst();
    return Number(numUpdatedRows);
  }

  /** Of these users, those whose bindings are still to be made or taken away. */
  async pendingOf(
    { ref }: Group,
    userIds: string[],
  ): Promise<{ joining: string[]; leaving: string[] }> {
    const rows = await this.#database
      .selectFrom('members')
      .select(['user_id', 'pending'])
      .where('group_ref', '=', ref)
      .where('user_id', 'in', inList(this.#database, userIds.map(toStored)))
      .where('pending', '<>', PENDING.nothing)
      .execute();
    const those = (pending: number): string[] =>
      rows.filter((row) => row.pending === pending).map((row) => fromStored(row.user_id));
    return { joining: those(PENDING.bind), leaving: those(PENDING.unbind) };
  }

  /** What was pending is done. */
  async settle({ ref }: Group, userIds: string[]): Promise<void> {
    const users = inList(this.#database, userIds.map(toStored));
    await this.#database.transaction().execute(async (transaction) => {
      await transaction
        .deleteFrom('members')
        .where('group_ref', '=', ref)
        .where('user_id', 'in', users)
        .where('pending', '=', PENDING.unbind)
        .execute();
      await transaction
        .updateTable('members')
        .set({ pending: PENDING.nothing })
        .where('group_ref', '=', ref)
        .where('user_id', 'in', users)
        .execute();
    });
  }

  /** Members whose bindings are still to be made or taken away. */
  async listPending(limit: number): Promise<{ groupId: string; userId: string }[]> {
    const rows = await this.#database
      .selectFrom('members')
      .innerJoin('groups', 'groups.id', 'members.group_ref')
      .select(['groups.group_id', 'members.user_id'])
      .where('members.pending', '<>', PENDING.nothing)
      .where('groups.ended_at', 'is', null)
      .limit(limit)
      .execute();
    return rows.map((row) => ({
      groupId: fromStored(row.group_id),
      userId: fromStored(row.user_id),
    }));
  }

  /** The group's exchanges were lost, and with them the bindings of all. */
  async setAllPending({ ref }: Group): Promise<void> {
    await this.#database
      .updateTable('members')
      .set({ pending: PENDING.bind })
      .where('group_ref', '=', ref)
      .where('pending', '=', PENDING.nothing)
      .execute();
  }

  /** A user is forgotten. */
  async removeUser(userId: string): Promise<void> {
    await this.#database.deleteFrom('members').where('user_id', '=', toStored(userId)).execute();
  }

  #memberships() {
    return this.#database
      .selectFrom('members')
      .innerJoin('groups', 'groups.id', 'members.group_ref')
      .where('members.pending', '<>', PENDING.unbind)
      .where('groups.ended_at', 'is', null);
  }
}

const toGroup = (row: Selectable<GroupTable>): Group => ({
  ref: row.id,
  groupId: fromStored(row.group_id),
  createdAt: row.created_at,
  isEnded: row.ended_at !== null,
  isSharded: row.is_sharded === 1,
  history: groupHistorySchema.parse(row.history),
});
