import type { Logger } from 'pino';
import type { Connections } from '../broker/connections.js';
import type { BrokerWatch, ClientConnection } from '../broker/watch.js';
import { UNCLAIMED, type DeviceStore } from '../storage/devices.js';
import type { Happening } from '../storage/timeline.js';
import type { TimelineWriter } from './writer.js';

export interface ConnectionLogOptions {
  watch: BrokerWatch;
  connections: Connections;
  devices: DeviceStore;
  writer: TimelineWriter;
  /** What the names of all mailboxes begin with. */
  queuePrefix: string;
  logger: Logger;
}

/** Connections of one moment are looked up together. */
const GATHER_MS = 100;
const PAGE = 500;

interface Owner {
  userId: string;
  deviceId: string | null;
}

interface Change {
  connection: ClientConnection;
  kind: 'connected' | 'disconnected';
  at: number;
}

/** Writes down when devices connect, when they go, and why. */
export class ConnectionLog {
  readonly #options: ConnectionLogOptions;
  /** A device may be forgotten before its connection is. */
  readonly #owners = new Map<string, Owner>();
  #changes: Change[] = [];
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();

  constructor(options: ConnectionLogOptions) {
    this.#options = options;
    const { watch } = options;
    watch.on('authenticated', (connection, at) => {
      this.#note({ connection, kind: 'connected', at });
    });
    watch.on('closed', (connection, at) => {
      this.#note({ connection, kind: 'disconnected', at });
    });
    // Those that went while nobody watched are not heard of any more.
    watch.on('began', () => {
      this.#owners.clear();
    });
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#take();
    await this.#working;
  }

  #note(change: Change): void {
    const { user, login } = change.connection;
    if (!(user ?? login).startsWith(this.#options.queuePrefix)) return;
    this.#changes.push(change);
    this.#timer ??= setTimeout(() => {
      this.#take();
    }, GATHER_MS).unref();
  }

  #take(): void {
    this.#timer = undefined;
    const changes = this.#changes;
    this.#changes = [];
    for (let start = 0; start < changes.length; start += PAGE) {
      const page = changes.slice(start, start + PAGE);
      this.#working = this.#working.then(() => this.#write(page));
    }
  }

  async #write(changes: Change[]): Promise<void> {
    try {
      const owners = await this.#ownersOf(changes);
      const happenings = changes.map((change) => this.#toHappening(change, owners));
      const known = happenings.filter((happening) => happening !== undefined);
      this.#options.writer.noteSome('connections', ...known);
    } catch (error) {
      this.#options.logger.debug({ err: error }, 'connections could not be written down');
    }
  }

  async #ownersOf(changes: Change[]): Promise<Map<string, Owner>> {
    const queues = new Set(changes.map(({ connection }) => connection.user ?? connection.login));
    const devices = await this.#options.devices.listByQueues([...queues]);
    return new Map(
      devices.map(({ queue, user_id: userId, device_id: id }) => [
        queue,
        { userId, deviceId: id === UNCLAIMED ? null : id },
      ]),
    );
  }

  #toHappening(
    { connection, kind, at }: Change,
    owners: Map<string, Owner>,
  ): Happening | undefined {
    const { name, user, login } = connection;
    const owner = owners.get(user ?? login) ?? this.#owners.get(name);
    if (kind === 'connected' && owner !== undefined) this.#owners.set(name, owner);
    else this.#owners.delete(name);
    if (owner === undefined) return undefined;
    const reason =
      kind === 'disconnected' ? this.#options.connections.reasonOf(connection) : undefined;
    // Every server hears of it, at the broker's time.
    return { ...owner, at, kind, reason, occasion: `${kind}:${String(at)}:${name}` };
  }
}
