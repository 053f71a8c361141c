import { createHash } from 'node:crypto';
import { shardsOf } from './fanouts.js';
import {
  BROADCAST,
  connectionJournalPrefix,
  DEAD_LETTERS,
  DEFAULT_NAMES,
  escapeRegExp,
  EVENTS,
  EVENTS_EXCHANGE,
  EVENTS_VHOST,
  HISTORY,
  HISTORY_ARGUMENTS,
  liveOf,
  PUSH,
  PUSH_PROVIDERS,
  pushQueueOf,
  REPLIES,
  RETRY,
  SEND,
  waitOf,
  WAITS_MS,
  type TopologyNames,
} from './names.js';
import { policies, type Policy } from './policies.js';
import type { Version } from './version.js';

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

/**
 * What lives in Warren's vhost before any user does.
 *
 * @param version of the broker, which decides its {@link policies}.
 */
export function topology(names: TopologyNames = DEFAULT_NAMES, version?: Version): Definitions {
  const { vhost, exchange } = names;
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
  const binding = (
    source: string,
    destination_type: 'queue' | 'exchange',
    destination: string,
    routing_key = '',
  ) => ({ source, vhost, destination, destination_type, routing_key, arguments: {} });
  const broadcasts: [key: string, fanout: string][] = [
    ['broadcast', BROADCAST],
    ['broadcast.live', liveOf(BROADCAST)],
  ];
  const pushQueues = [PUSH, ...PUSH_PROVIDERS.map(pushQueueOf)];
  return {
    vhosts: [{ name: vhost }],
    exchanges: [
      exchangeOf(exchange, 'direct'),
      exchangeOf(DEAD_LETTERS, 'fanout'),
      ...broadcasts.flatMap(([, fanout]) =>
        [fanout, ...shardsOf(fanout)].map((name) => exchangeOf(name, 'fanout')),
      ),
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
      ...broadcasts.flatMap(([key, fanout]) =>
        [fanout, ...shardsOf(fanout)].map((name) => binding(exchange, 'exchange', name, key)),
      ),
    ],
    policies: policies(names, version),
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
  const journal = escapeRegExp(connectionJournalPrefix(names.vhost));
  const events = `amq\\.gen.*|${journal}.*`;
  const all = `^((${own})\\..*|${escapeRegExp(names.exchange)})$`;
  return {
    name,
    password,
    tags: ['administrator'],
    permissions: { configure: all, write: all, read: all },
    // A queue that the broker names and one that waits for servers, bound to the events; it can publish none.
    eventPermissions: {
      configure: `^(${events})$`,
      write: `^(${events})$`,
      read: `^(${events}|${escapeRegExp(EVENTS_EXCHANGE)})$`,
    },
  };
}

/**
 * The account of a back end: it may publish to `warren.send`, and has an events queue of its own,
 * `warren.events.<name>`, which it may bind to `warren.events`, and queues for the answers to its requests,
 * `warren.replies.<name>.…`. Nothing else.
 *
 * @param isDirect whether it may publish to users, too: straight to their mailboxes, with headers of its own
 *   (see {@link SURVIVES_HEADERS}).
 */
export function backendAccount(
  password: string,
  names: TopologyNames = DEFAULT_NAMES,
  name = 'warren-backend',
  { isDirect = true }: { isDirect?: boolean } = {},
): Account {
  const account = escapeRegExp(name);
  const own = `warren\\.events\\.${account}|warren\\.replies\\.${account}\\..*`;
  return {
    name,
    password,
    tags: [],
    permissions: {
      configure: `^(${own})$`,
      write: `^(${isDirect ? `${escapeRegExp(names.exchange)}|` : ''}warren\\.send|${own})$`,
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
export function definitionsFile(
  accounts: Account[],
  names: TopologyNames = DEFAULT_NAMES,
  version?: Version,
): string {
  const base = topology(names, version);
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
