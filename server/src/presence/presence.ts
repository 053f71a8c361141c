import type { PresenceReply } from '@warren/protocol';
import type { Logger } from 'pino';
import type { BrokerWatch, ClientConnection } from '../broker/watch.js';
import type { Events } from '../events/events.js';
import { HttpProblem } from '../problem.js';
import type { DeviceStore } from '../storage/devices.js';
import type { PresenceStore } from '../storage/presence.js';

export interface PresenceOptions {
  watch: BrokerWatch;
  devices: DeviceStore;
  store: PresenceStore;
  events: Events;
  /** What the names of all mailboxes begin with. */
  queuePrefix: string;
  /** How long somebody has to be gone before it is told, in milliseconds. */
  graceMs: number;
  logger: Logger;
}

/** How long a server that has just begun waits to know of all connections, in milliseconds. */
const LISTED_MS = 3000;
/** Changes of one moment are looked up together. */
const GATHER_MS = 50;
const PAGE = 500;

/**
 * Who is online: whoever has a connection that the broker knows of. Changes are told as events, those
 * who go a moment later, since most of them come back.
 */
export class Presence {
  readonly #options: PresenceOptions;
  /** Whose mailboxes they are: a device may be forgotten before its connection is. */
  readonly #owners = new Map<string, string>();
  /** Mailboxes with a change that is still to be looked at, and from when on. */
  readonly #changed = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: PresenceOptions) {
    this.#options = options;
    const { watch } = options;
    for (const event of ['authenticated', 'found'] as const) {
      watch.on(event, (connection: ClientConnection) => {
        this.#note(connection, GATHER_MS);
      });
    }
    watch.on('closed', (connection) => {
      this.#note(connection, options.graceMs);
    });
    const compare = (): void => {
      void this.#attempt(() => this.#compare());
    };
    watch.on('began', () => {
      // Later listings are told as connections that were found or closed. Once, however often it began before.
      watch.off('listed', compare);
      watch.once('listed', compare);
    });
  }

  /**
   * Of any number of users. Those who are not known are not online.
   * @throws {HttpProblem} `broker_unavailable` when it cannot be known.
   */
  async of(userIds: string[]): Promise<PresenceReply> {
    const { watch, devices, store } = this.#options;
    await watch.listed(LISTED_MS);
    if (!watch.isListed) {
      throw new HttpProblem('broker_unavailable', 'Who is online cannot be known without it.');
    }
    const lastSeen = await store.lastSeen(userIds);
    const online = new Set<string>();
    for (const device of await devices.listOfAll(userIds)) {
      const { user_id: userId, last_seen_at: seenAt } = device;
      if (watch.connectionsOf(device.queue).length > 0) online.add(userId);
      if (seenAt !== null) lastSeen.set(userId, Math.max(seenAt, lastSeen.get(userId) ?? 0));
    }
    return {
      users: userIds.map((user) => {
        const seenAt = lastSeen.get(user);
        return {
          user,
          online: online.has(user),
          lastSeenAt: seenAt === undefined ? null : new Date(seenAt).toISOString(),
        };
      }),
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #note({ user, login }: ClientConnection, delayMs: number): void {
    const queue = user ?? login;
    if (!queue.startsWith(this.#options.queuePrefix)) return;
    this.#changed.set(queue, Date.now() + delayMs);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#running ??= this.#attempt(() => this.#look()).finally(() => {
        this.#running = undefined;
        if (this.#changed.size > 0) this.#schedule();
      });
    }, GATHER_MS);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    // What happens while the broker is away is found out when it is back.
    if (!this.#options.watch.isWatching) {
      this.#changed.clear();
      return;
    }
    const now = Date.now();
    const due = [...this.#changed].filter(([, at]) => at <= now).map(([queue]) => queue);
    for (const queue of due) this.#changed.delete(queue);
    for (let start = 0; start < due.length; start += PAGE) {
      await this.#lookAt(due.slice(start, start + PAGE));
    }
  }

  async #lookAt(queues: string[]): Promise<void> {
    const { devices, watch } = this.#options;
    const strangers = queues.filter((queue) => !this.#owners.has(queue));
    for (const { queue, user_id: userId } of await devices.listByQueues(strangers)) {
      this.#owners.set(queue, userId);
    }
    const users = new Set(queues.flatMap((queue) => this.#owners.get(queue) ?? []));
    for (const queue of queues) {
      if (watch.connectionsOf(queue).length === 0) this.#owners.delete(queue);
    }
    await this.#tell([...users]);
  }

  /** Also users of whom nothing was heard: those who went while no server ran. */
  async #compare(): Promise<void> {
    const { store, watch, graceMs } = this.#options;
    for (const queue of watch.users()) this.#note({ name: '', login: queue, user: queue }, 0);
    const listedAt = Date.now();
    // After a restart of the broker most will be back in a moment.
    await new Promise((resolve) => setTimeout(resolve, graceMs).unref());
    let after = '';
    while (!this.#isClosed && watch.isWatching && Date.now() - listedAt < 60_000) {
      const users = await store.listOnline(after, PAGE);
      await this.#tell(users);
      if (users.length < PAGE) return;
      after = users.at(-1) ?? '';
    }
  }

  async #tell(users: string[]): Promise<void> {
    const { devices, watch, store, events } = this.#options;
    if (users.length === 0) return;
    const online = new Set<string>();
    for (const device of await devices.listOfAll(users)) {
      if (watch.connectionsOf(device.queue).length > 0) online.add(device.user_id);
    }
    const now = Date.now();
    const came = await store.set([...online], true, now);
    const went = await store.set(
      users.filter((user) => !online.has(user)),
      false,
      now,
    );
    if (came + went > 0) events.poke();
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'who is online could not be told');
    }
  }
}
