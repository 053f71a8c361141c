import { randomBytes } from 'node:crypto';
import {
  encodeId,
  FEED_SECONDS,
  PROTOCOL_VERSION,
  WATCH_TYPE,
  type ConsoleBody,
  type FeedBody,
  type SessionGrant,
  type WatchNews,
} from '@warren/protocol';
import { CONSOLE_PREFIX, EVENTS } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import type { Connections } from '../broker/connections.js';
import { ChannelPool, type ControlLink } from '../broker/control-link.js';
import type { Provisioner } from '../broker/provisioner.js';
import { allEnded } from '../ended-within.js';
import { HttpProblem } from '../problem.js';
import type { Publisher } from '../publisher/index.js';
import type { Admin } from '../sessions/admin-tokens.js';
import type { ClientTokens } from '../sessions/client-tokens.js';
import type { Endpoints } from '../sessions/sessions.js';
import type { AuditStore } from '../storage/audit.js';
import type { ConsoleSession, ConsoleStore } from '../storage/consoles.js';
import type { Locks } from '../storage/locks.js';
import type { Taps } from './tap.js';

export interface ConsolesOptions {
  store: ConsoleStore;
  locks: Pick<Locks, 'console'>;
  audit: AuditStore;
  link: ControlLink;
  provisioner: Provisioner;
  connections: Connections;
  tokens: ClientTokens;
  publisher: Publisher;
  taps: Taps;
  vhost: string;
  endpoints: Endpoints;
  logger: Logger;
}

/** A console that does not keep up misses the oldest; one that is closed leaves nothing behind. */
const ARGUMENTS = { 'x-expires': 90_000, 'x-message-ttl': 30_000, 'x-max-length': 2000 };
const PREFETCH = 200;
const SWEEP_MS = 1000;
/** Of one key or user; several people may share a key. When there are more, those that were fed longest ago end. */
const MOST_OF_ONE = 50;
/** How long a user's devices tell of all that they handle, after each word of a console. */
const WATCH_MS = 30_000;
const NO_FEED: FeedBody = { events: [], watch: [] };
/** Figures have a queue of their own, so that a flood of events does not push them out. */
const FIGURES = 'stats';

/** Sessions of the admin console: each has two queues of its own, to which events are bound that it shows. */
export class Consoles {
  readonly #options: ConsolesOptions;
  readonly #pool: ChannelPool;
  readonly #timer: NodeJS.Timeout;
  #sweeping: Promise<void> | undefined;

  constructor(options: ConsolesOptions) {
    this.#options = options;
    this.#pool = new ChannelPool(options.link, 1);
    this.#timer = setInterval(() => {
      this.#sweeping ??= this.#sweep().finally(() => {
        this.#sweeping = undefined;
      });
    }, SWEEP_MS);
    this.#timer.unref();
  }

  /**
   * Opens a session, or renews the one that is named; it ends with what the admin has shown.
   * @throws {HttpProblem} `token_expired`, `broker_unavailable`
   */
  async open(admin: Admin, body: ConsoleBody): Promise<SessionGrant> {
    const { tokens, vhost, endpoints } = this.#options;
    const { sessionId, queue } = (await this.#renew(admin, body)) ?? (await this.#create(admin));
    const liveQueue = figuresOf(queue);
    const { token, expiresAt } = tokens.issue(queue, liveQueue, admin.expiresAt);
    return {
      protocol: PROTOCOL_VERSION,
      userId: admin.actor,
      deviceId: body.deviceId ?? sessionId,
      sessionId,
      queue,
      liveQueue,
      vhost,
      token,
      expiresAt: expiresAt.toISOString(),
      resumed: true,
      endpoints,
      prefetch: PREFETCH,
    };
  }

  /**
   * Has all of this arrive, and nothing else, for a minute: a console says it again while it is open.
   * @throws {HttpProblem} `console_unknown`, `broker_unavailable`
   */
  async feed(admin: Admin, sessionId: string, feed: FeedBody): Promise<{ expiresAt: number }> {
    const { store, locks } = this.#options;
    const expiresAt = untilWhen(admin);
    await locks.console(sessionId, async () => {
      const session = await store.find(sessionId);
      if (session?.actor !== admin.actor) throw new HttpProblem('console_unknown');
      await this.#change(session, feed);
      await store.extend(sessionId, feed, expiresAt);
    });
    for (const user of feed.watch) await this.#watch(user, expiresAt);
    return { expiresAt };
  }

  /** Idempotent. */
  async end({ actor }: Admin, sessionId: string): Promise<void> {
    await this.#endIf(sessionId, (session) => session.actor === actor);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sweeping;
    this.#pool.close();
  }

  async #create(admin: Admin): Promise<ConsoleSession> {
    const session = newSession(admin);
    await this.#declare(session);
    await this.#options.store.add(session);
    await this.#endSurplus(session);
    return session;
  }

  /** Each event is copied to all consoles. */
  async #endSurplus({ sessionId, actor }: ConsoleSession): Promise<void> {
    const others = (await this.#options.store.listOf(actor)).filter((id) => id !== sessionId);
    const surplus = others.slice(0, Math.max(0, others.length + 1 - MOST_OF_ONE));
    await allEnded(surplus.map((id) => this.#endIf(id, (session) => session.actor === actor)));
  }

  /** @returns undefined when there is no such session, or it is another's. */
  async #renew(admin: Admin, { sessionId }: ConsoleBody): Promise<ConsoleSession | undefined> {
    const { store, locks } = this.#options;
    if (sessionId === undefined) return undefined;
    return locks.console(sessionId, async () => {
      const session = await store.find(sessionId);
      if (session?.actor !== admin.actor) return undefined;
      await this.#declare(session);
      await store.extend(sessionId, session.feed, untilWhen(admin));
      return session;
    });
  }

  /** Whom an admin begins to watch is in the audit log before anything of them arrives. */
  async #change({ actor, queue, feed: before }: ConsoleSession, feed: FeedBody): Promise<void> {
    const { audit } = this.#options;
    for (const user of feed.watch.filter((user) => !before.watch.includes(user))) {
      const id = await audit.add({ at: Date.now(), actor, action: 'user.watch', target: user });
      await audit.settle(id, 'done');
    }
    await this.#bind(queue, patternsOf(before), patternsOf(feed));
  }

  async #watch(user: string, until: number): Promise<void> {
    const { taps, publisher } = this.#options;
    await taps.hold(user, until);
    const news: WatchNews = { forMs: WATCH_MS };
    await publisher.send({ user }, WATCH_TYPE, news, { delivery: 'live' });
  }

  async #declare({ queue, feed }: ConsoleSession): Promise<void> {
    await this.#options.provisioner.ready();
    await this.#options.link.guard(async () => {
      const channel = await this.#pool.next();
      for (const name of [queue, figuresOf(queue)]) {
        await channel.queueDeclare({ queue: name, durable: true, arguments: ARGUMENTS });
      }
      const figures = { queue: figuresOf(queue), exchange: EVENTS, routingKey: FIGURES };
      await channel.queueBind(figures);
    });
    await this.#bind(queue, [], patternsOf(feed));
  }

  async #bind(queue: string, before: string[], now: string[]): Promise<void> {
    await this.#options.link.guard(async () => {
      const channel = await this.#pool.next();
      for (const routingKey of now) {
        if (before.includes(routingKey)) continue;
        await channel.queueBind({ queue, exchange: EVENTS, routingKey });
      }
      for (const routingKey of before) {
        if (now.includes(routingKey)) continue;
        await channel.queueUnbind({ queue, exchange: EVENTS, routingKey });
      }
    });
  }

  /** With the queues, whatever still consumes them has nothing to read. */
  async #endIf(sessionId: string, isOver: (session: ConsoleSession) => boolean): Promise<void> {
    const { locks, provisioner, connections, store } = this.#options;
    await locks.console(sessionId, async () => {
      const session = await store.find(sessionId);
      if (session === undefined || !isOver(session)) return;
      const { queue } = session;
      await provisioner.deleteQueues([queue, figuresOf(queue)]);
      await store.remove(sessionId);
      await connections.closeAll(queue, 'console_ended');
    });
  }

  async #sweep(): Promise<void> {
    const { store, logger } = this.#options;
    const now = Date.now();
    try {
      // One may be renewed in this moment.
      const isOver = ({ expiresAt }: ConsoleSession): boolean => expiresAt < now;
      const expired = await store.listExpired(now);
      await allEnded(expired.map((sessionId) => this.#endIf(sessionId, isOver)));
    } catch (error) {
      logger.debug({ err: error }, 'consoles that are gone could not be forgotten');
    }
  }
}

const figuresOf = (queue: string): string => `${queue}.figures`;
const untilWhen = ({ expiresAt }: Admin): number =>
  Math.floor(Math.min(Date.now() + FEED_SECONDS * 1000, expiresAt));

function newSession(admin: Admin): ConsoleSession {
  const name = randomBytes(16).toString('hex');
  return {
    sessionId: randomBytes(16).toString('hex'),
    actor: admin.actor,
    queue: `${CONSOLE_PREFIX}${name}`,
    feed: NO_FEED,
    expiresAt: untilWhen(admin),
  };
}

/** Of routing keys on the exchange of events. */
function patternsOf({ events, watch }: FeedBody): string[] {
  const ofUsers = watch.flatMap((user) => {
    const name = encodeId(user);
    return [`trace.${name}`, ...['user', 'session', 'message'].map((what) => `${what}.*.${name}`)];
  });
  // The figures come by the other queue.
  return [...new Set([...events.filter((pattern) => pattern !== FIGURES), ...ofUsers])];
}
