import { EventEmitter, once } from 'node:events';
import { Connection, type AsyncMessage, type Consumer } from 'rabbitmq-client';
import { EVENTS_EXCHANGE, EVENTS_VHOST } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import { endedWithin } from '../ended-within.js';
import { CONNECTION_KEYS, QUEUE_KEYS, readEvent } from './broker-events.js';
import type { ConnectionInventory } from './connection-inventory.js';

/** A connection of somebody to Warren's vhost. */
export interface ClientConnection {
  /** As the management API names it. */
  name: string;
  /** What the client called itself; by STOMP that may be anything. */
  login: string;
  /** Whose token or account it logged in with; unknown for one that nobody has heard of. */
  user: string | undefined;
  /** Whether no token is known to take the place of the one that it was opened with: by STOMP, and by AMQP 1.0. */
  keepsToken?: boolean;
}

/** Times are the broker's own, in milliseconds since 1970, and the same for all who listen. */
interface Events {
  /** Somebody has logged in, and this is who it really is. */
  authenticated: [ClientConnection, at: number];
  /** One that is older than the watch; who it really is may not be known. */
  found: [ClientConnection];
  closed: [ClientConnection, at: number];
  queueDeleted: [queue: string];
  /** What happened before was missed, in whole or in part. */
  began: [];
  /** All connections are known, also those from before it began. */
  listed: [];
}

export interface BrokerWatchOptions {
  amqpUrl: string;
  vhost: string;
  inventory: ConnectionInventory;
  logger: Logger;
}

const KEYS = [...CONNECTION_KEYS, ...QUEUE_KEYS];
/** How often the listing is compared with what was heard, in milliseconds. */
const RECONCILE_MS = 60_000;
/** While it has not been possible yet, in milliseconds. */
const RETRY_MS = 2000;
/** Events that wait for a server that is busy; the oldest give way, and the listing makes up for them. */
const MAX_EVENTS = 200_000;
const CLOSE_MS = 2000;

/**
 * Knows who is connected, by the broker's own events: a STOMP client may log in under any name, and
 * the listings of the management API believe it, but events carry the name in its token.
 */
export class BrokerWatch extends EventEmitter<Events> {
  readonly #options: BrokerWatchOptions;
  readonly #connection: Connection;
  readonly #consumer: Consumer;
  readonly #byName = new Map<string, ClientConnection>();
  readonly #byUser = new Map<string, Set<ClientConnection>>();
  /** Names that were closed while a listing is under way, which may still hold them. */
  #closedMeanwhile: Set<string> | undefined;
  #isWatching = false;
  #isListed = false;
  #warned = false;
  #warnedOfList = false;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: BrokerWatchOptions) {
    super();
    this.#options = options;
    const url = new URL(options.amqpUrl);
    url.pathname = `/${encodeURIComponent(EVENTS_VHOST)}`;
    this.#connection = new Connection({
      url: url.toString(),
      connectionName: 'warren watch',
      heartbeat: 10,
      frameMax: 131_072,
      retryLow: 200,
      retryHigh: 3000,
      connectionTimeout: 5000,
      noDelay: true,
    });
    this.#connection.on('error', (error) => {
      this.#lost(error);
    });
    this.#consumer = this.#connection.createConsumer(
      {
        // Named by the broker, and gone with the connection.
        queue: '',
        queueOptions: { exclusive: true, arguments: { 'x-max-length': MAX_EVENTS } },
        queueBindings: KEYS.map((routingKey) => ({ exchange: EVENTS_EXCHANGE, routingKey })),
        noAck: true,
      },
      (message) => {
        this.#take(message);
      },
    );
    this.#consumer.on('ready', () => {
      this.#begin();
    });
    this.#consumer.on('error', (error) => {
      this.#lost(error);
    });
  }

  /** Whether events arrive; without them only logins can be asked for, by the management API. */
  get isWatching(): boolean {
    return this.#isWatching;
  }

  /** Whether all connections are known, also those from before it began. */
  get isListed(): boolean {
    return this.#isListed;
  }

  /** Names that somebody is connected with. */
  users(): string[] {
    return [...this.#byUser.keys()];
  }

  /** The open connections of whoever logged in with this name's token. */
  connectionsOf(user: string): ClientConnection[] {
    return [...(this.#byUser.get(user) ?? [])];
  }

  /** Connections that are older than the watch: all that is known is what they call themselves. */
  unverified(): ClientConnection[] {
    return [...this.#byName.values()].filter(({ user }) => user === undefined);
  }

  /** Resolves when all connections are known, and after `timeoutMs` all the same. */
  async listed(timeoutMs: number): Promise<void> {
    if (this.#isListed) return;
    await once(this, 'listed', { signal: AbortSignal.timeout(timeoutMs) }).catch(() => undefined);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#isWatching = false;
    this.#closedMeanwhile = undefined;
    clearTimeout(this.#timer);
    // Between two attempts the consumer would wait for the next.
    const closed = this.#consumer.close().then(() => this.#connection.close());
    await endedWithin(closed, CLOSE_MS);
    this.#connection.unsafeDestroy();
  }

  #lost(error: unknown): void {
    this.#isWatching = false;
    this.#isListed = false;
    this.#closedMeanwhile = undefined;
    clearTimeout(this.#timer);
    this.#byName.clear();
    this.#byUser.clear();
    if (this.#warned || this.#isClosed) return;
    this.#warned = true;
    const advice =
      'the events of the broker cannot be watched: enable rabbitmq_event_exchange, and see the ' +
      'permissions that "warren doctor" asks for';
    this.#options.logger.warn({ err: error }, advice);
  }

  #begin(): void {
    this.#isWatching = true;
    this.#warned = false;
    this.emit('began');
    void this.#reconcile();
  }

  #take({ routingKey, headers = {} }: AsyncMessage): void {
    const event = readEvent(routingKey, headers, this.#options.vhost);
    switch (event?.kind) {
      case 'opened':
        this.#add({
          name: event.name,
          login: event.login,
          user: undefined,
          keepsToken: event.keepsToken,
        });
        if (event.user !== undefined) this.#authenticate(event.name, event.user, event.at);
        return;
      case 'authenticated':
        this.#authenticate(event.name, event.user, event.at);
        return;
      case 'closed':
        this.#forget(event.name, event.at);
        return;
      case 'queueDeleted':
        this.emit('queueDeleted', event.queue);
        return;
      case undefined:
    }
  }

  #add(connection: ClientConnection): void {
    this.#byName.set(connection.name, connection);
    this.#index(connection);
  }

  #found(connection: ClientConnection): void {
    const { name, login, user, keepsToken = false } = connection;
    const known = this.#byName.get(name);
    if (known === undefined) {
      const found = { ...connection };
      this.#add(found);
      this.emit('found', found);
    } else if (
      (known.login === known.user && login !== known.login) ||
      (keepsToken && known.keepsToken !== true)
    ) {
      // Its channel was heard of here, but not what it had called itself before.
      this.#unindex(known);
      this.#add(Object.assign(known, { login, user: user ?? known.user, keepsToken }));
      this.emit('found', known);
    } else if (known.user === undefined && user !== undefined) {
      this.#authenticate(name, user, Date.now());
    }
  }

  #authenticate(name: string, user: string, at: number): void {
    const known = this.#byName.get(name) ?? { name, login: user, user: undefined };
    if (known.user === user) return;
    this.#unindex(known);
    known.user = user;
    this.#add(known);
    this.emit('authenticated', known, at);
  }

  #forget(name: string, at: number): void {
    this.#closedMeanwhile?.add(name);
    const known = this.#byName.get(name);
    if (known === undefined) return;
    this.#byName.delete(name);
    this.#unindex(known);
    this.emit('closed', known, at);
  }

  #index(connection: ClientConnection): void {
    const user = connection.user ?? connection.login;
    const others = this.#byUser.get(user);
    if (others === undefined) this.#byUser.set(user, new Set([connection]));
    else others.add(connection);
  }

  #unindex(connection: ClientConnection): void {
    const user = connection.user ?? connection.login;
    const others = this.#byUser.get(user);
    others?.delete(connection);
    if (others?.size === 0) this.#byUser.delete(user);
  }

  /** Nothing is replayed, and a full queue drops events: the listing says what was missed. */
  async #reconcile(): Promise<void> {
    clearTimeout(this.#timer);
    const before = new Set(this.#byName.keys());
    const closed = (this.#closedMeanwhile = new Set<string>());
    const { inventory } = this.#options;
    try {
      const listed = await inventory.list((name) => this.#byName.has(name), !this.#isListed);
      // The watch may have been lost meanwhile, and have begun anew.
      if (this.#closedMeanwhile !== closed) return;
      for (const connection of listed) {
        const { name } = connection;
        if (closed.has(name)) continue;
        before.delete(name);
        this.#found(connection);
      }
      // Its end may have been missed, or no list has it yet.
      const gone = await inventory.filterGone([...before]);
      if (this.#closedMeanwhile !== closed) return;
      for (const name of gone) this.#forget(name, Date.now());
      this.#isListed = true;
      this.#warnedOfList = false;
      this.emit('listed');
    } catch (error) {
      if (!this.#warnedOfList && !this.#isClosed) {
        this.#options.logger.warn({ err: error }, 'connections could not be listed');
      }
      this.#warnedOfList = true;
    } finally {
      if (this.#closedMeanwhile === closed) {
        this.#closedMeanwhile = undefined;
        const delayMs = this.#isListed ? RECONCILE_MS : RETRY_MS;
        this.#timer = setTimeout(() => void this.#reconcile(), delayMs);
        this.#timer.unref();
      }
    }
  }
}
