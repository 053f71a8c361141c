import { TIMELINE_MS } from '@warren/protocol';
import type { Logger } from 'pino';
import type { Connections } from '../broker/connections.js';
import type { ManagementApi } from '../broker/management.js';
import type { Provisioner } from '../broker/provisioner.js';
import type { BrokerWatch } from '../broker/watch.js';
import { FairLimit } from '../fair-limit.js';
import type { TimelineWriter } from '../timeline/writer.js';
import type { Tracker } from '../tracking/tracker.js';
import type { Groups } from '../groups/groups.js';
import type { DeadQueues } from '../broker/dead-queues.js';
import type { DeadMailboxes } from '../mailboxes/dead-mailboxes.js';
import type { MailboxReplacement } from '../mailboxes/replacement.js';
import type { Storage } from '../storage/index.js';
import { mailboxesOf, UNCLAIMED, type Device } from '../storage/devices.js';
import type { Endings } from './endings.js';

export interface UpkeepOptions {
  watch: BrokerWatch;
  management: ManagementApi;
  provisioner: Provisioner;
  connections: Connections;
  storage: Storage;
  endings: Endings;
  groups: Groups;
  replacement: MailboxReplacement;
  deadQueues: DeadQueues;
  deadMailboxes: DeadMailboxes;
  tracker: Tracker;
  timeline: TimelineWriter;
  /** How long a device that its client forgets outlives its connection: a page may be suspended for a while. */
  passingDeviceMs: number;
  logger: Logger;
}

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** A full comparison lists all queues; the broker's events make it rarely necessary. */
const COMPARE_EVERY_MS = 60 * MINUTE_MS;
/** After one that failed, since the broker may be coming back part by part; twice as long after each more. */
const RETRY_MS = 2000;
const PAGE = 500;
/** Users whose devices are looked at side by side: one whose lock is busy holds up no other. */
const USERS_AT_ONCE = 4;
/** Sessions live in the memory of clients; none is named again after so long, and no device comes back. */
const SESSIONS_FORGOTTEN_MS = 90 * DAY_MS;
/** Who did what as an operator can be asked for so long. */
const AUDIT_MS = 365 * DAY_MS;
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
  readonly #limit = new FairLimit(USERS_AT_ONCE, 1);
  #comparedAt = 0;
  #running: Promise<void> | undefined;
  #endingPassing: Promise<unknown> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MS;
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
      setInterval(
        () => {
          this.#endingPassing ??= this.#attempt(
            'devices that nobody remembers were not ended',
            () => this.#endPassing(),
          ).finally(() => {
            this.#endingPassing = undefined;
          });
        },
        Math.min(MINUTE_MS, options.passingDeviceMs),
      ),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#retry);
    await Promise.all([this.#running, this.#endingPassing]);
    await this.#attempt('last-seen times could not be written', () => this.#writeSeen());
  }

  #run(): void {
    this.#running ??= this.#runSteps().then((done) => {
      this.#running = undefined;
      clearTimeout(this.#retry);
      // While the broker is away nothing can be done; it is told of when it is back.
      if (done || this.#isClosed || !this.#options.watch.isWatching) return;
      this.#retry = setTimeout(() => {
        this.#run();
      }, this.#retryMs);
      this.#retry.unref();
      this.#retryMs = Math.min(this.#retryMs * 2, MINUTE_MS);
    });
  }

  /** One that fails holds up no other. @returns whether all worked. */
  async #runSteps(): Promise<boolean> {
    const { groups, storage, deadMailboxes } = this.#options;
    const now = Date.now();
    const steps: Record<string, () => Promise<unknown>> = {
      'endings were not finished': () => this.#finishEndings(),
      'changes of groups were not finished': () => groups.finishPending(),
      'devices were not compared with queues': () => this.#compareWhenDue(),
      'dead mailboxes were not replaced': () => deadMailboxes.replaceKnown(),
      'old cutoffs were not removed': () => storage.cutoffs.removeOld(now - SESSIONS_FORGOTTEN_MS),
      'expired devices were not removed': () =>
        storage.expiredDevices.removeOld(now - SESSIONS_FORGOTTEN_MS),
      'old presence was not removed': () => storage.presence.removeOld(now - SESSIONS_FORGOTTEN_MS),
      'old messages were not removed': () =>
        storage.messages.removeOld(now - OUTCOMES_FORGOTTEN_MS),
      'old timelines were not removed': () => storage.timeline.removeOld(now - TIMELINE_MS),
      'old dead letters were not removed': () => storage.deadLetters.removeOld(now - TIMELINE_MS),
      'what was written of erased users was not removed': () => storage.userTrail.eraseLate(now),
      'the old audit log was not removed': () => storage.audit.removeOld(now - AUDIT_MS),
    };
    let isDone = true;
    for (const [failure, step] of Object.entries(steps)) {
      if (this.#isClosed) return false;
      isDone = (await this.#attempt(failure, step)) && isDone;
    }
    if (isDone) this.#retryMs = RETRY_MS;
    return isDone;
  }

  /** @returns whether it worked. */
  async #attempt(failure: string, work: () => Promise<unknown>): Promise<boolean> {
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
      await this.#options.storage.devices.setSeen(queues.slice(start, start + PAGE), Date.now());
    }
  }

  /** The broker was away when these were to go. */
  async #finishEndings(): Promise<void> {
    const { endings, storage } = this.#options;
    await this.#eachOf(await storage.devices.listEnded(PAGE), ({ user_id: userId, queue }) =>
      endings.run(userId, 'device_removed', async () => {
        const device = await storage.devices.findByQueue(queue);
        return device === undefined ? [] : [device];
      }),
    );
  }

  async #endPassing(): Promise<void> {
    const { storage, connections, passingDeviceMs } = this.#options;
    if (!(await connections.areKnown())) return;
    const before = Date.now() - passingDeviceMs;
    let after = 0;
    for (;;) {
      const devices = await storage.devices.listPassing(before, after, PAGE);
      const last = devices.at(-1);
      if (last === undefined || this.#isClosed) return;
      after = last.id;
      await this.#eachOf(devices, (device) => this.#endIfLeft(device, before));
    }
  }

  async #endIfLeft({ user_id: userId, queue }: Device, before: number): Promise<void> {
    const { storage, connections, endings } = this.#options;
    if (await connections.isOnline(queue)) return;
    await endings.run(userId, 'device_left', async () => {
      const device = await storage.devices.findByQueue(queue);
      const hasLeft = device?.last_seen_at != null && device.last_seen_at < before;
      return hasLeft ? [device] : [];
    });
  }

  /** One that fails holds up no other. @throws the first failure, at the end. */
  async #eachOf(devices: Device[], work: (device: Device) => Promise<void>): Promise<void> {
    const failures: unknown[] = [];
    const attempt = async (device: Device): Promise<void> => {
      if (this.#isClosed) return;
      await work(device).catch((error: unknown) => failures.push(error));
    };
    await Promise.all(
      devices.map((device) => this.#limit.run(device.user_id, () => attempt(device))),
    );
    if (failures.length > 0) throw failures[0];
  }

  async #compareWhenDue(): Promise<void> {
    if (Date.now() - this.#comparedAt >= COMPARE_EVERY_MS) await this.#compare();
  }

  async #compare(): Promise<void> {
    const { storage, management, deadQueues, logger } = this.#options;
    const comparedAt = Date.now();
    await deadQueues.look();
    const queues = await management.queues();
    let after = 0;
    for (;;) {
      const devices = await storage.devices.listAfter(after, PAGE);
      const last = devices.at(-1);
      if (last === undefined) break;
      after = last.id;
      for (const device of devices) {
        const missing = mailboxesOf(device).find((queue) => !queues.has(queue));
        if (missing !== undefined) await this.#forget(device.user_id, missing);
      }
    }
    this.#comparedAt = comparedAt;
    logger.debug({ queues: queues.size }, 'compared devices with queues');
  }

  async #check(queue: string): Promise<void> {
    const device = await this.#options.storage.devices.findByQueue(queue);
    if (device !== undefined) await this.#forget(device.user_id, queue);
  }

  /** Asked once more where nobody can open a session on it meanwhile. */
  async #forget(userId: string, queue: string): Promise<void> {
    const { storage, provisioner, replacement, tracker, timeline, logger } = this.#options;
    const { devices: store, locks } = storage;
    await locks.user(userId, async () => {
      const device = await store.findByQueue(queue);
      if (device?.ended_at !== null) return;
      if (await provisioner.exists(queue)) return;
      if (device.next_queue !== null) {
        // The device still has another one.
        await replacement.advance(device, { mayInterrupt: () => false });
        return;
      }
      await tracker.mailboxesGone([device], 'dropped');
      if (device.device_id !== UNCLAIMED) {
        await storage.expiredDevices.remember(device, Date.now());
      }
      await store.remove([device]);
      const { user_id: user, device_id: id } = device;
      const deviceId = id === UNCLAIMED ? null : id;
      timeline.note({ userId: user, at: Date.now(), kind: 'mailbox_lost', deviceId });
      logger.debug('forgot a device whose queue has expired');
    });
  }
}
