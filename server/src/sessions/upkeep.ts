import { TIMELINE_MS } from '@warren/protocol';
import type { Logger } from 'pino';
import type { ManagementApi } from '../broker/management.js';
import type { Provisioner } from '../broker/provisioner.js';
import type { BrokerWatch } from '../broker/watch.js';
import type { MessageStore } from '../storage/messages.js';
import type { PresenceStore } from '../storage/presence.js';
import type { DeadLetterStore } from '../storage/dead-letters.js';
import type { TimelineStore } from '../storage/timeline.js';
import type { TimelineWriter } from '../timeline/writer.js';
import type { Tracker } from '../tracking/tracker.js';
import type { Groups } from '../groups/groups.js';
import type { CutoffStore } from '../storage/cutoffs.js';
import { UNCLAIMED, type Device, type DeviceStore } from '../storage/devices.js';
import type { Locks } from '../storage/locks.js';
import type { Endings } from './endings.js';

export interface UpkeepOptions {
  watch: BrokerWatch;
  management: ManagementApi;
  provisioner: Provisioner;
  store: DeviceStore;
  cutoffStore: CutoffStore;
  locks: Locks;
  endings: Endings;
  groups: Groups;
  tracker: Tracker;
  messages: MessageStore;
  presenceStore: PresenceStore;
  timelineStore: TimelineStore;
  deadLetterStore: DeadLetterStore;
  timeline: TimelineWriter;
  logger: Logger;
}

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** A full comparison lists all queues; the broker's events make it rarely necessary. */
const COMPARE_EVERY_MS = 60 * MINUTE_MS;
/** After one that was broken off, since the broker may be coming back part by part. */
const RETRY_MS = 2000;
const PAGE = 500;
/** Sessions live in the memory of clients; none is named again after so long, and no device comes back. */
const SESSIONS_FORGOTTEN_MS = 90 * DAY_MS;
/** What became of a message can be asked for so long after its time was over. */
const OUTCOMES_FORGOTTEN_MS = 7 * DAY_MS;
/** Last-seen times are written together. */
const SEEN_EVERY_MS = 1000;

/**
 * Keeps the database and the broker in step: forgets devices whose queues have expired, finishes what
 * was broken off, remembers when devices were last seen.
 */
export class Upkeep {
  readonly #options: UpkeepOptions;
  readonly #timers: NodeJS.Timeout[];
  readonly #seen = new Set<string>();
  #comparedAt = 0;
  #running: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: UpkeepOptions) {
    this.#options = options;
    const { watch } = options;
    watch.on('closed', ({ user, login }) => {
      this.#seen.add(user ?? login);
    });
    watch.on('queueDeleted', (queue) => {
      void this.#attempt('a queue that is gone could not be forgotten', () => this.#check(queue));
    });
    watch.on('began', () => {
      // Whatever was deleted before was not heard of.
      this.#comparedAt = 0;
      this.#run();
    });
    this.#timers = [
      setInterval(() => {
        this.#run();
      }, MINUTE_MS),
      setInterval(() => {
        void this.#attempt('last-seen times could not be written', () => this.#writeSeen());
      }, SEEN_EVERY_MS),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#retry);
    await this.#running;
    await this.#attempt('last-seen times could not be written', () => this.#writeSeen());
  }

  #run(): void {
    this.#running ??= this.#attempt('the upkeep was broken off', async () => {
      await this.#finishEndings();
      await this.#options.groups.finishPending();
      await this.#options.cutoffStore.removeOld(Date.now() - SESSIONS_FORGOTTEN_MS);
      await this.#options.store.removeExpired(Date.now() - SESSIONS_FORGOTTEN_MS);
      await this.#options.presenceStore.removeOld(Date.now() - SESSIONS_FORGOTTEN_MS);
      await this.#options.messages.removeOld(Date.now() - OUTCOMES_FORGOTTEN_MS);
      await this.#options.timelineStore.removeOld(Date.now() - TIMELINE_MS);
      await this.#options.deadLetterStore.removeOld(Date.now() - TIMELINE_MS);
      if (Date.now() - this.#comparedAt >= COMPARE_EVERY_MS) await this.#compare();
    }).then((done) => {
      this.#running = undefined;
      clearTimeout(this.#retry);
      // While the broker is away nothing can be done; it is told of when it is back.
      if (done || this.#isClosed || !this.#options.watch.isWatching) return;
      this.#retry = setTimeout(() => {
        this.#run();
      }, RETRY_MS);
      this.#retry.unref();
    });
  }

  /** @returns whether it worked. */
  async #attempt(failure: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      this.#options.logger.warn({ err: error }, failure);
      return false;
    }
  }

  async #writeSeen(): Promise<void> {
    const queues = [...this.#seen];
    this.#seen.clear();
    for (let start = 0; start < queues.length; start += PAGE) {
      await this.#options.store.setSeen(queues.slice(start, start + PAGE), Date.now());
    }
  }

  /** The broker was away when these were to go. */
  async #finishEndings(): Promise<void> {
    const { store, endings } = this.#options;
    for (const { user_id: userId, queue } of await store.listEnded(PAGE)) {
      await endings.run(userId, 'device_removed', async () => {
        const device = await store.findByQueue(queue);
        return device === undefined ? [] : [device];
      });
    }
  }

  async #compare(): Promise<void> {
    const { store, management, logger } = this.#options;
    const comparedAt = Date.now();
    const queues = await management.queues();
    let after = 0;
    for (;;) {
      const devices = await store.listAfter(after, PAGE);
      const last = devices.at(-1);
      if (last === undefined) break;
      after = last.id;
      for (const device of devices) {
        if (!queues.has(device.queue)) await this.#forget(device);
      }
    }
    this.#comparedAt = comparedAt;
    logger.debug({ queues: queues.size }, 'compared devices with queues');
  }

  async #check(queue: string): Promise<void> {
    const device = await this.#options.store.findByQueue(queue);
    if (device !== undefined) await this.#forget(device);
  }

  /** Asked once more where nobody can open a session on it meanwhile. */
  async #forget({ user_id: userId, queue }: Device): Promise<void> {
    const { store, locks, provisioner, tracker, timeline, logger } = this.#options;
    await locks.user(userId, async () => {
      const device = await store.findByQueue(queue);
      if (device?.ended_at !== null) return;
      if (await provisioner.exists(queue)) return;
      await tracker.mailboxesGone([device], 'dropped');
      if (device.device_id === UNCLAIMED) await store.remove([device]);
      else await store.expire(device, Date.now());
      const { user_id: user, device_id: id } = device;
      const deviceId = id === UNCLAIMED ? null : id;
      timeline.note({ userId: user, at: Date.now(), kind: 'mailbox_lost', deviceId });
      logger.debug('forgot a device whose queue has expired');
    });
  }
}
