import {
  PROTOCOL_VERSION,
  type NamePrefixes,
  type SessionBody,
  type SessionGrant,
} from '@warren/protocol';
import type { Logger } from 'pino';
import type { Connections } from '../broker/connections.js';
import type { Provisioner } from '../broker/provisioner.js';
import type { Events } from '../events/events.js';
import type { Groups } from '../groups/groups.js';
import { inboxSpec, liveSpec, newQueues, randomName } from '../mailboxes/device-queues.js';
import type { MailboxTypes } from '../mailboxes/mailbox-type.js';
import type { MailboxReplacement } from '../mailboxes/replacement.js';
import { HttpProblem } from '../problem.js';
import { UNCLAIMED, type Device, type DeviceStore } from '../storage/devices.js';
import type { Locks } from '../storage/locks.js';
import type { TimelineWriter } from '../timeline/writer.js';
import type { Tracker } from '../tracking/tracker.js';
import { Admission } from './admission.js';
import type { ClientTokens } from './client-tokens.js';
import { beganAt, makeSessionId, type Cutoffs } from './cutoffs.js';
import type { Endings } from './endings.js';
import type { Identity } from './identity.js';
import type { Retirement } from './retirement.js';

export interface Endpoints {
  stomp: string[];
  amqp: string[];
}

export interface SessionsOptions {
  store: DeviceStore;
  locks: Locks;
  cutoffs: Cutoffs;
  endings: Endings;
  retirement: Retirement;
  groups: Groups;
  mailboxTypes: MailboxTypes;
  replacement: MailboxReplacement;
  tracker: Tracker;
  events: Events;
  timeline: TimelineWriter;
  provisioner: Provisioner;
  connections: Connections;
  tokens: ClientTokens;
  prefixes: NamePrefixes;
  vhost: string;
  endpoints: Endpoints;
  prefetch: number;
  /** How many devices a user may have. */
  maxDevices: number;
  logger: Logger;
}

/** A page that was closed before it learned of its session has not replaced its siblings. */
const isSameInstallation = (device: Device, { installationId }: SessionBody): boolean =>
  installationId !== undefined && device.installation_id === installationId;

export type SessionKind = 'new' | 'renewed' | 'takeover';

/** Makes the queues of users' devices, and grants sessions on them. */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #admission: Admission;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#admission = new Admission(options.locks);
  }

  /**
   * Opens a session for a device, or renews the one that is named.
   * @throws {HttpProblem} `session_replaced` when another session has taken the device over since;
   *   `session_ended` when it was logged out or revoked; `token_revoked`; `too_many_devices`;
   *   `overloaded`; `broker_unavailable` when its queues could not be made sure of.
   * @param signal aborted when nobody waits for the answer any more. A session that is opened for nobody
   *   would replace the one that the same client has asked for since.
   */
  async open(
    identity: Identity,
    body: SessionBody,
    signal: AbortSignal,
  ): Promise<{ grant: SessionGrant; kind: SessionKind }> {
    // Asked before anything is written, so that a session that cannot be had leaves no trace.
    if (!this.#options.provisioner.isConnected) {
      throw this.#admission.turnAway('broker_unavailable');
    }
    return this.#admission.run(identity.userId, signal, async (leave) => {
      const { grant, kind, older } = await this.#open(identity, body);
      // Clients that come back at once hold up this user, and nobody else.
      leave();
      if (older !== undefined) await this.#closeOlder(older);
      return { grant, kind };
    });
  }

  /** @returns with `older` if connections of an older session on it are to be closed. */
  async #open(
    identity: Identity,
    body: SessionBody,
  ): Promise<{ grant: SessionGrant; kind: SessionKind; older: Device | undefined }> {
    const { store, provisioner, cutoffs, endings, groups, replacement, prefixes } = this.#options;
    const { tracker, events, timeline } = this.#options;
    const { userId } = identity;
    const deviceId = body.deviceId ?? randomName();
    const { sessionId: named, installationId } = body;
    let known = await store.find(userId, deviceId);
    const attempt = { identity, deviceId, sessionId: named, installationId, device: known };
    const earliest = await cutoffs.admit(attempt);
    if (known !== undefined && known.ended_at !== null) {
      // It is to go, or was when the broker was away.
      await endings.finish([known], 'device_removed');
      known = undefined;
    }
    const before = known?.session_id ?? null;
    const renews = before !== null && named !== undefined;
    if (known !== undefined && renews && before !== named && !isSameInstallation(known, body)) {
      throw new HttpProblem('session_replaced');
    }

    const { device, isNew } =
      known === undefined
        ? await this.#add(userId, deviceId)
        : {
            device: await replacement.advance(known, { mayInterrupt: () => !renews }),
            isNew: false,
          };
    // One whose first session was broken off has nothing to lose yet.
    const isFirst = isNew || (before === null && device.is_bound === 0);
    const askedAt = Date.now();
    const asksLive = (await groups.countOf(userId)) > 0;
    let hasMissed = device.missed_at !== null;
    const inbox = inboxSpec(device, prefixes);
    const live = liveSpec(device, prefixes);
    const { created, liveCreated } = await provisioner.ensureQueues(inbox, live, {
      isNew,
      isBound: device.is_bound === 1,
      asksLive,
      // Written before there is a mailbox again, which would look as if nothing had happened.
      onMissing: async () => {
        if (isFirst && body.hasHandled !== true && named === undefined) return;
        hasMissed = true;
        const began = beganAt(named ?? '') || device.created_at;
        const since = device.last_seen_at ?? Math.min(device.created_at, began);
        await store.setMissed(inbox.queue, { now: askedAt, since, isForGood: true });
      },
    });
    if (created && !isFirst) {
      await tracker.mailboxesGone([device], 'dropped', askedAt);
      timeline.note({ userId, at: askedAt, kind: 'mailbox_lost', deviceId });
    }
    if (asksLive) {
      const isUnbound = created || device.is_bound === 0;
      await groups.bindDevice(device, { mail: isUnbound, live: liveCreated || isUnbound });
    }

    const now = Date.now();
    const sessionId = renews ? before : makeSessionId(Math.max(now, earliest), randomName());
    const { token, expiresAt } = this.#options.tokens.issue(device.queue, device.live_queue);
    const { name, platform, passing: isPassing = false } = body;
    const record = { sessionId, installationId, name, platform, isPassing, now };
    await store.setSession(device, { ...record, expiresAt: expiresAt.getTime() });
    const hasOlder = before !== null && (!renews || body.abandoned === true);
    const grant = this.#grant(device, {
      deviceId,
      sessionId,
      token,
      expiresAt: expiresAt.toISOString(),
      // What was lost while one mailbox took the other's place was written down there.
      resumed: !created && (known === undefined || device.missed_at === known.missed_at),
      ...(hasMissed && { missed: true }),
    });
    const kind = before === null ? 'new' : renews ? 'renewed' : 'takeover';
    if (kind !== 'renewed') {
      await events.tell({ event: 'session.created', at: now, user: userId, deviceId, kind });
      timeline.noteSome('sessions', { userId, at: now, kind: 'session', deviceId, reason: kind });
    }
    return { grant, kind, older: hasOlder ? device : undefined };
  }

  /**
   * Makes the queues of these devices, so that messages wait before anybody has logged in. Without
   * devices, a user who has none gets a mailbox that the first one takes as its own.
   * @returns how many messages wait in each of the user's mailboxes.
   * @throws {HttpProblem} `too_many_devices`, `broker_unavailable`
   */
  async provision(userId: string, deviceIds: string[]): Promise<Map<string, number>> {
    const { locks, provisioner } = this.#options;
    if (!provisioner.isConnected) throw new HttpProblem('broker_unavailable');
    return locks.user(userId, () => this.#provision(userId, deviceIds));
  }

  async #provision(userId: string, deviceIds: string[]): Promise<Map<string, number>> {
    const { store, provisioner, endings, groups } = this.#options;
    const known = await store.listOf(userId);
    await endings.finish(
      known.filter(({ ended_at: endedAt }) => endedAt !== null),
      'device_removed',
    );
    const devices = known.filter(({ ended_at: endedAt }) => endedAt === null);
    const wanted =
      deviceIds.length > 0 ? new Set(deviceIds) : new Set(devices.length > 0 ? [] : [UNCLAIMED]);
    for (const { device_id: deviceId } of devices) wanted.delete(deviceId);
    // Before the first is added: all of them or none.
    this.#refuseTooMany(devices.length + wanted.size);
    for (const deviceId of wanted) devices.push(await this.#addTo(userId, deviceId));
    const depths = new Map<string, number>();
    for (const device of devices) {
      const inbox = inboxSpec(device, this.#options.prefixes);
      depths.set(inbox.queue, await provisioner.ensureQueue(inbox));
      await groups.bindDevice(device, { mail: true, live: false });
      await store.setBound(device);
    }
    return depths;
  }

  /** A mailbox that was made ahead becomes the first device's. */
  async #add(userId: string, deviceId: string): Promise<{ device: Device; isNew: boolean }> {
    const { store } = this.#options;
    const unclaimed = await store.find(userId, UNCLAIMED);
    if (unclaimed?.ended_at === null) {
      await store.claim(unclaimed, deviceId);
      return { device: { ...unclaimed, device_id: deviceId }, isNew: false };
    }
    const others = (await store.listOf(userId)).filter(({ ended_at: endedAt }) => endedAt === null);
    const isFull = others.length >= this.#options.maxDevices;
    if (isFull && !(await this.#options.retirement.makeRoom(others))) {
      this.#refuseTooMany(others.length + 1);
    }
    return { device: await this.#addTo(userId, deviceId), isNew: true };
  }

  #refuseTooMany(count: number): void {
    const { maxDevices } = this.#options;
    if (count <= maxDevices) return;
    const detail = `${String(maxDevices)} at most: log one out.`;
    throw new HttpProblem('too_many_devices', detail);
  }

  async #addTo(userId: string, deviceId: string): Promise<Device> {
    const { store, mailboxTypes, prefixes } = this.#options;
    const queues = newQueues(userId, deviceId, await mailboxTypes.ofNew(), prefixes);
    return store.add(userId, deviceId, queues, Date.now());
  }

  /** The older consumer would keep the queue to itself, so its connection ends before the grant is out. */
  async #closeOlder(device: Device): Promise<void> {
    try {
      await this.#options.connections.closeAll(device.queue, 'session_replaced');
    } catch (error) {
      // The session is good all the same: its consumer waits until the older one ends by itself.
      this.#options.logger.warn({ err: error }, 'an older connection could not be closed');
    }
  }

  #grant(
    device: Device,
    session: Pick<
      SessionGrant,
      'deviceId' | 'sessionId' | 'token' | 'expiresAt' | 'resumed' | 'missed'
    >,
  ): SessionGrant {
    const { vhost, endpoints, prefetch } = this.#options;
    return {
      protocol: PROTOCOL_VERSION,
      userId: device.user_id,
      queue: device.queue,
      liveQueue: device.live_queue,
      vhost,
      endpoints,
      prefetch,
      ...session,
    };
  }
}
