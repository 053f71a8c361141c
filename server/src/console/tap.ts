import type { Message } from 'amqplib';
import {
  deviceKeys,
  encodeId,
  READ_TYPE,
  userKeys,
  WATCH_TYPE,
  type NamePrefixes,
} from '@warren/protocol';
import { BROADCAST, GROUP_PREFIX, liveOf, TRACE_PREFIX } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import { Consumers, type Subscription } from '../broker/consumers.js';
import type { BrokerWatch } from '../broker/watch.js';
import type { PassingEvents } from '../events/passing-events.js';
import { UNCLAIMED, type DeviceStore } from '../storage/devices.js';
import type { GroupStore } from '../storage/groups.js';
import type { Locks } from '../storage/locks.js';

export interface TapsOptions {
  amqpUrl: string;
  exchange: string;
  prefixes: NamePrefixes;
  devices: DeviceStore;
  groups: GroupStore;
  locks: Locks;
  watch: BrokerWatch;
  events: PassingEvents;
  logger: Logger;
}

/** What nobody has taken by then is not worth showing. */
const ARGUMENTS = {
  'x-expires': 60_000,
  'x-message-ttl': 10_000,
  'x-max-length': 1000,
  // Of several servers that watch the same user, one tells.
  'x-single-active-consumer': true,
};
const PREFETCH = 100;
const PREVIEW_CHARACTERS = 2000;
const SWEEP_MS = 1000;
/** Warren's own, of no interest. */
const HIDDEN = new Set([WATCH_TYPE, READ_TYPE]);

/** What leads to a tap: an exchange and a key on it. */
interface Source {
  exchange: string;
  routingKey: string;
}

interface Tap {
  subscription: Subscription;
  sources: Source[];
  /** Until then, somebody watches. */
  until: number;
}

/**
 * Copies of what is sent to a user, whoever sends it: a queue that is bound to all keys that lead to the
 * user's own. There is none, and nothing is copied, while nobody watches.
 *
 * The broker tells senders whether there was any queue for their message, so that a tap must never be the
 * only one: it is bound only to what leads to a mailbox, to live messages only while somebody is connected,
 * and whoever deletes a mailbox, or takes a user out of a group, deletes the tap before. It is made anew when
 * that is done.
 */
export class Taps {
  readonly #options: TapsOptions;
  readonly #taps = new Map<string, Tap>();
  /** Of users, what waits for its turn to be bound. */
  readonly #waiting = new Map<string, Promise<void>>();
  /** While somebody watches. */
  #consumers: Consumers | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: TapsOptions) {
    this.#options = options;
    const { watch, prefixes } = options;
    const rebind = (queue: string): void => {
      for (const userId of this.#taps.keys()) {
        const { mail, live } = userKeys(userId, prefixes);
        const isOurs = [mail, live].some((key) => queue.startsWith(`${key}.`));
        if (isOurs || queue === tapOf(userId)) void this.#attempt(userId);
      }
    };
    for (const event of ['authenticated', 'closed'] as const) {
      watch.on(event, ({ user, login }) => {
        if (this.#taps.size > 0) rebind(user ?? login);
      });
    }
    watch.on('queueDeleted', (queue) => {
      if (this.#taps.size > 0) rebind(queue);
    });
  }

  /** Tells of the user's messages until then, in milliseconds since 1970. */
  async hold(userId: string, until: number): Promise<void> {
    const known = this.#taps.get(userId);
    if (known === undefined) {
      this.#taps.set(userId, { subscription: this.#consume(userId), sources: [], until });
    } else known.until = Math.max(known.until, until);
    this.#timer ??= setInterval(() => {
      this.#sweep();
    }, SWEEP_MS).unref();
    await this.#bind(userId);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#taps.clear();
    await this.#consumers?.close();
  }

  #consume(userId: string): Subscription {
    const { amqpUrl, logger } = this.#options;
    this.#consumers ??= new Consumers({ amqpUrl, connectionName: 'warren console', logger });
    const queue = tapOf(userId);
    const subscription: Subscription = {
      queue,
      declare: async (channel) => {
        await channel.assertQueue(queue, { durable: true, arguments: ARGUMENTS });
      },
      prefetch: PREFETCH,
      take: (message) => this.#tell(userId, message),
    };
    this.#consumers.add(subscription);
    return subscription;
  }

  async #attempt(userId: string): Promise<void> {
    try {
      await this.#bind(userId);
    } catch (error) {
      this.#options.logger.debug({ err: error }, 'a tap could not be bound');
    }
  }

  /**
   * Again and again, since devices and groups come and go; not while one of them goes. Whoever asks while it waits for
   * its turn is served by it: the user's own sessions are not to stand behind as many as there are consoles.
   */
  #bind(userId: string): Promise<void> {
    const known = this.#waiting.get(userId);
    if (known !== undefined) return known;
    const forget = (): void => {
      if (this.#waiting.get(userId) === bound) this.#waiting.delete(userId);
    };
    const bound = this.#options.locks.user(userId, async () => {
      // What asks from now on may know of more.
      forget();
      await this.#bindNow(userId);
    });
    this.#waiting.set(userId, bound);
    bound.catch(forget);
    return bound;
  }

  async #bindNow(userId: string): Promise<void> {
    const tap = this.#taps.get(userId);
    if (tap === undefined || this.#consumers === undefined) return;
    const wanted = await this.#sourcesOf(userId);
    const keyOf = ({ exchange, routingKey }: Source): string => `${exchange} ${routingKey}`;
    const isWanted = new Set(wanted.map(keyOf));
    const queue = tapOf(userId);
    await this.#consumers.withChannel(async (channel) => {
      await channel.assertQueue(queue, { durable: true, arguments: ARGUMENTS });
      for (const { exchange, routingKey } of wanted) {
        await channel.bindQueue(queue, exchange, routingKey);
      }
      for (const source of tap.sources) {
        if (isWanted.has(keyOf(source))) continue;
        await channel.unbindQueue(queue, source.exchange, source.routingKey);
      }
    });
    tap.sources = wanted;
  }

  async #sourcesOf(userId: string): Promise<Source[]> {
    const { exchange, prefixes, devices, groups, watch } = this.#options;
    const all = await devices.listOf(userId);
    const present = all.filter(({ ended_at: endedAt }) => endedAt === null);
    const online = present.filter(({ queue }) => watch.connectionsOf(queue).length > 0);
    const keysOf = (which: typeof present, kind: 'mail' | 'live'): string[] => {
      const own = which.flatMap(({ device_id: id, queue, live_queue: live }) => [
        kind === 'mail' ? queue : live,
        ...(id === UNCLAIMED ? [] : [deviceKeys(userId, id, prefixes)[kind]]),
      ]);
      return own.length === 0 ? [] : [userKeys(userId, prefixes)[kind], ...own];
    };
    const fanouts = [BROADCAST];
    for (const group of await groups.listOf(userId)) {
      fanouts.push(`${GROUP_PREFIX}${encodeId(group)}`);
    }
    return [
      ...[...keysOf(present, 'mail'), ...keysOf(online, 'live')].map((routingKey) => ({
        exchange,
        routingKey,
      })),
      ...(present.length === 0 ? [] : fanouts.map((name) => ({ exchange: name, routingKey: '' }))),
      ...(online.length === 0
        ? []
        : fanouts.map((name) => ({ exchange: liveOf(name), routingKey: '' }))),
    ];
  }

  async #tell(userId: string, { content, fields, properties }: Message): Promise<void> {
    const [messageId, type] = [textOr(properties.messageId), textOr(properties.type) ?? ''];
    if (HIDDEN.has(type)) return;
    const text = decoded(content);
    await this.#options.events.trace({
      user: userId,
      step: 'sent',
      messageId: messageId ?? null,
      type: type === '' ? 'message' : type,
      routingKey: fields.routingKey,
      size: content.length,
      ...(text !== undefined && { preview: text.slice(0, PREVIEW_CHARACTERS) }),
    });
  }

  #sweep(): void {
    const now = Date.now();
    for (const [userId, { subscription, until }] of this.#taps) {
      if (until > now) continue;
      this.#taps.delete(userId);
      void this.#end(userId, subscription);
    }
  }

  /** Another server may go on watching: the queue ends by itself when nobody does. */
  async #end(userId: string, subscription: Subscription): Promise<void> {
    await this.#consumers?.remove(subscription);
    try {
      await this.#consumers?.withChannel((channel) =>
        channel.deleteQueue(tapOf(userId), { ifUnused: true }),
      );
    } catch {
      // In use elsewhere, or gone.
    }
    if (this.#taps.size > 0) return;
    // Nothing of it is left while nobody watches.
    clearInterval(this.#timer);
    this.#timer = undefined;
    const consumers = this.#consumers;
    this.#consumers = undefined;
    await consumers?.close();
  }
}

/** Where copies of what is sent to a user lie; deleted before a mailbox is, or a group's binding. */
export const tapOf = (userId: string): string => `${TRACE_PREFIX}${encodeId(userId)}`;

const textOr = (value: unknown): string | undefined =>
  typeof value === 'string' ? value : undefined;

/** Undefined for what is no text. */
function decoded(content: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch {
    return undefined;
  }
}
