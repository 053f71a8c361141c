import type { Logger } from 'pino';
import type { Connections } from '../broker/connections.js';
import type { BrokerWatch, ClientConnection } from '../broker/watch.js';

export interface OutlivedTokensOptions {
  watch: BrokerWatch;
  connections: Pick<Connections, 'close'>;
  /**
   * By what the names of the queues begin with that tokens are for, and so the name in each token: how long one lasts at
   * most, together with how much longer its connection may stay, in milliseconds.
   */
  lifetimesMs: Record<string, number>;
  logger: Logger;
}

/** How often it is looked, in milliseconds. */
const SWEEP_MS = 1000;

/**
 * Ends connections by STOMP and AMQP 1.0 that are older than any token lasts. They live on up to RabbitMQ 4.3.5 and, by
 * AMQP 1.0, in 4.0, and the {@link Gatekeeper} knows only when the newest token of a device ends: while the device goes on renewing, whoever has
 * got hold of an older one would read its mailbox for as long. Whose token is good connects again before.
 */
export class OutlivedTokens {
  readonly #options: OutlivedTokensOptions;
  /** Of each lifetime: since when connections are known, by `performance.now()`; the oldest first. */
  readonly #groups: { prefix: string; lifetimeMs: number; since: Map<ClientConnection, number> }[];
  readonly #closing = new Set<ClientConnection>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: OutlivedTokensOptions) {
    this.#options = options;
    const { watch, lifetimesMs } = options;
    this.#groups = Object.entries(lifetimesMs).map(([prefix, lifetimeMs]) => ({
      prefix,
      lifetimeMs,
      since: new Map(),
    }));
    for (const event of ['authenticated', 'found'] as const) {
      watch.on(event, (connection: ClientConnection) => {
        this.#note(connection);
      });
    }
    watch.on('closed', (connection) => {
      for (const { since } of this.#groups) since.delete(connection);
    });
    // All are found anew.
    watch.on('began', () => {
      for (const { since } of this.#groups) since.clear();
    });
    this.#timer = setInterval(() => {
      this.#sweep();
    }, SWEEP_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #note(connection: ClientConnection): void {
    const { user = connection.login, keepsToken = false } = connection;
    const group = this.#groups.find(({ prefix }) => user.startsWith(prefix));
    if (!keepsToken || group === undefined || group.since.has(connection)) return;
    group.since.set(connection, performance.now());
  }

  #sweep(): void {
    const now = performance.now();
    for (const { lifetimeMs, since } of this.#groups) {
      for (const [connection, at] of since) {
        if (at > now - lifetimeMs) break;
        if (!this.#closing.has(connection)) this.#end(connection);
      }
    }
  }

  #end(connection: ClientConnection): void {
    const { connections, logger } = this.#options;
    this.#closing.add(connection);
    connections
      .close(connection, 'token_expired')
      .catch((error: unknown) => {
        logger.debug({ err: error }, 'a connection older than its token could not be closed');
      })
      .finally(() => this.#closing.delete(connection));
  }
}
