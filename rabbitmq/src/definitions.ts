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
 * What every mailbox is bound to, behind the keys of a broadcast. Those of groups, made with each group,
 * are called `warren.group.<group>`. A live queue is bound to the one of the same name with `.live`.
 */
export const BROADCAST = 'warren.broadcast';
export const GROUP_PREFIX = 'warren.group.';
export const liveOf = (exchange: string): string => `${exchange}.live`;

/** Where the broker tells of connections and queues (rabbitmq_event_exchange), in the default vhost. */
export const EVENTS_EXCHANGE = 'amq.rabbitmq.event';
export const EVENTS_VHOST = '/';

/** Patterns of the names that may be declared, written to and read from. */
export interface Permissions {
  configure: string;
  write: string;
  read: string;
}

/** An account that logs in with a password: the server's own, or a back end's. */
export interface Account {
  name: string;
  password: string;
  /** Management tags; `administrator` is what closing a connection asks for. */
  tags: string[];
  permissions: Permissions;
  /** In the vhost of the broker's events. Default: it may not enter it. */
  eventPermissions?: Permissions;
}

export interface Policy {
  name: string;
  vhost: string;
  pattern: string;
  'apply-to': 'queues';
  priority: number;
  definition: Record<string, string | number>;
}

/** The part of RabbitMQ's definitions format that Warren uses. */
export interface Definitions {
  vhosts: { name: string }[];
  exchanges: {
    name: string;
    vhost: string;
    type: 'direct' | 'fanout' | 'topic';
    durable: true;
    auto_delete: false;
    internal: false;
    arguments: Record<string, never>;
  }[];
  queues: {
    name: string;
    vhost: string;
    durable: true;
    auto_delete: false;
    arguments: Record<string, string | number | boolean>;
  }[];
  bindings: {
    source: string;
    vhost: string;
    destination: string;
    destination_type: 'queue' | 'exchange';
    routing_key: string;
    arguments: Record<string, never>;
  }[];
  policies: Policy[];
  /** How many connections the vhost may have. */
  parameters: {
    component: 'vhost-limits';
    name: 'limits';
    vhost: string;
    value: { 'max-connections': number };
  }[];
}

/** About 10 GB of the broker's memory. */
const MAX_CONNECTIONS = 50_000;

const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\-]/g, '\\$&');

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * What lives in Warren's vhost before any user does. Limits stand in policies, not in queue
 * arguments, because a changed argument makes every later declare fail (406), while a policy can
 * be changed while all is running.
 */
export function topology(names: TopologyNames = DEFAULT_NAMES): Definitions {
  const { vhost, exchange, userPrefix, livePrefix } = names;
  const exchangeOf = (name: string, type: Definitions['exchanges'][number]['type']) =>
    ({
      name,
      vhost,
      type,
      durable: true,
      auto_delete: false,
      internal: false,
      arguments: {},
    }) as const;
  const queueOf = (name: string, args: Record<string, string | number | boolean> = {}) =>
    ({ name, vhost, durable: true, auto_delete: false, arguments: args }) as const;
  const policy = (name: string, prefix: string, definition: Policy['definition']): Policy => ({
    name,
    vhost,
    pattern: `^${escapeRegExp(prefix)}`,
    'apply-to': 'queues',
    priority: 0,
    definition,
  });
  const binding = (
    source: string,
    destination_type: 'queue' | 'exchange',
    destination: string,
    routing_key = '',
  ) => ({ source, vhost, destination, destination_type, routing_key, arguments: {} });
  const pushQueues = [PUSH, ...PUSH_PROVIDERS.map(pushQueueOf)];
  return {
    vhosts: [{ name: vhost }],
    exchanges: [
      exchangeOf(exchange, 'direct'),
      exchangeOf(DEAD_LETTERS, 'fanout'),
      exchangeOf(BROADCAST, 'fanout'),
      exchangeOf(liveOf(BROADCAST), 'fanout'),
      exchangeOf(EVENTS, 'topic'),
      exchangeOf(RETRY, 'direct'),
      exchangeOf(REPLIES, 'direct'),
      exchangeOf(SEND, 'fanout'),
      ...WAITS_MS.map((waitMs) => exchangeOf(waitOf(waitMs), 'fanout')),
    ],
    queues: [
      queueOf(DEAD_LETTERS),
      queueOf(SEND),
      queueOf(HISTORY, HISTORY_ARGUMENTS),
      ...pushQueues.map((name) => queueOf(name)),
      ...WAITS_MS.map((waitMs) =>
        queueOf(waitOf(waitMs), { 'x-message-ttl': waitMs, 'x-dead-letter-exchange': RETRY }),
      ),
    ],
    bindings: [
      binding(DEAD_LETTERS, 'queue', DEAD_LETTERS),
      binding(SEND, 'queue', SEND),
      binding(exchange, 'queue', HISTORY, 'history'),
      // What servers ask of the history, in the order of the messages.
      binding(RETRY, 'queue', HISTORY, HISTORY),
      binding(exchange, 'queue', PUSH, 'push'),
      ...pushQueues.map((name) => binding(RETRY, 'queue', name, name)),
      ...WAITS_MS.map((waitMs) => binding(waitOf(waitMs), 'queue', waitOf(waitMs))),
      binding(exchange, 'exchange', BROADCAST, 'broadcast'),
      binding(exchange, 'exchange', liveOf(BROADCAST), 'broadcast.live'),
    ],
    policies: [
      policy('warren-user', `${userPrefix}.`, {
        'message-ttl': 7 * DAY_MS,
        expires: 30 * DAY_MS,
        'max-length': 10_000,
        overflow: 'drop-head',
        'dead-letter-exchange': DEAD_LETTERS,
      }),
      policy('warren-live', `${livePrefix}.`, {
        'message-ttl': 10_000,
        expires: 60_000,
        'max-length': 100,
        overflow: 'drop-head',
      }),
      policy('warren-dead', DEAD_LETTERS, {
        'message-ttl': 7 * DAY_MS,
        'max-length': 100_000,
        overflow: 'drop-head',
      }),
    ],
    parameters: [
      {
        component: 'vhost-limits',
        name: 'limits',
        vhost,
        value: { 'max-connections': MAX_CONNECTIONS },
      },
    ],
  };
}

/** The server's own account: it declares, binds and deletes the queues of users, and publishes. */
export function serverAccount(
  password: string,
  names: TopologyNames = DEFAULT_NAMES,
  name = 'warren-server',
): Account {
  const own = [names.userPrefix, names.livePrefix, 'warren'].map(escapeRegExp).join('|');
  const all = `^((${own})\\..*|${escapeRegExp(names.exchange)})$`;
  return {
    name,
    password,
    tags: ['administrator'],
    permissions: { configure: all, write: all, read: all },
    // A queue that the broker names, bound to the events; it can publish no event.
    eventPermissions: {
      configure: '^amq\\.gen.*$',
      write: '^amq\\.gen.*$',
      read: `^(amq\\.gen.*|${escapeRegExp(EVENTS_EXCHANGE)})$`,
    },
  };
}

/**
 * The account of a back end: it may publish to users and to `warren.send`, and has an events queue of
 * its own, `warren.events.<name>`, which it may bind to `warren.events`, and queues for the answers to
 * its requests, `warren.replies.<name>.…`. Nothing else.
 */
export function backendAccount(
  password: string,
  names: TopologyNames = DEFAULT_NAMES,
  name = 'warren-backend',
): Account {
  const account = escapeRegExp(name);
  const own = `warren\\.events\\.${account}|warren\\.replies\\.${account}\\..*`;
  return {
    name,
    password,
    tags: [],
    permissions: {
      configure: `^(${own})$`,
      write: `^(${escapeRegExp(names.exchange)}|warren\\.send|${own})$`,
      read: `^(warren\\.events|warren\\.replies|${own})$`,
    },
  };
}

/**
 * RabbitMQ's own format: base64 of a 4-byte salt and the SHA-256 of salt and password. The salt comes
 * from the password, which is random, so that the same accounts make the same file: RabbitMQ imports
 * a changed one again and would undo what an operator has set.
 */
function hashPassword(password: string): string {
  const salt = createHash('sha256').update(`salt:${password}`).digest().subarray(0, 4);
  const digest = createHash('sha256').update(salt).update(password, 'utf8').digest();
  return Buffer.concat([salt, digest]).toString('base64');
}

/** The topology and the accounts as a file that RabbitMQ imports when it boots. */
export function definitionsFile(accounts: Account[], names: TopologyNames = DEFAULT_NAMES): string {
  const base = topology(names);
  const file = {
    ...base,
    vhosts: [...base.vhosts, { name: EVENTS_VHOST }],
    users: accounts.map(({ name, password, tags }) => ({
      name,
      password_hash: hashPassword(password),
      hashing_algorithm: 'rabbit_password_hashing_sha256',
      tags,
    })),
    permissions: accounts.flatMap(({ name, permissions, eventPermissions }) => [
      { user: name, vhost: names.vhost, ...permissions },
      ...(eventPermissions === undefined
        ? []
        : [{ user: name, vhost: EVENTS_VHOST, ...eventPermissions }]),
    ]),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}
