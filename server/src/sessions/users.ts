import { userKeys, type NamePrefixes, type UserState } from '@warren/protocol';
import type { ManagementApi } from '../broker/management.js';
import type { Provisioner } from '../broker/provisioner.js';
import { HttpProblem } from '../problem.js';
import { UNCLAIMED, type Device, type DeviceStore } from '../storage/devices.js';

export interface UsersOptions {
  store: DeviceStore;
  provisioner: Provisioner;
  management: ManagementApi;
  prefixes: NamePrefixes;
}

/** What is known of users, and their removal. */
export class Users {
  readonly #options: UsersOptions;

  constructor(options: UsersOptions) {
    this.#options = options;
  }

  /** @throws {HttpProblem} `user_unknown`, or `broker_unavailable` when the broker cannot be asked. */
  async state(userId: string): Promise<UserState> {
    const { store, management, prefixes } = this.#options;
    if (!(await store.hasUser(userId))) throw new HttpProblem('user_unknown');
    const rows = await store.listOf(userId);
    const depths = await management.depths(`${userKeys(userId, prefixes).mail}.`);
    const devices = await Promise.all(
      rows.map(async (row) => ({
        deviceId: row.device_id === UNCLAIMED ? null : row.device_id,
        queue: row.queue,
        // A client logs in with its queue's name.
        online: await management.isConnected(row.queue),
        depth: depths.get(row.queue) ?? null,
        lastSeenAt: row.last_seen_at === null ? null : new Date(row.last_seen_at).toISOString(),
      })),
    );
    return { userId, online: devices.some(({ online }) => online), devices };
  }

  /**
   * Deletes the user's queues with what waits in them, ends its connections and forgets it.
   * Broken off in the middle, it can be asked again.
   */
  async remove(userId: string): Promise<void> {
    const { store } = this.#options;
    if (!(await store.hasUser(userId))) throw new HttpProblem('user_unknown');
    await this.#removeDevices(userId, await store.listOf(userId));
  }

  /** Logs a device out: its queues go with what waits in them, its connection ends. Idempotent. */
  async removeDevice(userId: string, deviceId: string): Promise<void> {
    const device = await this.#options.store.find(userId, deviceId);
    if (device !== undefined) await this.#removeDevices(userId, [device]);
  }

  async #removeDevices(userId: string, devices: Device[]): Promise<void> {
    const { store, provisioner, management } = this.#options;
    // Queues first: a consumer is cancelled with its queue, whatever login its client claimed.
    await provisioner.deleteQueues(devices.flatMap((device) => [device.queue, device.live_queue]));
    await Promise.all(
      devices.map(({ queue }) => management.closeConnections(queue, 'device removed')),
    );
    await store.remove(userId, devices);
  }
}
