import type { ManagementApi } from '../broker/management.js';
import type { Provisioner } from '../broker/provisioner.js';
import { mailboxesOf, type Device } from '../storage/devices.js';

export interface DepthsOptions {
  management: ManagementApi;
  provisioner: Provisioner;
}

/**
 * How many messages wait in the mailboxes of one user. The management API knows what is in a quorum queue as
 * of its last tick, seconds or a minute ago, so that the queue itself is asked; a classic one would take the
 * question for a use of it, and never expire.
 */
export class Depths {
  readonly #options: DepthsOptions;

  constructor(options: DepthsOptions) {
    this.#options = options;
  }

  /**
   * By queue; those that are gone are missing. Of a quorum queue without what clients have in hand.
   * @throws {HttpProblem} `broker_unavailable`
   */
  async of(devices: Device[]): Promise<Map<string, number>> {
    const depths = new Map<string, number>();
    const queues = devices.flatMap((device) =>
      mailboxesOf(device).map((queue) => ({ queue, type: typeOf(device, queue) })),
    );
    await Promise.all(
      queues.map(async ({ queue, type }) => {
        const depth = await this.#depthOf(queue, type);
        if (depth !== undefined) depths.set(queue, depth);
      }),
    );
    return depths;
  }

  async #depthOf(queue: string, type: string | null): Promise<number | undefined> {
    const { management, provisioner } = this.#options;
    if (type !== 'quorum') return management.depth(queue);
    return (await provisioner.stat(queue))?.ready;
  }
}

function typeOf(device: Device, queue: string): string | null {
  return queue === device.queue ? device.mailbox_type : device.next_type;
}
