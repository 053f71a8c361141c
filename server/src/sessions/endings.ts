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

/** Takes devices away: their queues with what waits in them, their connections, their records. */
export class Endings {
  readonly #options: EndingsOptions;

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
    const { store, provisioner, connections, logger } = this.#options;
    if (devices.length === 0) return;
    await store.setEnded(devices, Date.now());
    // Queues first: a consumer is cancelled with its queue, whatever login its client claimed, and a
    // token is for this one name, which no queue will have again.
    await provisioner.deleteQueues(devices.flatMap((device) => [device.queue, device.live_queue]));
    await store.remove(devices);
    // What is left of the connections can read nothing. They are closed so that clients notice.
    const closing = devices.map(({ queue }) => connections.closeAll(queue, reason));
    for (const result of await Promise.allSettled(closing)) {
      if (result.status === 'rejected') {
        logger.warn({ err: result.reason as unknown }, 'a connection could not be closed');
      }
    }
  }
}
