import type { Delivery, Outcome, Recipient } from '@warren/protocol';
import type { BrokerWatch } from '../broker/watch.js';
import type { Groups } from '../groups/groups.js';
import { HttpProblem } from '../problem.js';
import { isDatabaseUnavailable } from '../storage/database-errors.js';
import type { DeviceStore } from '../storage/devices.js';
import { oneByOne, portions } from '../storage/portions.js';

export interface RecipientsOptions {
  devices: DeviceStore;
  groups: Groups;
  watch: BrokerWatch;
}

/** What becomes of a message for each user of a list, if the broker confirms it. */
export type Outcomes = { user: string; outcome: Outcome }[];

/** Says who can be reached, where the broker will not: it tells no more than whether anybody was. */
export class Recipients {
  readonly #options: RecipientsOptions;

  constructor(options: RecipientsOptions) {
    this.#options = options;
  }

  /** Undefined where the broker says it, or nobody can. @throws {HttpProblem} `group_unknown` */
  async lookUp(to: Recipient, delivery: Delivery): Promise<Outcomes | undefined> {
    if ('users' in to) return this.#outcomes(to.users, delivery);
    if ('user' in to || 'device' in to) {
      // No database on the way of a message to one user; of a stored one the broker says that the history
      // has it.
      return delivery === 'stored' ? this.#ifKnown(to) : undefined;
    }
    if ('group' in to && !(await this.#options.groups.exists(to.group))) {
      throw new HttpProblem('group_unknown');
    }
    return undefined;
  }

  /** Each of them, also where the broker says whether anybody was reached. */
  async lookUpAll(to: Recipient, delivery: Delivery): Promise<Outcomes> {
    const { devices, groups } = this.#options;
    if ('user' in to) return this.#outcomes([to.user], delivery);
    if ('device' in to) {
      const { user, device } = to.device;
      const known = await devices.find(user, device);
      // Of a stored message the broker does not tell that the user has no such device.
      if (known?.ended_at !== null) return [{ user, outcome: 'unprovisioned' }];
      return this.#outcomes([user], delivery);
    }
    if ('users' in to) return this.#outcomes(to.users, delivery);
    if ('group' in to) return this.#outcomes(await groups.memberIds(to.group), delivery);
    return this.#outcomes(await devices.listUsers(), delivery);
  }

  /** A stored message waits for the history; it need not wait for the database. */
  async #ifKnown(to: Recipient): Promise<Outcomes | undefined> {
    try {
      return await this.lookUpAll(to, 'stored');
    } catch (error) {
      if (isDatabaseUnavailable(error)) return undefined;
      throw error;
    }
  }

  async #outcomes(userIds: string[], delivery: Delivery): Promise<Outcomes> {
    const all: Outcomes = [];
    await oneByOne(portions(userIds), async (some) => {
      all.push(...(await this.#outcomesOf(some, delivery)));
    });
    return all;
  }

  async #outcomesOf(userIds: string[], delivery: Delivery): Promise<Outcomes> {
    const known = await this.#options.devices.findUsers(userIds);
    const online = delivery === 'live' ? await this.#online(userIds) : known;
    return userIds.map((user) => ({
      user,
      outcome: !known.has(user) ? 'unprovisioned' : online.has(user) ? 'queued' : 'offline',
    }));
  }

  async #online(userIds: string[]): Promise<Set<string>> {
    const { devices, watch } = this.#options;
    const known = await devices.listOfAll(userIds);
    // As long as it is not known who is connected, whoever has a session may be.
    const isOnline = (queue: string): boolean =>
      !watch.isListed || watch.connectionsOf(queue).length > 0;
    return new Set(
      known
        .filter((device) => device.session_id !== null && isOnline(device.queue))
        .map((device) => device.user_id),
    );
  }
}
