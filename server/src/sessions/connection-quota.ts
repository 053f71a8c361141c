import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { Connections } from '../broker/connections.js';
import type { BrokerWatch, ClientConnection } from '../broker/watch.js';
import { UNCLAIMED, type DeviceStore } from '../storage/devices.js';
import { Budget } from '../timeline/budget.js';
import type { TimelineWriter } from '../timeline/writer.js';

export interface ConnectionQuotaOptions {
  watch: BrokerWatch;
  connections: Pick<Connections, 'close'>;
  devices: DeviceStore;
  timeline: TimelineWriter;
  /** What the names of all queues begin with that tokens of ours are for, and so the name in each token. */
  queuePrefixes: string[];
  logger: Logger;
}

/** A client has one; a page that reloads or a tab that takes over has two, for as long as the network is slow. */
const MAX_CONNECTIONS = 4;
/** Connections that are closed at the same time. */
const AT_ONCE = 8;
/** How often it is told of a device, in milliseconds. */
const TELL_MS = 60_000;

/**
 * Ends all but the newest connections of a device, or of a console. One token opens any number, each takes the
 * broker's memory and a place in the vhost's limit, and RabbitMQ has no limit for users that it does not keep itself.
 */
export class ConnectionQuota {
  readonly #options: ConnectionQuotaOptions;
  readonly #limit = pLimit(AT_ONCE);
  readonly #closing = new Set<ClientConnection>();
  readonly #told = new Budget({ perMinute: 1 });
  #isClosed = false;

  constructor(options: ConnectionQuotaOptions) {
    this.#options = options;
    const { watch } = options;
    watch.on('authenticated', ({ user }) => {
      this.#trim(user);
    });
    // Also those of before, and those that could not be closed.
    watch.on('listed', () => {
      for (const user of watch.users()) this.#trim(user);
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#limit.clearQueue();
  }

  #trim(user: string | undefined): void {
    const { watch, queuePrefixes, logger } = this.#options;
    if (this.#isClosed || user === undefined) return;
    if (!queuePrefixes.some((prefix) => user.startsWith(prefix))) return;
    // In the order in which they have proved to be this user. Whoever only says so must not have others closed.
    const open = watch
      .connectionsOf(user)
      .filter((connection) => connection.user === user && !this.#closing.has(connection));
    const excess = open.slice(0, -MAX_CONNECTIONS);
    if (excess.length === 0) return;
    this.#tell(user).catch((error: unknown) => {
      logger.debug({ err: error }, 'that a device had too many connections could not be noted');
    });
    for (const connection of excess) this.#end(connection);
  }

  #end(connection: ClientConnection): void {
    const { connections, logger } = this.#options;
    this.#closing.add(connection);
    this.#limit(() => connections.close(connection, 'too_many_connections'))
      .catch((error: unknown) => {
        // Tried again after the next listing.
        logger.debug({ err: error }, 'one connection too many could not be closed');
      })
      .finally(() => this.#closing.delete(connection));
  }

  /** Once, however many there are. */
  async #tell(queue: string): Promise<void> {
    const now = Date.now();
    if (this.#told.take(queue, now) !== 'allowed') return;
    const { devices, timeline, logger } = this.#options;
    logger.info('a device has more connections than a client needs; the older ones are closed');
    const device = await devices.findByQueue(queue);
    if (device === undefined) return;
    const { user_id: userId, device_id: id } = device;
    const deviceId = id === UNCLAIMED ? null : id;
    // Every server sees it.
    const occasion = `too_many_connections:${queue}:${String(Math.floor(now / TELL_MS))}`;
    timeline.note({ userId, at: now, kind: 'too_many_connections', deviceId, occasion });
  }
}
