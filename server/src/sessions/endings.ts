import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { Connections } from '../broker/connections.js';
import type { Provisioner } from '../broker/provisioner.js';
import type { Device, DeviceStore } from '../storage/devices.js';

export interface EndingsOptions {
  store: DeviceStore;
  provisioner: Provisioner;
  connections: Connections;
  logger: Logger;
}

/** Connections that are closed at the same time; nobody waits for them. */
const AT_ONCE = 8;

/** Takes devices away: their queues with what waits in them, their connections, their records. */
export class Endings {
  readonly #options: EndingsOptions;
  readonly #limit = pLimit(AT_ONCE);

  constructor(options: EndingsOptions) {
    this.#options = options;
  }

  /**
   * When it resolves, nothing reaches these devices any more. Broken off in the middle, it is gone on
   * with later, by whoever comes first: the same request again, a new session, or the upkeep.
   * @param devices of one user
   * @throws {HttpProblem} `broker_unavailable`
   */
  async end(devices: Device[], reason: string): Promise<void> {
    const { store, provisioner } = this.#options;
    if (devices.length === 0) return;
    await store.setEnded(devices, Date.now());
    // Queues first: a consumer is cancelled with its queue, whatever login its client claimed, and a
    // token is for this one name, which no queue will have again.
    await provisioner.deleteQueues(devices.flatMap((device) => [device.queue, device.live_queue]));
    await store.remove(devices);
    for (const { queue } of devices) void this.#limit(() => this.#close(queue, reason));
  }

  /** Lets connections be closed that are still to be. */
  async settled(): Promise<void> {
    while (this.#limit.activeCount + this.#limit.pendingCount > 0) {
      await this.#limit(() => undefined);
    }
  }

  /** What is left of the connections can read nothing. They are closed so that clients notice. */
  async #close(queue: string, reason: string): Promise<void> {
    try {
      await this.#options.connections.closeAll(queue, reason);
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'a connection could not be closed');
    }
  }
}
