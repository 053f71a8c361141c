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

/** An account that logs in with a password: the server's own, or a back end's. */
export interface Account {
  name: string;
  password: string;
  /** Management tags; `administrator` is what closing a connection asks for. */
  tags: string[];
  permissions: { configure: string; write: string; read: string };
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
    type: 'direct' | 'fanout';
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
    arguments: Record<string, string>;
  }[];
  bindings: {
    source: string;
    vhost: string;
    destination: string;
    destination_type: 'queue';
    routing_key: string;
    arguments: Record<string, never>;
  }[];
  policies: Policy[];
}

const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\-]/g, '\\$&');

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * What lives in Warren's vhost before any user does. Limits stand in policies, not in queue
 * arguments, because a changed argument makes every later declare fail (406), while a policy can
 * be changed while all is running.
 */
export function topology(names: TopologyNames = DEFAULT_NAMES): Definitions {
  const { vhost, exchange, userPrefix, livePrefix } = names;
  const exchangeOf = (name: string, type: 'direct' | 'fanout') =>
    ({
      name,
      vhost,
      type,
      durable: true,
      auto_delete: false,
      internal: false,
      arguments: {},
    }) as const;
  const policy = (name: string, prefix: string, definition: Policy['definition']): Policy => ({
    name,
    vhost,
    pattern: `^${escapeRegExp(prefix)}`,
    'apply-to': 'queues',
    priority: 0,
    definition,
  });
  return {
    vhosts: [{ name: vhost }],
    exchanges: [exchangeOf(exchange, 'direct'), exchangeOf(DEAD_LETTERS, 'fanout')],
    queues: [{ name: DEAD_LETTERS, vhost, durable: true, auto_delete: false, arguments: {} }],
    bindings: [
      {
        source: DEAD_LETTERS,
        vhost,
        destination: DEAD_LETTERS,
        destination_type: 'queue',
        routing_key: '',
        arguments: {},
      },
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
  };
}

/** The account of a back end that publishes: it may write to the exchange, and nothing else. */
export function backendAccount(
  password: string,
  names: TopologyNames = DEFAULT_NAMES,
  name = 'warren-backend',
): Account {
  return {
    name,
    password,
    tags: [],
    permissions: { configure: '^$', write: `^${escapeRegExp(names.exchange)}$`, read: '^$' },
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
  const file = {
    ...topology(names),
    users: accounts.map(({ name, password, tags }) => ({
      name,
      password_hash: hashPassword(password),
      hashing_algorithm: 'rabbit_password_hashing_sha256',
      tags,
    })),
    permissions: accounts.map(({ name, permissions }) => ({
      user: name,
      vhost: names.vhost,
      ...permissions,
    })),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}
