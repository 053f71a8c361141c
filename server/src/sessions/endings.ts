import type { Logger } from 'pino';
import type { CloseReason, Connections } from '../broker/connections.js';
import type { Provisioner } from '../broker/provisioner.js';
import { tapOf } from '../console/tap.js';
import type { Events } from '../events/events.js';
import { FairLimit } from '../fair-limit.js';
import { queuesOf, UNCLAIMED, type Device, type DeviceStore } from '../storage/devices.js';
import type { Locks } from '../storage/locks.js';
import type { TimelineWriter } from '../timeline/writer.js';
import type { Tracker } from '../tracking/tracker.js';

export interface EndingsOptions {
  store: DeviceStore;
  locks: Locks;
  provisioner: Provisioner;
  connections: Connections;
  tracker: Tracker;
  events: Events;
  timeline: TimelineWriter;
  logger: Logger;
}

/** Devices whose connections are closed at the same time, half of them of one user at most; nobody waits for them. */
const LIMIT = { atOnce: 8, ofOne: 4 };

/** Takes devices away: their queues with what waits in them, their connections, their records. */
export class Endings {
  readonly #options: EndingsOptions;
  readonly #limit = new FairLimit(LIMIT.atOnce, LIMIT.ofOne);
  /** None of them rejects. */
  readonly #closing = new Set<Promise<void>>();

  constructor(options: EndingsOptions) {
    this.#options = options;
  }

  /**
   * Ends what `decide` chooses, which is called while nothing else happens to the user. The broker is
   * asked without holding the user up, so that many devices of one user end side by side. When it
   * resolves, nothing reaches these devices any more. Broken off in the middle, it is gone on with
   * later, by whoever comes first: the same request again, a new session, or the upkeep.
   * @throws {HttpProblem} `broker_unavailable`
   */
  async run(userId: string, reason: CloseReason, decide: () => Promise<Device[]>): Promise<void> {
    const { store, locks } = this.#options;
    const devices = await locks.user(userId, async () => {
      const chosen = await decide();
      await store.setEnded(chosen, Date.now());
      return chosen;
    });
    if (devices.length === 0) return;
    await this.#deleteQueues(devices);
    await locks.user(userId, () => this.#forget(devices, reason));
    this.#closeLater(devices, reason);
  }

  /** As {@link run}, by whoever holds the user up already. */
  async finish(devices: Device[], reason: CloseReason): Promise<void> {
    if (devices.length === 0) return;
    await this.#deleteQueues(devices);
    await this.#forget(devices, reason);
    this.#closeLater(devices, reason);
  }

  /** Lets connections be closed that are still to be. */
  async settled(): Promise<void> {
    while (this.#closing.size > 0) await Promise.all(this.#closing);
  }

  /**
   * Queues first: a consumer is cancelled with its queue, whatever login its client claimed, and a token
   * is for this one name, which no queue will have again.
   */
  async #deleteQueues(devices: Device[]): Promise<void> {
    // The broker would say of messages that come now that they have reached somebody.
    const taps = new Set(devices.map(({ user_id: userId }) => tapOf(userId)));
    await this.#options.provisioner.deleteQueues([...taps]);
    await this.#options.provisioner.deleteQueues(devices.flatMap(queuesOf));
  }

  /** What waited there has ended; whoever wants to know is told. */
  async #forget(devices: Device[], reason: CloseReason): Promise<void> {
    const { store, tracker, events, timeline } = this.#options;
    const isRevoked = reason === 'revoked';
    await tracker.mailboxesGone(devices, isRevoked ? 'revoked' : 'dropped');
    await store.remove(devices);
    const at = Date.now();
    await events.tell(
      ...devices.map(({ user_id: user, device_id: id }) => {
        const deviceId = id === UNCLAIMED ? null : id;
        return isRevoked
          ? { event: 'session.revoked' as const, at, user, deviceId }
          : { event: 'session.ended' as const, at, user, deviceId, reason };
      }),
    );
    timeline.note(
      ...devices.map(({ user_id: userId, device_id: id }) => ({
        userId,
        at,
        kind: 'session_ended' as const,
        deviceId: id === UNCLAIMED ? null : id,
        reason,
      })),
    );
  }

  #closeLater(devices: Device[], reason: CloseReason): void {
    for (const { queue, user_id: userId } of devices) {
      const close = () => this.#close(queue, reason);
      const closing = this.#limit.run(userId, close).finally(() => {
        this.#closing.delete(closing);
      });
      this.#closing.add(closing);
    }
  }

  /** What is left of the connections can read nothing. They are closed so that clients notice. */
  async #close(queue: string, reason: CloseReason): Promise<void> {
    try {
      await this.#options.connections.closeAll(queue, reason);
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'a connection could not be closed');
    }
  }
}
