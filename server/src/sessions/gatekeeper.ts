import type { Logger } from 'pino';
import { ownerOf, type Connections } from '../broker/connections.js';
import type { Provisioner } from '../broker/provisioner.js';
import type { BrokerWatch, ClientConnection } from '../broker/watch.js';
import { FairLimit } from '../fair-limit.js';
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
/** Questions at the same time; half of them about one user, at most. */
const LIMIT = { atOnce: 8, ofOne: 4 };

/**
 * Shows the door to connections that have no business being there: those of queues that are gone, those
 * under a false name, and those whose token has ended, which the broker itself lets live on (STOMP up
 * to 4.3.5, AMQP up to 4.2.5).
 */
export class Gatekeeper {
  readonly #options: GatekeeperOptions;
  /** Only questions have a place: a connection that will not close keeps no other one open. */
  readonly #limit = new FairLimit(LIMIT.atOnce, LIMIT.ofOne);
  /** By queues; none of them rejects. */
  readonly #expiring = new Map<string, Promise<void>>();
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
    await Promise.all(this.#expiring.values());
  }

  #inspect(connection: ClientConnection): void {
    const { connections, logger } = this.#options;
    const mayStay = async () => this.#isClosed || (await this.#hasGrant(connection));
    this.#limit
      .run(ownerOf(connection.user ?? connection.login), mayStay)
      .then((isGood) => (isGood ? undefined : connections.close(connection, 'no_session')))
      .catch((error: unknown) => {
        logger.warn({ err: error }, 'a connection could not be looked at');
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
      const begun = expired.filter(({ queue }) => !this.#expiring.has(queue));
      // Not waited for: one that takes long holds up no other.
      void this.#expireAll(begun);
    } catch (error) {
      logger.warn({ err: error }, 'sessions that are over could not be looked for');
    }
  }

  async #expireAll(devices: Device[]): Promise<void> {
    const failures: unknown[] = [];
    const all = devices.map((device) => {
      const expiring = this.#expire(device)
        .catch((error: unknown) => void failures.push(error))
        .finally(() => this.#expiring.delete(device.queue));
      this.#expiring.set(device.queue, expiring);
      return expiring;
    });
    await Promise.all(all);
    if (failures.length === 0) return;
    const context = { err: failures[0], failed: failures.length };
    this.#options.logger.warn(context, 'sessions that are over could not be ended');
  }

  async #expire(device: Device): Promise<void> {
    const { store, connections } = this.#options;
    const { queue, user_id: userId } = device;
    const isOver = async () => this.#isClosed || !(await this.#isUsed(queue));
    if (!(await this.#limit.run(userId, isOver))) {
      await connections.closeAll(queue, 'token_expired');
    }
    if (!this.#isClosed) await store.clearExpiry(device);
  }

  /** Most have gone by themselves. Consumers are counted too: they may be under another name. */
  async #isUsed(queue: string): Promise<boolean> {
    const { connections, provisioner } = this.#options;
    return (await connections.isOnline(queue)) || ((await provisioner.consumers(queue)) ?? 0) > 0;
  }
}
