import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { Connections } from '../broker/connections.js';
import type { Provisioner } from '../broker/provisioner.js';
import type { BrokerWatch, ClientConnection } from '../broker/watch.js';
import type { Device, DeviceStore } from '../storage/devices.js';

export interface GatekeeperOptions {
  watch: BrokerWatch;
  connections: Connections;
  provisioner: Provisioner;
  store: DeviceStore;
  /** What the names of all clients' queues begin with, and so the name in every token of ours. */
  queuePrefix: string;
  /** How long after its last token's end a session is cut, in milliseconds. */
  graceMs: number;
  logger: Logger;
}

/** How often ended tokens are looked for, in milliseconds. */
const SWEEP_MS = 1000;
/** At most so many in one sweep: a server that was away for an hour catches up without a burst. */
const SWEEP_SIZE = 200;

/**
 * Shows the door to connections that have no business being there: those of queues that are gone, those
 * under a false name, and those whose token has ended, which the broker itself lets live on (STOMP up
 * to 4.3.5, AMQP up to 4.2.5).
 */
export class Gatekeeper {
  readonly #options: GatekeeperOptions;
  readonly #limit = pLimit(8);
  readonly #timer: NodeJS.Timeout;
  #sweeping: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: GatekeeperOptions) {
    this.#options = options;
    const { watch } = options;
    watch.on('authenticated', (connection) => {
      this.#inspect(connection);
    });
    watch.on('found', (connection) => {
      this.#inspect(connection);
    });
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

  #inspect(connection: ClientConnection): void {
    const work = async (): Promise<void> => {
      if (this.#isClosed || (await this.#hasGrant(connection))) return;
      await this.#options.connections.close(connection, 'no_session');
    };
    this.#limit(work).catch((error: unknown) => {
      this.#options.logger.warn({ err: error }, 'a connection could not be looked at');
    });
  }

  /** Of one that is older than the watch, no more is known than what it calls itself. */
  async #hasGrant({ login, user = login }: ClientConnection): Promise<boolean> {
    const { queuePrefix, store, provisioner } = this.#options;
    // An account of the broker, or of an authentication backend of the operator's.
    if (!user.startsWith(queuePrefix)) return true;
    if (login !== user) return false;
    const device = await store.findByQueue(user);
    if (device !== undefined) return device.ended_at === null;
    // A server with another database, on the same broker by design or by mistake, may have granted it.
    return provisioner.exists(user);
  }

  async #sweep(): Promise<void> {
    const { store, graceMs, logger } = this.#options;
    try {
      const expired = await store.listExpired(Date.now() - graceMs, SWEEP_SIZE);
      await Promise.all(expired.map((device) => this.#limit(() => this.#expire(device))));
    } catch (error) {
      logger.warn({ err: error }, 'sessions that are over could not be looked for');
    }
  }

  async #expire(device: Device): Promise<void> {
    const { store, connections, provisioner } = this.#options;
    if (this.#isClosed) return;
    // Most have gone by themselves. Consumers are counted too: they may be under another name.
    const isUsed =
      (await connections.isOnline(device.queue)) ||
      ((await provisioner.consumers(device.queue)) ?? 0) > 0;
    if (isUsed) await connections.closeAll(device.queue, 'token_expired');
    await store.clearExpiry(device);
  }
}
