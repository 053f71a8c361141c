import { setTimeout as wait } from 'node:timers/promises';
import type { AdminUser, OwnDevices, UserState } from '@warren/protocol';
import type { Connections } from '../broker/connections.js';
import type { Provisioner } from '../broker/provisioner.js';
import type { Depths } from '../mailboxes/depths.js';
import { HttpProblem } from '../problem.js';
import { mailboxesOf, UNCLAIMED, type Device, type DeviceStore } from '../storage/devices.js';
import type { ExpiredDeviceStore } from '../storage/expired-devices.js';
import type { PushDeviceStore } from '../storage/push-devices.js';
import type { UserTrail } from '../storage/user-trail.js';
import type { TimelineWriter } from '../timeline/writer.js';
import type { Tracker } from '../tracking/tracker.js';
import type { Groups } from '../groups/groups.js';
import type { History } from '../history/history.js';
import type { Cutoffs } from './cutoffs.js';
import type { Endings } from './endings.js';

export interface UsersOptions {
  store: DeviceStore;
  expired: ExpiredDeviceStore;
  cutoffs: Cutoffs;
  endings: Endings;
  groups: Groups;
  connections: Connections;
  depths: Depths;
  provisioner: Provisioner;
  history: History;
  pushDevices: PushDeviceStore;
  trail: UserTrail;
  timeline: Pick<TimelineWriter, 'flush'>;
  tracker: Tracker;
}

/** What is known of users, and how to part with them. */
export class Users {
  readonly #options: UsersOptions;

  constructor(options: UsersOptions) {
    this.#options = options;
  }

  /**
   * @param known how many messages wait in each mailbox. Default: the broker is asked.
   * @throws {HttpProblem} `user_unknown`, or `broker_unavailable` when the broker cannot be asked.
   */
  async state(userId: string, known?: Map<string, number>): Promise<UserState> {
    const { store, connections } = this.#options;
    await this.#known(userId);
    const rows = (await store.listOf(userId)).filter(({ ended_at: endedAt }) => endedAt === null);
    const depths = known ?? (await this.#options.depths.of(rows));
    const devices = await Promise.all(
      rows.map(async (row) => ({
        deviceId: row.device_id === UNCLAIMED ? null : row.device_id,
        queue: row.queue,
        online: await connections.isOnline(row.queue),
        depth: sumOf(mailboxesOf(row).map((queue) => depths.get(queue))),
        lastSeenAt: row.last_seen_at === null ? null : new Date(row.last_seen_at).toISOString(),
      })),
    );
    return { userId, online: devices.some(({ online }) => online), devices };
  }

  /** For the user: also one who has no device yet. */
  async devicesOf(userId: string): Promise<OwnDevices['devices']> {
    const { store, connections } = this.#options;
    const rows = await store.listOf(userId);
    const own = rows.filter((row) => row.ended_at === null && row.device_id !== UNCLAIMED);
    return Promise.all(
      own.map(async (row) => ({
        deviceId: row.device_id,
        name: row.name,
        platform: row.platform,
        online: await connections.isOnline(row.queue),
        createdAt: new Date(row.created_at).toISOString(),
        lastSeenAt: row.last_seen_at === null ? null : new Date(row.last_seen_at).toISOString(),
      })),
    );
  }

  /** For an operator. @throws {HttpProblem} as {@link state} */
  async whole(userId: string): Promise<AdminUser> {
    const { groups, pushDevices } = this.#options;
    const state = await this.state(userId);
    return {
      ...state,
      groups: await groups.listOf(userId),
      pushDevices: (await pushDevices.listOf(userId)).map((device) => ({
        deviceId: device.deviceId,
        provider: device.provider,
        ...(device.language !== undefined && { language: device.language }),
        updatedAt: new Date(device.updatedAt).toISOString(),
      })),
    };
  }

  /**
   * Throws away what waits in the user's mailboxes, but not what a client has in hand.
   * @returns how many messages. @throws {HttpProblem} `user_unknown`, `broker_unavailable`
   */
  async purge(userId: string, deviceId?: string): Promise<number> {
    const { provisioner, tracker } = this.#options;
    await this.#known(userId);
    const devices = (await this.#some(userId, deviceId)).filter(
      ({ ended_at: endedAt }) => endedAt === null,
    );
    let purged = 0;
    for (const device of devices) {
      for (const queue of mailboxesOf(device)) {
        const count = await provisioner.purge(queue);
        purged += count;
        if (count > 0) await tracker.mailboxGone(device, queue, 'dropped');
      }
    }
    return purged;
  }

  /**
   * Deletes the user's queues with what waits in them, ends its sessions, erases what only it sees of the
   * history, and forgets it.
   */
  async remove(userId: string): Promise<void> {
    const { store, cutoffs, endings, groups, history, pushDevices, timeline, trail } =
      this.#options;
    this.#requireBroker();
    await timeline.flush();
    const hadPush = await pushDevices.remove(userId);
    const hadHistory = await history.forgetUser(userId);
    if (!(await store.hasUser(userId))) {
      // One whose mailboxes have expired is not known any more, and may have left something.
      const hadExpired = await this.#options.expired.forget(userId);
      await groups.forgetUser(userId);
      const hadOther = hadHistory || hadExpired || hadPush;
      const hadTrail = await trail.erase(userId, Date.now(), hadOther);
      if (!hadOther && !hadTrail) throw new HttpProblem('user_unknown');
      return;
    }
    await endings.run(userId, 'user_removed', async () => {
      const devices = await store.listOf(userId);
      await this.#options.expired.forget(userId);
      await groups.forgetUser(userId);
      await cutoffs.raise(userId, undefined, devices, { tokens: false });
      return devices;
    });
    // Last: what became of its messages has been told to their senders by now.
    await trail.erase(userId, Date.now(), true);
  }

  /**
   * Logs a device out: its queues go with what waits in them, its session ends. Idempotent.
   * @param installationId whose requests for a session come too late from now on.
   */
  async removeDevice(userId: string, deviceId: string, installationId?: string): Promise<void> {
    const { store, cutoffs, endings, pushDevices } = this.#options;
    this.#requireBroker();
    await endings.run(userId, 'device_removed', async () => {
      await pushDevices.remove(userId, deviceId);
      const device = await store.find(userId, deviceId);
      await this.#options.expired.forget(userId, deviceId);
      const devices = device === undefined ? [] : [device];
      // The request that would make it may be on its way.
      if (device !== undefined || installationId !== undefined) {
        await cutoffs.raise(userId, deviceId, devices, { tokens: false, installationId });
      }
      return devices;
    });
  }

  /**
   * Closes connections; the clients may come back.
   * @throws {HttpProblem} `user_unknown`, `broker_unavailable`
   */
  async disconnect(userId: string, deviceId?: string): Promise<void> {
    const { connections } = this.#options;
    await this.#known(userId);
    const devices = await this.#some(userId, deviceId);
    await Promise.all(devices.map(({ queue }) => connections.closeAll(queue, 'disconnected')));
  }

  /**
   * Cuts off now. When it resolves, nothing that is published reaches these devices, their tokens are
   * worthless, and so are the application's that were issued before. A mailbox that no device has
   * taken stays. It takes up to a second, since tokens tell no more than the second of their issue.
   * @throws {HttpProblem} `broker_unavailable`: tokens are refused, but queues may still be there;
   *   they are deleted as soon as the broker is back.
   */
  async revoke(userId: string, deviceId?: string): Promise<void> {
    const { cutoffs, endings, pushDevices } = this.#options;
    let goodAgainAt = 0;
    await endings.run(userId, 'revoked', async () => {
      await pushDevices.remove(userId, deviceId);
      const devices = (await this.#some(userId, deviceId)).filter(
        (device) => device.device_id !== UNCLAIMED,
      );
      goodAgainAt = await cutoffs.raise(userId, deviceId, devices, { tokens: true });
      return devices;
    });
    // Whoever gives the user a new token after this answer gives one that is good.
    await wait(Math.max(0, goodAgainAt - Date.now()));
  }

  /** Asked before anything is written, so that nothing is done when it cannot be done now. */
  #requireBroker(): void {
    if (!this.#options.provisioner.isConnected) throw new HttpProblem('broker_unavailable');
  }

  async #known(userId: string): Promise<void> {
    if (!(await this.#options.store.hasUser(userId))) throw new HttpProblem('user_unknown');
  }

  async #some(userId: string, deviceId: string | undefined): Promise<Device[]> {
    const { store } = this.#options;
    if (deviceId === undefined) return store.listOf(userId);
    const device = await store.find(userId, deviceId);
    return device === undefined ? [] : [device];
  }
}

/** Null when none of them is known. */
function sumOf(depths: (number | undefined)[]): number | null {
  const known = depths.filter((depth) => depth !== undefined);
  return known.length === 0 ? null : known.reduce((sum, depth) => sum + depth, 0);
}
