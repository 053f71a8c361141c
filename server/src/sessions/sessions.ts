import { randomBytes } from 'node:crypto';
import {
  deviceKeys,
  deviceQueues,
  PROTOCOL_VERSION,
  userKeys,
  type NamePrefixes,
  type RecipientKeys,
  type SessionBody,
  type SessionGrant,
} from '@warren/protocol';
import type { Logger } from 'pino';
import type { ManagementApi } from '../broker/management.js';
import type { Provisioner, QueueSpec } from '../broker/provisioner.js';
import { HttpProblem } from '../problem.js';
import { UNCLAIMED, type Device, type DeviceStore } from '../storage/devices.js';
import type { ClientTokens } from './client-tokens.js';

/** In the name of a mailbox that waits for a first device; no encoded id looks so. */
const UNCLAIMED_NAME = '_unclaimed';

export interface Endpoints {
  stomp: string[];
  amqp: string[];
}

export interface SessionsOptions {
  store: DeviceStore;
  provisioner: Provisioner;
  management: ManagementApi;
  tokens: ClientTokens;
  prefixes: NamePrefixes;
  vhost: string;
  endpoints: Endpoints;
  prefetch: number;
  logger: Logger;
}

/** A page that was closed before it learned of its session has not replaced its siblings. */
const isSameInstallation = (device: Device, { installationId }: SessionBody): boolean =>
  installationId !== undefined && device.installation_id === installationId;

export type SessionKind = 'new' | 'renewed' | 'takeover';

/** 128 bits that nobody can guess. */
const randomName = (): string => randomBytes(16).toString('hex');

/** Makes the queues of users' devices, and grants sessions on them. */
export class Sessions {
  readonly #options: SessionsOptions;

  constructor(options: SessionsOptions) {
    this.#options = options;
  }

  /**
   * Opens a session for a device, or renews the one that is named.
   * @throws {HttpProblem} `session_replaced` when another session has taken the device over since;
   *   `broker_unavailable` when its queues could not be made sure of.
   */
  async open(
    userId: string,
    body: SessionBody,
  ): Promise<{ grant: SessionGrant; kind: SessionKind }> {
    const { store, provisioner } = this.#options;
    const deviceId = body.deviceId ?? randomName();
    // Asked before anything is written, so that a session that cannot be had leaves no trace.
    if (!provisioner.isConnected) throw new HttpProblem('broker_unavailable');

    // A mailbox that was made ahead becomes the first device's.
    if ((await store.find(userId, deviceId)) === undefined) await store.claim(userId, deviceId);
    const device = await store.findOrAdd(
      userId,
      deviceId,
      () => this.#newQueues(userId, deviceId),
      Date.now(),
    );
    const before = device.session_id;
    const renews = before !== null && body.sessionId !== undefined;
    if (renews && before !== body.sessionId && !isSameInstallation(device, body)) {
      throw new HttpProblem('session_replaced');
    }

    const [mail, live] = this.#specs(device);
    const { created } = await provisioner.ensureQueues(mail, live);

    const sessionId = renews ? before : randomName();
    const expected = renews ? before : undefined;
    const { installationId } = body;
    if (!(await store.setSession(device, sessionId, installationId, expected, Date.now()))) {
      // Another request came in between, or the device was removed: this one is judged again.
      return this.open(userId, body);
    }
    if (before !== null && (!renews || body.abandoned === true)) await this.#closeOlder(device);
    const kind = before === null ? 'new' : renews ? 'renewed' : 'takeover';
    return { grant: this.#grant(device, deviceId, sessionId, !created), kind };
  }

  /**
   * Makes the queues of these devices, so that messages wait before anybody has logged in. Without
   * devices, a user who has none gets a mailbox that the first one takes as its own.
   */
  async provision(userId: string, deviceIds: string[]): Promise<void> {
    const { store, provisioner } = this.#options;
    if (!provisioner.isConnected) throw new HttpProblem('broker_unavailable');
    const devices: Device[] = [];
    for (const deviceId of deviceIds) {
      devices.push(
        await store.findOrAdd(
          userId,
          deviceId,
          () => this.#newQueues(userId, deviceId),
          Date.now(),
        ),
      );
    }
    if (deviceIds.length === 0) {
      devices.push(...(await store.listOf(userId)));
      if (devices.length === 0) {
        const makeQueues = () => this.#newQueues(userId, UNCLAIMED);
        devices.push(await store.findOrAdd(userId, UNCLAIMED, makeQueues, Date.now()));
      }
    }
    for (const device of devices) await provisioner.ensureQueue(this.#specs(device)[0]);
  }

  #newQueues(userId: string, deviceId: string): RecipientKeys {
    const { prefixes } = this.#options;
    if (deviceId !== UNCLAIMED) return deviceQueues(userId, deviceId, randomName(), prefixes);
    const { mail, live } = userKeys(userId, prefixes);
    const rest = `${UNCLAIMED_NAME}.${randomName()}`;
    return { mail: `${mail}.${rest}`, live: `${live}.${rest}` };
  }

  #specs(device: Device): [mail: QueueSpec, live: QueueSpec] {
    const { prefixes } = this.#options;
    const keys = [userKeys(device.user_id, prefixes)];
    if (device.device_id !== UNCLAIMED) {
      keys.push(deviceKeys(device.user_id, device.device_id, prefixes));
    }
    return [
      { queue: device.queue, keys: [device.queue, ...keys.map(({ mail }) => mail)] },
      { queue: device.live_queue, keys: [device.live_queue, ...keys.map(({ live }) => live)] },
    ];
  }

  /** The older consumer would keep the queue to itself, so its connection ends before the grant is out. */
  async #closeOlder(device: Device): Promise<void> {
    try {
      await this.#options.management.closeConnections(device.queue, 'session_replaced');
    } catch (error) {
      // The session is good all the same: its consumer waits until the older one ends by itself.
      this.#options.logger.warn({ err: error }, 'an older connection could not be closed');
    }
  }

  #grant(device: Device, deviceId: string, sessionId: string, resumed: boolean): SessionGrant {
    const { tokens, vhost, endpoints, prefetch } = this.#options;
    const { token, expiresAt } = tokens.issue(device.queue, device.live_queue);
    return {
      protocol: PROTOCOL_VERSION,
      userId: device.user_id,
      deviceId,
      sessionId,
      queue: device.queue,
      liveQueue: device.live_queue,
      vhost,
      token,
      expiresAt: expiresAt.toISOString(),
      resumed,
      endpoints,
      prefetch,
    };
  }
}
