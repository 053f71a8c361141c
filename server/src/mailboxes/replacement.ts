import type { NamePrefixes } from '@warren/protocol';
import { BROADCAST, shardFor } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import type { Counter } from 'prom-client';
import type { Connections } from '../broker/connections.js';
import type { DeadQueues } from '../broker/dead-queues.js';
import type { Provisioner } from '../broker/provisioner.js';
import { FairLimit } from '../fair-limit.js';
import type { Groups } from '../groups/groups.js';
import { UNCLAIMED, type Device, type DeviceStore } from '../storage/devices.js';
import type { Locks } from '../storage/locks.js';
import type { MailboxStore } from '../storage/mailboxes.js';
import type { MailboxType } from '../storage/schema.js';
import type { TimelineWriter } from '../timeline/writer.js';
import type { Tracker } from '../tracking/tracker.js';
import { inboxSpec, newQueues, sharedKeys } from './device-queues.js';

export interface ReplacementOptions {
  store: MailboxStore;
  devices: DeviceStore;
  locks: Locks;
  /** Which type mailboxes are to have; undefined: as they are. */
  wantedType: () => Promise<MailboxType | undefined>;
  provisioner: Provisioner;
  deadQueues: DeadQueues;
  connections: Connections;
  groups: Groups;
  tracker: Tracker;
  timeline: TimelineWriter;
  /** Counts mailboxes that were dead. */
  counter: Counter;
  /** The direct exchange of messages to users. */
  exchange: string;
  prefixes: NamePrefixes;
  logger: Logger;
}

/** How often replacements that are under way are looked at, in milliseconds. */
const SWEEP_MS = 1000;
/** At most so many in one sweep; the next goes on behind them. */
const SWEEP_SIZE = 100;
/** And so many of them together: each may interrupt a client, which comes back at once. */
const AT_ONCE = 10;
/** A client whose mailbox looks empty is interrupted ever more rarely: it may have a message in hand. */
const INTERRUPT_MS = { first: 1000, most: 60_000 };

/**
 * Puts another mailbox in the place of a device's: of another type, say. Neither senders nor clients know of
 * it, and whatever dies in the middle, nothing is lost and the order stays:
 *
 * 1. The next mailbox is written down, made, and bound to all that leads to the old one; then nothing leads
 *    to the old one any more. What is sent in between is in both, and handled once by its id.
 * 2. Sessions go on being granted on the old one until it is empty.
 * 3. When nothing waits in it and nobody is connected to it, so that nothing is with a client either, the next
 *    one takes over, and the old one is deleted.
 *
 * Each step can be done again; whoever has the user's lock does the next one: a session that is opened, or
 * the sweep.
 */
export class MailboxReplacement {
  readonly #options: ReplacementOptions;
  readonly #timer: NodeJS.Timeout;
  /** Of one user one: its devices are replaced one after the other, by whoever has its lock. */
  readonly #limit = new FairLimit(AT_ONCE, 1);
  /** When a device may next be interrupted, and how long it is to wait then. */
  readonly #interruptions = new Map<number, { notBefore: number; waitMs: number }>();
  #sweeping: Promise<void> | undefined;
  #after = 0;
  #isClosed = false;

  constructor(options: ReplacementOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      this.#sweeping ??= this.#sweep().finally(() => {
        this.#sweeping = undefined;
      });
    }, SWEEP_MS);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await this.#sweeping;
  }

  /**
   * Begins a replacement where the mailbox is not what it should be, and takes one that is under way as far
   * as it can be now. By whoever holds the user's lock.
   * @param mayInterrupt asked whether a client that may still have messages of the old one in hand is closed now.
   * @returns the device as it is then. @throws {HttpProblem} `broker_unavailable`
   */
  async advance(
    device: Device,
    { mayInterrupt }: { mayInterrupt: () => boolean },
  ): Promise<Device> {
    const { store, provisioner, deadQueues } = this.#options;
    let current = device;
    if (current.retired_queue !== null) current = await this.#deleteRetired(current);
    if (current.next_queue !== null) current = await this.#leaveDeadNext(current);
    else if (deadQueues.has(current.queue)) current = await this.#plan(current);
    else {
      const type = await this.#options.wantedType();
      if (type === undefined || type === current.mailbox_type) return current;
      // One that is gone is made anew by whoever needs it.
      if (!(await provisioner.exists(current.queue))) return store.setType(current, type);
      current = await this.#plan(current);
    }
    current = await this.#redirect(current);
    return this.#takeOver(current, mayInterrupt);
  }

  async #plan(device: Device): Promise<Device> {
    const { store, prefixes } = this.#options;
    const type = (await this.#options.wantedType()) ?? device.mailbox_type;
    const { mail } = newQueues(device.user_id, device.device_id, type, prefixes);
    return store.plan(device, { queue: mail, type, now: Date.now() });
  }

  /** One that is dead takes nobody's place: another one does. */
  async #leaveDeadNext(device: Device): Promise<Device> {
    const { deadQueues, provisioner } = this.#options;
    const { next_queue: next } = device;
    if (next === null || !deadQueues.has(next)) return device;
    await this.#noteLoss(device, next);
    const current = await this.#plan(device);
    await this.#unbind(device, next);
    await provisioner.deleteQueues([next]);
    deadQueues.leave(next);
    return current;
  }

  /** New mail goes to the next mailbox, and to no other. */
  async #redirect(device: Device): Promise<Device> {
    const { store, provisioner, groups, prefixes } = this.#options;
    const { queue, next_queue: next } = device;
    if (device.next_alone_since !== null) {
      if (next === null || (await provisioner.exists(next))) return device;
      await this.#noteLoss(device, next);
    }
    const spec = inboxSpec(device, prefixes);
    // Also under the older name, which a back end may still know.
    await provisioner.ensureQueue({ ...spec, keys: [...spec.keys, queue] });
    await groups.bindDevice(device, { mail: true, live: false });
    await this.#unbind(device, queue);
    const since = Date.now();
    await store.setNextAlone(device, since);
    return { ...device, next_alone_since: since };
  }

  /** Nothing leads to this mailbox of the device any more. */
  async #unbind(device: Device, queue: string): Promise<void> {
    const { provisioner, groups, exchange, prefixes } = this.#options;
    const keys = [device.queue, queue, ...sharedKeys(device, 'mail', prefixes)];
    await provisioner.unbind(queue, [
      ...[...new Set(keys)].map((routingKey) => ({ exchange, routingKey })),
      ...[BROADCAST, shardFor(BROADCAST, queue)].map((name) => ({
        exchange: name,
        routingKey: '',
      })),
    ]);
    await groups.unbindMailbox(device.user_id, queue);
  }

  async #takeOver(device: Device, mayInterrupt: () => boolean): Promise<Device> {
    const { store, provisioner, connections, deadQueues } = this.#options;
    const { queue } = device;
    // The broker has cancelled its consumer; a client that does not know that is told.
    if (deadQueues.has(queue)) await connections.closeAll(queue, 'mailbox_replaced');
    let stat = await provisioner.stat(queue);
    if (stat === undefined) {
      await this.#noteLoss(device, queue);
    } else {
      if (stat.ready > 0) return device;
      const isInUse = stat.consumers > 0 || (await connections.isOnline(queue));
      if (isInUse && mayInterrupt()) {
        await connections.closeAll(queue, 'mailbox_replaced');
        // What a client had in hand is back in it.
        stat = await provisioner.stat(queue);
      }
      if (stat?.ready !== 0 || stat.consumers > 0 || (await connections.isOnline(queue))) {
        return device;
      }
      if (!(await provisioner.isDrained(queue))) return device;
    }
    this.#interruptions.delete(device.id);
    return this.#deleteRetired(await store.promote(device));
  }

  async #deleteRetired(device: Device): Promise<Device> {
    const { store, provisioner } = this.#options;
    if (device.retired_queue === null) return device;
    await provisioner.deleteQueues([device.retired_queue]);
    this.#options.deadQueues.leave(device.retired_queue);
    await store.forgetRetired(device);
    return { ...device, retired_queue: null };
  }

  /** A mailbox has gone by itself, or is dead, with what was in it. */
  async #noteLoss(device: Device, queue: string): Promise<void> {
    const { devices, tracker, timeline, deadQueues, counter } = this.#options;
    if (deadQueues.has(queue)) counter.inc();
    const now = Date.now();
    const since = device.last_seen_at ?? device.created_at;
    await devices.setMissed(queue, { now, since, isForGood: true });
    await tracker.mailboxGone(device, queue, 'dropped', now);
    const { user_id: userId, device_id: id } = device;
    const deviceId = id === UNCLAIMED ? null : id;
    timeline.note({ userId, at: now, kind: 'mailbox_lost', deviceId });
  }

  async #sweep(): Promise<void> {
    const { store, provisioner, logger } = this.#options;
    if (!provisioner.isConnected) return;
    try {
      const devices = await store.listUnfinished(this.#after, SWEEP_SIZE);
      // Those of devices that are gone.
      if (devices.length === 0 && this.#after === 0) this.#interruptions.clear();
      this.#after = devices.length < SWEEP_SIZE ? 0 : (devices.at(-1)?.id ?? 0);
      const goOn = async (device: Device): Promise<void> => {
        if (this.#isClosed) return;
        // One that fails holds up no other.
        await this.#goOn(device).catch((error: unknown) => {
          logger.warn({ err: error }, 'the replacement of a mailbox was broken off');
        });
      };
      await Promise.all(
        devices.map((device) => this.#limit.run(device.user_id, () => goOn(device))),
      );
    } catch (error) {
      logger.warn({ err: error }, 'mailboxes that are being replaced could not be listed');
    }
  }

  async #goOn({ id, user_id: userId, device_id: deviceId }: Device): Promise<void> {
    const { devices, locks } = this.#options;
    await locks.user(userId, async () => {
      const device = await devices.find(userId, deviceId);
      // Logged out meanwhile, or made again since.
      if (device?.id !== id || device.ended_at !== null) return;
      if (device.next_queue === null && device.retired_queue === null) return;
      await this.advance(device, { mayInterrupt: () => this.#mayInterrupt(id) });
    });
  }

  #mayInterrupt(id: number): boolean {
    const now = Date.now();
    const known = this.#interruptions.get(id);
    if (known !== undefined && now < known.notBefore) return false;
    const waitMs = Math.min(
      INTERRUPT_MS.most,
      known === undefined ? INTERRUPT_MS.first : known.waitMs * 2,
    );
    this.#interruptions.set(id, { notBefore: now + waitMs, waitMs });
    return true;
  }
}
