import type { HistoryPageQuery, HistoryQuery, OwnHistoryQuery } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';
import type { Group } from '../storage/groups.js';
import { timelineOf, type TimelineRange } from '../storage/history.js';
import type { Storage } from '../storage/index.js';
import { sendCommand } from './commands.js';
import { toItem } from './items.js';
import { rangeSince, rangesOf } from './views.js';

export interface HistoryOptions {
  storage: Storage;
  /** By which the history is told what to forget. */
  channel: ConfirmChannel;
}

/** A part of the history, and whose view it is. */
interface View {
  ranges: TimelineRange[];
  /** Undefined for a group's. */
  owner: string | undefined;
}

/** Read into memory at once. */
const ITEMS = 500;

/** Reads the history, and has it forget. */
export class History {
  readonly #options: HistoryOptions;

  constructor(options: HistoryOptions) {
    this.#options = options;
  }

  /** For the application's server. @returns JSON. @throws {HttpProblem} `group_unknown`, `message_unknown` */
  async read(query: HistoryQuery): Promise<string> {
    const { user, group, with: other } = query;
    if (user === undefined) return this.#page(await this.#group(group ?? '', undefined), query);
    return this.#page(await this.#userView(user, other), query);
  }

  /** For a user. @returns JSON. @throws {HttpProblem} `not_a_member`, `message_unknown` */
  async readOwn(userId: string, query: OwnHistoryQuery): Promise<string> {
    const { group, with: other } = query;
    if (group !== undefined) return this.#page(await this.#group(group, userId), query);
    return this.#page(await this.#userView(userId, other), query);
  }

  /** All that a user may see, what it has sent included: JSON objects, the oldest first. */
  async *ownItems(userId: string): AsyncGenerator<string> {
    const { history, historyErasure } = this.#options.storage;
    const { ranges } = await this.#userView(userId, undefined);
    for (const timeline of await historyErasure.conversationsOf(userId)) ranges.push({ timeline });
    let last = 0;
    for (let hasMore = true; hasMore;) {
      const page = await history.page({ ranges, afterSeq: last, order: 'asc', limit: ITEMS });
      for (const row of page.rows) {
        // One that stands in several of the views comes once for each.
        if (row.seq > last) yield toItem(row, userId);
        last = row.seq;
      }
      ({ hasMore } = page);
    }
  }

  /** Whether a message was stored, and still is. */
  async has(messageId: string): Promise<boolean> {
    return (await this.#options.storage.history.find(messageId)) !== undefined;
  }

  /**
   * Erases what only this user sees, also what is still to be written down.
   * @returns whether there was anything.
   * @throws {PublishError} when the broker does not have that; what was written is erased all the same.
   */
  async forgetUser(userId: string): Promise<boolean> {
    const { storage, channel } = this.#options;
    const hadAny = await storage.historyErasure.eraseUser(userId);
    await sendCommand(channel, { kind: 'erase-user', userId });
    return hadAny;
  }

  /** As {@link forgetUser}. */
  async forgetGroup({ ref }: Pick<Group, 'ref'>): Promise<void> {
    const { storage, channel } = this.#options;
    const timeline = timelineOf.group(ref);
    await storage.historyErasure.erase(timeline);
    await sendCommand(channel, { kind: 'erase-timeline', timeline });
  }

  async #userView(userId: string, other: string | undefined): Promise<View> {
    const { storage } = this.#options;
    if (other !== undefined) {
      return { ranges: [{ timeline: timelineOf.conversation(userId, other) }], owner: userId };
    }
    const knownSince = (await storage.devices.userSince(userId)) ?? Date.now();
    return { ranges: await rangesOf(userId, knownSince, storage), owner: userId };
  }

  /** @param member undefined: whoever asks may see all of it. */
  async #group(groupId: string, member: string | undefined): Promise<View> {
    const { history: store, groups } = this.#options.storage;
    const group = await groups.find(groupId);
    const isThere = group?.isEnded === false;
    if (member === undefined) {
      if (!isThere) throw new HttpProblem('group_unknown');
      return { ranges: [{ timeline: timelineOf.group(group.ref) }], owner: undefined };
    }
    const joinedAt = isThere ? await groups.joinedAt(group, member) : undefined;
    if (!isThere || joinedAt === undefined) throw new HttpProblem('not_a_member');
    const range =
      group.history === 'joined'
        ? await rangeSince(timelineOf.group(group.ref), joinedAt, store)
        : { timeline: timelineOf.group(group.ref) };
    return { ranges: [range], owner: undefined };
  }

  async #page({ ranges, owner }: View, query: HistoryPageQuery): Promise<string> {
    const { order, limit } = query;
    const { rows, hasMore } = await this.#options.storage.history.page({
      ranges,
      afterSeq: await this.#seqOf(query.after, ranges),
      beforeSeq: await this.#seqOf(query.before, ranges),
      order,
      limit,
    });
    const items = rows.map((row) => toItem(row, owner)).join(',');
    const last = hasMore ? rows.at(-1)?.message_id : undefined;
    const next = last === undefined ? '' : `,"next":${JSON.stringify(last)}`;
    return `{"items":[${items}]${next}}`;
  }

  /** Only within what may be seen: the answer must not tell whether there is such a message elsewhere. */
  async #seqOf(id: string | undefined, ranges: TimelineRange[]): Promise<number | undefined> {
    if (id === undefined) return undefined;
    const timelines = ranges.map(({ timeline }) => timeline);
    const place = await this.#options.storage.history.findIn(id, timelines);
    if (place !== undefined) return place.seq;
    const why = `There is no message ${JSON.stringify(id)} here, or not any more: begin without it.`;
    throw new HttpProblem('message_unknown', why);
  }
}
