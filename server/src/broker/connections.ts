import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { ManagementApi } from './management.js';
import type { Provisioner } from './provisioner.js';
import type { BrokerWatch, ClientConnection } from './watch.js';

export interface ConnectionsOptions {
  management: ManagementApi;
  watch: BrokerWatch;
  provisioner: Provisioner;
  /** What the names of all clients' queues begin with. */
  queuePrefix: string;
  logger: Logger;
}

/** How often a connection that the broker does not list yet is tried again, in milliseconds. */
const RETRY_MS = 250;
/** With statistics collected, the broker lists a connection up to 4 s after it was made. */
const RETRIES = 32;
/** How long a closed connection's consumer may stay: twenty times this, in milliseconds. */
const PATIENCE_MS = 25;
const PATIENCE = 20;

/** The connections of clients: whether there are any, and how to end them. */
export class Connections {
  readonly #options: ConnectionsOptions;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** Whether somebody is connected with the token of this queue. */
  async isOnline(queue: string): Promise<boolean> {
    const { watch, management } = this.#options;
    return watch.isWatching ? watch.connectionsOf(queue).length > 0 : management.isConnected(queue);
  }

  /**
   * Closes whatever logged in with the token of this queue, whatever it called itself.
   * @throws {HttpProblem} `broker_unavailable`
   */
  async closeAll(queue: string, reason: string): Promise<void> {
    const { watch, management } = this.#options;
    const liars = watch.connectionsOf(queue).filter(({ login }) => login !== queue);
    await Promise.all([
      management.closeConnections(queue, reason),
      ...liars.map((connection) => this.close(connection, reason)),
    ]);
    await this.#closeSuspects(queue, reason);
  }

  /**
   * A client that logged in under a false name before this process began is known by nothing but its
   * consumer. Only if there is one that will not go, all that it could be are closed; back ends come
   * back by themselves.
   */
  async #closeSuspects(queue: string, reason: string): Promise<void> {
    const { watch, provisioner, queuePrefix } = this.#options;
    for (let attempt = 0; attempt < PATIENCE; attempt++) {
      if (watch.suspects(queuePrefix).length === 0) return;
      if (((await provisioner.consumers(queue)) ?? 0) === 0) return;
      await wait(PATIENCE_MS, undefined, { ref: false });
    }
    const suspects = watch.suspects(queuePrefix);
    this.#options.logger.warn(
      { closed: suspects.length },
      'closed connections of unknown identity',
    );
    await Promise.all(suspects.map((connection) => this.close(connection, reason)));
  }

  /** Closes one. Not by its login, which may be somebody else's. */
  async close(connection: ClientConnection, reason: string): Promise<void> {
    const { watch, management } = this.#options;
    for (let attempt = 0; attempt < RETRIES; attempt++) {
      if (await management.closeConnection(connection.name, reason)) return;
      if (!watch.connectionsOf(connection.user ?? connection.login).includes(connection)) return;
      await wait(RETRY_MS, undefined, { ref: false });
    }
    this.#options.logger.warn({ reason }, 'a connection could not be closed');
  }
}
