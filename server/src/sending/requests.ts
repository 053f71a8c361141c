import type { RequestBody } from '@warren/protocol';
import type { BrokerWatch } from '../broker/watch.js';
import { HttpProblem } from '../problem.js';
import type { Publisher } from '../publisher/index.js';
import type { DeviceStore } from '../storage/devices.js';

export interface RequestsOptions {
  publisher: Publisher;
  devices: DeviceStore;
  watch: BrokerWatch;
}

/** Asks clients, and waits for their answers. */
export class Requests {
  readonly #options: RequestsOptions;

  constructor(options: RequestsOptions) {
    this.#options = options;
  }

  /**
   * @throws {HttpProblem} `user_unknown`, `user_offline`
   * @throws {PublishError} `recipient_offline`, `request_timeout`, `request_failed`
   */
  async ask({ to, type, data, timeoutMs }: RequestBody): Promise<unknown> {
    const { publisher, devices, watch } = this.#options;
    const userId = 'user' in to ? to.user : to.device.user;
    const known = await devices.listOfAll([userId]);
    if (known.length === 0) throw new HttpProblem('user_unknown');
    const asked = known.filter((device) => 'user' in to || device.device_id === to.device.device);
    // A live queue stays for a minute after its client: without this, its absence would be a time-out.
    const isOnline = asked.some(({ queue }) => watch.connectionsOf(queue).length > 0);
    if (watch.isListed && !isOnline) throw new HttpProblem('user_offline');
    return publisher.request(to, type, data, { timeoutMs });
  }
}
