import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from 'pino';
import { FairLimit } from '../fair-limit.js';
import type { Metrics } from '../metrics.js';
import type { ManagementApi } from './management.js';
import type { Provisioner } from './provisioner.js';
import type { BrokerWatch, ClientConnection } from './watch.js';

/** What the broker tells the client, and a label of the metrics. */
export type CloseReason =
  | 'session_replaced'
  | 'device_removed'
  /** Made room for another device of its user. */
  | 'device_retired'
  /** Its client has left, and would not know its id again. */
  | 'device_left'
  | 'user_removed'
  | 'revoked'
  | 'disconnected'
  | 'token_expired'
  /** Of a client that no session was granted to, or under a name that is not its own. */
  | 'no_session'
  /** Its device has newer ones, more than a client needs. */
  | 'too_many_connections'
  /** Another mailbox has taken the place of the one that it consumed. */
  | 'mailbox_replaced'
  /** Of the admin console. */
  | 'console_ended'
  /** Older than this process, and perhaps the one that holds a queue which others are to have. */
  | 'unknown_identity';

export interface ConnectionsOptions {
  management: ManagementApi;
  watch: BrokerWatch;
  provisioner: Provisioner;
  /** What the names of all clients' queues begin with. */
  queuePrefix: string;
  metrics: Metrics;
  logger: Logger;
}

/** Calls that close connections at the same time; half of them for one user, at most. */
const LIMIT = { atOnce: 8, ofOne: 4 };
/** How often a connection that the broker does not list yet is tried again, in milliseconds. */
const RETRY_MS = 250;
/** With statistics collected, the broker lists a connection up to 4 s after it was made. */
const RETRIES = 32;
/** How long a closed connection's consumer may stay: twenty times this, in milliseconds. */
const PATIENCE_MS = 25;
const PATIENCE = 20;
/** How long after it was asked for the end of a connection is heard of, at most, in milliseconds. */
const REASON_MS = 30_000;
/** By then the broker has told of those that it has closed. In milliseconds. */
const LEFT_MS = 500;
/** How long a process that has just begun waits to know of all connections, in milliseconds. */
const LISTED_MS = 2000;

/** Whose queue it is, encoded and with the prefix. */
export const ownerOf = (queue: string): string => queue.split('.', 2).join('.');

/** The connections of clients: whether there are any, and how to end them. */
export class Connections {
  readonly #options: ConnectionsOptions;
  /** Only calls have a place: what is waited for between two of them keeps nobody from his. */
  readonly #limit = new FairLimit(LIMIT.atOnce, LIMIT.ofOne);
  /** Why this process has connections closed that it may still hear of, by their names. */
  readonly #reasons = new Map<string, CloseReason>();

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    // Not to be closed among those of unknown identity.
    options.watch.on('began', () => {
      options.provisioner.showItself().catch(() => undefined);
    });
  }

  /** Why this process has had it closed; undefined when it has not. Asked once. */
  reasonOf({ name }: ClientConnection): CloseReason | undefined {
    const reason = this.#reasons.get(name);
    this.#reasons.delete(name);
    return reason;
  }

  #remember(name: string, reason: CloseReason): void {
    this.#reasons.set(name, reason);
    // Of one that has gone before, nobody asks.
    setTimeout(() => this.#reasons.delete(name), REASON_MS).unref();
  }

  /**
   * Whether {@link isOnline} knows also of connections that are older than this process: before, who is connected
   * may look as if they were not. Waits for it for a moment.
   */
  async areKnown(): Promise<boolean> {
    const { watch } = this.#options;
    // Each is asked for by name then.
    if (!watch.isWatching) return true;
    await watch.listed(LISTED_MS);
    return watch.isListed;
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
  async closeAll(queue: string, reason: CloseReason): Promise<void> {
    const { watch, management, metrics } = this.#options;
    const known = watch.connectionsOf(queue);
    const names = await this.#namesOf(queue);
    for (const { name } of known) this.#remember(name, reason);
    const liars = known.filter(({ login }) => login !== queue);
    const closeHonest = () => management.closeConnections(queue, reason);
    await Promise.all([
      this.#limit.run(ownerOf(queue), closeHonest).then(() => {
        metrics.connectionsClosed.inc({ reason }, known.length - liars.length);
      }),
      ...liars.map((connection) => this.close(connection, reason)),
    ]);
    void this.#closeLeft(queue, names, reason);
    await this.#closeHidden(queue);
  }

  /** RabbitMQ 4 closes no connection by AMQP 1.0 when all of a login are to be closed, but each by its name. */
  async #closeLeft(queue: string, known: string[], reason: CloseReason): Promise<void> {
    const { management, logger } = this.#options;
    await wait(LEFT_MS, undefined, { ref: false });
    try {
      const left = (await this.#namesOf(queue)).filter((name) => known.includes(name));
      await Promise.all(
        left.map((name) =>
          this.#limit.run(ownerOf(queue), () => management.closeConnection(name, reason)),
        ),
      );
    } catch (error) {
      logger.warn({ err: error, reason }, 'a connection could not be closed');
    }
  }

  async #namesOf(queue: string): Promise<string[]> {
    const { watch, management } = this.#options;
    return watch.isWatching
      ? watch.connectionsOf(queue).map(({ name }) => name)
      : management.connectionsOf(queue);
  }

  /**
   * A client that logged in under a false name before this process began is known by nothing but its
   * consumer. Only if there is one that will not go, those that it could be are closed, and only if it
   * is none of them, all others; whoever was honest comes back by itself.
   */
  async #closeHidden(queue: string): Promise<void> {
    const { watch, logger } = this.#options;
    if (await this.#isFree(queue)) return;
    await watch.listed(LISTED_MS);
    for (const isSuspect of [(login: string) => this.#isLikely(login, queue), () => true]) {
      const suspects = watch
        .unverified()
        .filter(({ login }) => login !== queue && isSuspect(login));
      if (suspects.length === 0) continue;
      logger.warn({ closed: suspects.length }, 'closed connections of unknown identity');
      await Promise.all(suspects.map((connection) => this.close(connection, 'unknown_identity')));
      if (await this.#isFree(queue)) return;
    }
  }

  /** It names no queue, or one of the same user; the names of other users' nobody can guess. */
  #isLikely(login: string, queue: string): boolean {
    return !login.startsWith(this.#options.queuePrefix) || login.startsWith(`${ownerOf(queue)}.`);
  }

  /**
   * Whether nobody consumes it but those who are known to. The consumer of a connection that is being
   * closed stays for a moment, and a client that was closed may be back already.
   */
  async #isFree(queue: string): Promise<boolean> {
    const { watch, provisioner } = this.#options;
    for (let attempt = 0; attempt < PATIENCE; attempt++) {
      if (((await provisioner.consumers(queue)) ?? 0) === 0) return true;
      await wait(PATIENCE_MS, undefined, { ref: false });
    }
    return watch.connectionsOf(queue).length > 0;
  }

  /** Closes one. Not by its login, which may be somebody else's. */
  async close(connection: ClientConnection, reason: CloseReason): Promise<void> {
    const { watch, management, metrics } = this.#options;
    const { name, login } = connection;
    this.#remember(name, reason);
    const attemptOnce = () => management.closeConnection(name, reason);
    for (let attempt = 0; attempt < RETRIES; attempt++) {
      if (await this.#limit.run(ownerOf(connection.user ?? login), attemptOnce)) {
        metrics.connectionsClosed.inc({ reason });
        return;
      }
      if (!watch.connectionsOf(connection.user ?? login).includes(connection)) return;
      await wait(RETRY_MS, undefined, { ref: false });
    }
    this.#options.logger.warn({ reason }, 'a connection could not be closed');
  }
}
