import type {
  GroupHistory,
  GroupState,
  MembersPage,
  MembersReply,
  MemberState,
} from '@warren/protocol';
import type { ControlLink } from '../broker/control-link.js';
import type { GroupBinding, GroupExchanges, GroupPlace } from '../broker/group-exchanges.js';
import type { Provisioner } from '../broker/provisioner.js';
import { tapOf } from '../console/tap.js';
import { HttpProblem } from '../problem.js';
import { inboxOf, mailboxesOf, type Device, type DeviceStore } from '../storage/devices.js';
import type { Group, GroupStore } from '../storage/groups.js';
import type { Locks } from '../storage/locks.js';
import { PORTION, whileThereIsMore } from '../storage/portions.js';

export interface GroupsOptions {
  store: GroupStore;
  devices: DeviceStore;
  locks: Locks;
  exchanges: GroupExchanges;
  provisioner: Provisioner;
  link: ControlLink;
  /** Nobody is to see what was sent to it. Idempotent. */
  forgetHistory: (group: Group) => Promise<void>;
}

/** Users whose bindings are changed together; others of them wait for as long. */
const CHUNK = 200;
/** A group of more members than this is spread over several exchanges, where binding takes no longer. */
const MAX_UNSHARDED = 500;

/**
 * Groups of users. The database says who is in them; the bindings on the broker follow, and what is
 * broken off is gone on with later.
 */
export class Groups {
  readonly #options: GroupsOptions;

  constructor(options: GroupsOptions) {
    this.#options = options;
  }

  /**
   * Makes a group, unless there is one.
   * @param history what members see of it. Default: as it is.
   * @throws {HttpProblem} `broker_unavailable`
   */
  async put(
    groupId: string,
    { history }: { history?: GroupHistory | undefined } = {},
  ): Promise<{ state: GroupState; created: boolean }> {
    const known = await this.#find(groupId);
    const group = known ?? (await this.#make(groupId, history));
    if (history !== undefined && group.history !== history) {
      await this.#options.store.setHistory(group, history);
      group.history = history;
    }
    return { state: await this.#state(group), created: known === undefined };
  }

  /** @throws {HttpProblem} `group_unknown` */
  async state(groupId: string): Promise<GroupState> {
    return this.#state(await this.#known(groupId));
  }

  /** @throws {HttpProblem} `group_unknown` */
  async members(
    groupId: string,
    page: { after?: string | undefined; limit: number },
  ): Promise<MembersPage> {
    const group = await this.#known(groupId);
    const members = await this.#options.store.listMembers(group, page);
    const last = members.length === page.limit ? members.at(-1)?.userId : undefined;
    return {
      members: members.map(({ userId, joinedAt }) => ({
        user: userId,
        joinedAt: new Date(joinedAt).toISOString(),
      })),
      ...(last !== undefined && { next: last }),
    };
  }

  /** @throws {HttpProblem} `group_unknown`, `member_unknown` */
  async member(groupId: string, userId: string): Promise<MemberState> {
    const joinedAt = await this.#options.store.joinedAt(await this.#known(groupId), userId);
    if (joinedAt === undefined) throw new HttpProblem('member_unknown');
    return { user: userId, joinedAt: new Date(joinedAt).toISOString() };
  }

  /** Of all members. @throws {HttpProblem} `group_unknown` */
  async memberIds(groupId: string): Promise<string[]> {
    const group = await this.#known(groupId);
    const all: string[] = [];
    await whileThereIsMore(async () => {
      const page = { after: all.at(-1), limit: PORTION };
      const members = await this.#options.store.listMembers(group, page);
      for (const { userId } of members) all.push(userId);
      return members.length === PORTION;
    });
    return all;
  }

  /**
   * Nothing that is sent to it arrives any more; its members go on without it.
   * @throws {HttpProblem} `group_unknown`, `broker_unavailable`
   */
  async remove(groupId: string): Promise<void> {
    const { link, store } = this.#options;
    await link.requireOpen();
    await store.setEnded(await this.#known(groupId), Date.now());
    await this.#finishRemoval(groupId);
  }

  /**
   * Takes users in and others out. A group that is to have members is made when it does not exist;
   * users need not be known, and their devices are bound whenever they appear.
   * @throws {HttpProblem} `group_unknown` when it was removed meanwhile; `broker_unavailable`: what was
   *   not done is done when the broker is back, or by the same request sent again.
   */
  async change(groupId: string, add: string[], remove: string[]): Promise<MembersReply> {
    const { store, locks } = this.#options;
    await this.#options.link.requireOpen();
    let group =
      (await this.#find(groupId)) ??
      (add.length > 0 ? await this.#make(groupId) : await this.#known(groupId));
    if (add.length > 0) group = await this.#shardIfLarge(group, add.length);
    const reply = { added: 0, removed: 0 };
    for (const chunk of chunksOf(remove)) {
      await locks.users(chunk, async () => {
        reply.removed += await store.endMembers(group, chunk);
        await this.#finish(group, chunk);
      });
    }
    for (const chunk of chunksOf(add)) {
      const isWhole = await locks.users(chunk, async () => {
        reply.added += await store.addMembers(group, chunk, Date.now());
        return this.#finish(group, chunk);
      });
      if (!isWhole) await this.restore(groupId);
    }
    return reply;
  }

  async isMember(groupId: string, userId: string): Promise<boolean> {
    return this.#options.store.isMember(groupId, userId);
  }

  async exists(groupId: string): Promise<boolean> {
    return (await this.#find(groupId)) !== undefined;
  }

  /**
   * Binds the queues of a device to the groups of its user, by whoever holds the user's lock.
   * @param which those that are new. @throws {HttpProblem} `broker_unavailable`
   */
  async bindDevice(device: Device, which: { mail: boolean; live: boolean }): Promise<void> {
    const { store, exchanges } = this.#options;
    const places = await store.listPlaces(device.user_id);
    const bindings = places.flatMap((place) => bindingsOf(place, device, which));
    if (bindings.length === 0) return;
    // Not under the user's lock, and nothing that this device waits for.
    for (const groupId of await exchanges.bind(bindings)) {
      void this.restore(groupId).catch(() => undefined);
    }
  }

  /** Takes a mailbox out of all groups of its user, by whoever holds the user's lock. */
  async unbindMailbox(userId: string, queue: string): Promise<void> {
    const { store, exchanges } = this.#options;
    const places = await store.listPlaces(userId);
    await exchanges.unbind(places.map((place) => ({ ...place, queue, live: false })));
  }

  /** Those that a user is in. */
  async listOf(userId: string): Promise<string[]> {
    return this.#options.store.listOf(userId);
  }

  /** How many groups a user is in. */
  async countOf(userId: string): Promise<number> {
    return (await this.#options.store.listOf(userId)).length;
  }

  /** The user is forgotten; its queues are gone, and their bindings with them. */
  async forgetUser(userId: string): Promise<void> {
    await this.#options.store.removeUser(userId);
  }

  /**
   * A message found nobody. That may be right, unless somebody has deleted the group's exchanges.
   * @returns whether it was wrong, and has been mended.
   */
  async heal(groupId: string): Promise<boolean> {
    if (await this.#options.exchanges.exist(groupId)) return false;
    await this.restore(groupId);
    return true;
  }

  /** Makes the exchanges of a group anew, and all its bindings. */
  async restore(groupId: string): Promise<void> {
    const { store, locks, exchanges } = this.#options;
    await locks.group(groupId, async () => {
      const group = await this.#find(groupId);
      if (group === undefined) return;
      await exchanges.restore(group);
      await store.setAllPending(group);
    });
    await this.finishPending();
  }

  /** Goes on with what was broken off. */
  async finishPending(): Promise<void> {
    const { store, locks } = this.#options;
    for (const groupId of await store.listEnded(CHUNK)) await this.#finishRemoval(groupId);
    for (;;) {
      const pending = await store.listPending(CHUNK);
      const groupId = pending[0]?.groupId;
      if (groupId === undefined) return;
      const users = pending.filter((member) => member.groupId === groupId);
      const group = await this.#find(groupId);
      if (group === undefined) continue;
      const userIds = users.map(({ userId }) => userId);
      const isWhole = await locks.users(userIds, async () => {
        return !(await this.#isThere(group)) || this.#finish(group, userIds);
      });
      if (!isWhole) await this.#redeclare(groupId);
    }
  }

  async #redeclare(groupId: string): Promise<void> {
    const { locks, exchanges } = this.#options;
    await locks.group(groupId, async () => {
      const group = await this.#find(groupId);
      if (group !== undefined) await exchanges.restore(group);
    });
  }

  /**
   * Brings the bindings of these users in line with the database.
   * @returns false when the group's exchange is not there, so that it could not be done.
   */
  async #finish(group: Group, userIds: string[]): Promise<boolean> {
    const { store, devices, exchanges, provisioner } = this.#options;
    // From here on, its removal waits for the locks of those who are in it.
    if (!(await this.#isThere(group))) {
      throw new HttpProblem('group_unknown', 'It was removed meanwhile.');
    }
    const { joining, leaving } = await store.pendingOf(group, userIds);
    const users = [...joining, ...leaving];
    if (users.length === 0) return true;
    const known = await devices.listOfAll(users);
    const isLeaving = new Set(leaving);
    const toBindings = (device: Device): GroupBinding[] =>
      // Before its first session a device has no live queue.
      bindingsOf(group, device, { mail: true, live: device.session_id !== null });
    const arriving = known.filter((device) => !isLeaving.has(device.user_id)).flatMap(toBindings);
    const departing = known
      .filter((device) => isLeaving.has(device.user_id))
      .flatMap((device) => allBindingsOf(group, device));
    // The last to be bound to the group, a tap would have senders hear that somebody is reached.
    await provisioner.deleteQueues(leaving.map(tapOf));
    await exchanges.unbind(departing);
    const missing = await exchanges.bind(arriving);
    if (missing.size > 0) return false;
    await store.settle(group, users);
    return true;
  }

  /** Messages to it lead somewhere before anybody can know of it. */
  async #make(groupId: string, history: GroupHistory = 'all'): Promise<Group> {
    const { locks, store, exchanges } = this.#options;
    await this.#options.link.requireOpen();
    for (;;) {
      await this.#finishRemoval(groupId);
      const made = await locks.group(groupId, async () => {
        const known = await store.find(groupId);
        if (known !== undefined) return known.isEnded ? undefined : known;
        const place = { groupId, isSharded: false };
        // What an older database has left behind would have members that this one does not know.
        await exchanges.remove(place);
        await exchanges.declare(place);
        return store.add(groupId, history, Date.now());
      });
      if (made !== undefined) return made;
    }
  }

  /** @param more how many may join it. */
  async #shardIfLarge(group: Group, more: number): Promise<Group> {
    const { locks, store, exchanges } = this.#options;
    if (group.isSharded || (await store.countMembers(group)) + more <= MAX_UNSHARDED) return group;
    return locks.group(group.groupId, async () => {
      const known = await this.#find(group.groupId);
      if (known?.ref !== group.ref || known.isSharded) return known ?? group;
      const sharded = { ...known, isSharded: true };
      await exchanges.declare(sharded);
      await store.setSharded(sharded);
      return sharded;
    });
  }

  /** Of a group that has ended; nothing otherwise. */
  async #finishRemoval(groupId: string): Promise<void> {
    const { exchanges, locks, store, forgetHistory } = this.#options;
    const ended = await store.find(groupId);
    if (ended?.isEnded !== true) return;
    await this.#letBindingsEnd(ended);
    await locks.group(groupId, async () => {
      const group = await store.find(groupId);
      if (group?.ref !== ended.ref) return;
      await exchanges.remove(group);
      await forgetHistory(group);
      await store.remove(group);
    });
  }

  /**
   * Who binds the queues of a user has the user's lock, and looks whether the group is there once it has it: after
   * this nobody binds any more. See {@link GroupExchanges.remove}.
   */
  async #letBindingsEnd(group: Group): Promise<void> {
    const { locks, store } = this.#options;
    let after: string | undefined;
    await whileThereIsMore(async () => {
      const userIds = await store.listAllMembers(group, { after, limit: CHUNK });
      await locks.users(userIds, () => Promise.resolve());
      after = userIds.at(-1);
      return userIds.length === CHUNK;
    });
  }

  async #state(group: Group): Promise<GroupState> {
    return {
      groupId: group.groupId,
      history: group.history,
      members: await this.#options.store.countMembers(group),
      createdAt: new Date(group.createdAt).toISOString(),
    };
  }

  async #known(groupId: string): Promise<Group> {
    const group = await this.#find(groupId);
    if (group === undefined) throw new HttpProblem('group_unknown');
    return group;
  }

  /** Whether it has not been removed meanwhile, nor made anew. */
  async #isThere({ groupId, ref }: Group): Promise<boolean> {
    return (await this.#find(groupId))?.ref === ref;
  }

  async #find(groupId: string): Promise<Group | undefined> {
    const group = await this.#options.store.find(groupId);
    return group?.isEnded === true ? undefined : group;
  }
}

const bindingsOf = (
  { groupId, isSharded }: GroupPlace,
  device: Device,
  { mail, live }: { mail: boolean; live: boolean },
): GroupBinding[] => [
  ...(mail ? [{ groupId, isSharded, queue: inboxOf(device), live: false }] : []),
  ...(live ? [{ groupId, isSharded, queue: device.live_queue, live: true }] : []),
];

/** A mailbox that is being replaced may still be bound. */
const allBindingsOf = ({ groupId, isSharded }: GroupPlace, device: Device): GroupBinding[] => [
  ...mailboxesOf(device).map((queue) => ({ groupId, isSharded, queue, live: false })),
  { groupId, isSharded, queue: device.live_queue, live: true },
];

function* chunksOf(userIds: string[]): Generator<string[]> {
  for (let start = 0; start < userIds.length; start += CHUNK) {
    yield userIds.slice(start, start + CHUNK);
  }
}
