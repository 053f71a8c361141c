import { createHash } from 'node:crypto';

/** Names on the broker. Every one can be changed, to fit a broker that already has conventions. */
export interface TopologyNames {
  /** Default `warren`. */
  vhost: string;
  /** The direct exchange that every message to users goes to. Default `warren.direct`. */
  exchange: string;
  /** First word of the queues that keep messages. Default `user`. */
  userPrefix: string;
  /** First word of the queues for messages that do not wait. Default `live`. */
  livePrefix: string;
}

export const DEFAULT_NAMES: Readonly<TopologyNames> = {
  vhost: 'warren',
  exchange: 'warren.direct',
  userPrefix: 'user',
  livePrefix: 'live',
};

/** The exchange and the queue that expired, rejected and overflowed messages end in. */
export const DEAD_LETTERS = 'warren.dead';

/** The topic exchange that tells back ends what happened. */
export const EVENTS = 'warren.events';

/** The exchange and the queue by which back ends send in any language. */
export const SEND = 'warren.send';

/**
 * The queue of messages that are to be stored. One worker at a time takes from it, and another one goes on
 * when it dies, so that the history has their order.
 */
export const HISTORY = 'warren.history';
export const HISTORY_ARGUMENTS = { 'x-single-active-consumer': true } as const;

/**
 * The direct exchange by which jobs come back to their queues, which are bound to it by their names; only
 * servers may write to it.
 */
export const RETRY = 'warren.retry';

/**
 * Where jobs wait before they come back: for each time an exchange and a queue of this name, from which the
 * broker takes what has waited so long, and hands it to {@link RETRY} with the key that it came with. All
 * that is in one queue waits equally long, so that nothing waits behind what has to wait longer.
 */
export const WAITS_MS: readonly number[] = [
  10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_600_000,
];
export const WAIT_PREFIX = 'warren.wait.';
export const waitOf = (waitMs: number): string => `${WAIT_PREFIX}${String(waitMs)}ms`;

/** The queue of messages of which those who do not handle them in time get a push. */
export const PUSH = 'warren.push';
/** The queues of pushes that are to be handed to a provider. */
export const PUSH_PROVIDERS = ['webpush', 'fcm', 'webhook'] as const;
export const pushQueueOf = (provider: string): string => `${PUSH}.${provider}`;

/** Queues that copy what is sent to a user while somebody watches, and those of admin consoles. */
export const TRACE_PREFIX = 'warren.trace.';
export const CONSOLE_PREFIX = 'warren.console.';

/** The direct exchange by which answers to requests find who waits for them, by a key that only it knows. */
export const REPLIES = 'warren.replies';

/**
 * What leads to all mailboxes, behind the keys of a broadcast: each is bound to one of its shards
 * (fanouts.ts), those of before to itself. Those of groups, made with each group, are called
 * `warren.group.<group>`, and have shards when they are large. Live queues are bound to those of the same
 * names with `.live`.
 */
export const BROADCAST = 'warren.broadcast';
export const GROUP_PREFIX = 'warren.group.';
export const liveOf = (exchange: string): string => `${exchange}.live`;

/** Where the broker tells of connections and queues (rabbitmq_event_exchange), in the default vhost. */
export const EVENTS_EXCHANGE = 'amq.rabbitmq.event';
export const EVENTS_VHOST = '/';

export const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\-]/g, '\\$&');

/** What {@link connectionJournalOf} begins with, for a vhost. */
export const connectionJournalPrefix = (vhost: string): string => `warren.connections.${vhost}.`;

/**
 * The queue in {@link EVENTS_VHOST} in which what the broker tells of connections waits for a server. Several
 * vhosts of Warren's may share a broker, and each database has to hear of everything.
 * @param database whatever tells it from others; stands in the name as a hash.
 */
export const connectionJournalOf = (vhost: string, database: string): string =>
  connectionJournalPrefix(vhost) + createHash('sha256').update(database).digest('hex').slice(0, 16);

/** Some hundred megabytes on disk, should no server take anything for a day. */
export const CONNECTION_JOURNAL_ARGUMENTS = {
  'x-single-active-consumer': true,
  'x-max-length': 500_000,
  'x-expires': 24 * 60 * 60 * 1000,
} as const;
