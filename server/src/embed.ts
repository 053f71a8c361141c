import type { Router } from 'express';
import type { Logger } from 'pino';
import { readConfig, type Config } from './config.js';
import type { Authenticate } from './http/access.js';
import { createLogger } from './logger.js';
import type { MailboxTypeSetting } from './mailboxes/mailbox-type.js';
import type { EventMap, Publisher } from './publisher/index.js';
import { policyOf, type Policy } from './outbound/policy.js';
import { assembleWarren } from './warren.js';

/** Whatever is left out comes from the environment, as for the server (`WARREN_…`). */
export interface CreateWarrenOptions {
  /** The server's account on the broker, vhost included. `WARREN_AMQP_URL`. */
  amqpUrl?: string;
  /** RabbitMQ's management API, with the account. `WARREN_MANAGEMENT_URL`. */
  managementUrl?: string;
  /** Where RabbitMQ's Prometheus plugin answers, for the console's figures. `WARREN_BROKER_METRICS_URL`. */
  brokerMetricsUrl?: string;
  /** Where browsers reach the broker; several with commas. `WARREN_PUBLIC_STOMP_URL`. */
  publicStompUrl?: string;
  /** Where Node and Electron clients reach the broker. `WARREN_PUBLIC_AMQP_URL`. */
  publicAmqpUrl?: string;
  /** The private key that signs clients' tokens, as PEM. `WARREN_SIGNING_KEY`. */
  signingKey?: string;
  /** Keys for the routes that back ends call. `WARREN_SERVICE_KEYS`. */
  serviceKeys?: string[];
  /**
   * Keys of the admin console, each with all rights, or `viewer:` before it. `WARREN_ADMIN_KEYS`. Users whose
   * {@link authenticate} says a `role` may enter it, too.
   */
  adminKeys?: string[];
  /** Where the database file lies. Default `.warren`. `WARREN_DATA_DIR`. */
  dataDir?: string;
  /** PostgreSQL instead of the file. `WARREN_DATABASE_URL`. */
  databaseUrl?: string;
  /**
   * What kind of queue a mailbox is. Default `auto`: quorum on a cluster, classic on a single node. A device whose mailbox is of the other kind gets a new one at its next session.
   * `WARREN_MAILBOX_TYPE`.
   */
  mailboxType?: MailboxTypeSetting;
  /**
   * Tells which user a request for a session comes from, by whatever the application's login uses;
   * null refuses it. Called for every request on a user's route, except those with a token of
   * `POST /v1/users/:id/tokens`. A user id alone vouches for the user now; with `issuedAt` (when its
   * login began, in milliseconds since 1970), a user who was revoked since then is refused.
   */
  authenticate: Authenticate;
  /**
   * Decides what clients may send to users, and to groups that they belong to. Whatever does not resolve
   * to `true`, or to a push for those who do not handle it in time, is refused. Default: `WARREN_POLICY_URL` is asked; without it, nothing may be sent.
   */
  policy?: Policy;
  /**
   * Whether `GET /metrics` below the router answers, and that to anybody: let the outside not reach it. Default false.
   */
  metrics?: boolean;
  /** A pino logger. Default: one that writes warnings and errors as JSON lines. */
  logger?: Logger;
}

/** What can change while Warren runs. */
export type EmbeddedKeys = Pick<CreateWarrenOptions, 'signingKey' | 'serviceKeys' | 'adminKeys'>;

export interface EmbeddedWarren<Events extends EventMap> {
  /**
   * `app.use('/warren', warren.router)`. Below that path it answers everything, with 404 what it does not know. Best
   * before `express.json()`: in a body that the application has parsed, a number that is too long has lost its digits
   * already, and arrives as another one.
   */
  router: Router;
  publisher: Publisher<Events>;
  /** Resolves to whether the broker was reached within `timeoutMs` (default 10,000). */
  ready: (timeoutMs?: number) => Promise<boolean>;
  /**
   * Takes other keys into use while all goes on, for their rotation. What is left out stays as it was
   * given, or is read anew from the environment and its files. A signing key that the broker does not
   * know is refused: add its public half on every node of the broker first.
   * @throws {UnknownKeyError} for that, {ConfigError} for keys that are none. Nothing was changed then.
   */
  reload: (keys?: EmbeddedKeys) => Promise<void>;
  /** Lets sends end, closes what Warren opened. Idempotent. The host's own server is its own affair. */
  close: () => Promise<void>;
}

/**
 * Warren inside an Express application: its routes as a router, and the publish helper. It adds no
 * process listeners, no middleware outside the router, and does not listen.
 * @throws {ConfigError} with all that is missing or wrong.
 */
export async function createWarren<Events extends EventMap = Record<string, unknown>>(
  options: CreateWarrenOptions,
): Promise<EmbeddedWarren<Events>> {
  let current = options;
  const config = readOptions(current);
  const warren = await assembleWarren({
    ...config,
    authenticate: options.authenticate,
    policy: options.policy ?? policyOf(config),
    servesMetrics: options.metrics ?? false,
    logger: options.logger ?? createLogger('warn'),
  });
  return {
    router: warren.router,
    // The same object: the events' types exist only for the compiler.
    publisher: warren.publisher as unknown as Publisher<Events>,
    ready: warren.ready,
    reload: async (keys = {}) => {
      const next = { ...current, ...keys };
      const { signingKey, serviceKeys, adminKeys } = readOptions(next);
      await warren.reload({ signingKey, serviceKeys, adminKeys });
      current = next;
    },
    close: warren.close,
  };
}

function readOptions(options: CreateWarrenOptions): Config {
  const given = {
    WARREN_AMQP_URL: options.amqpUrl,
    WARREN_MANAGEMENT_URL: options.managementUrl,
    WARREN_BROKER_METRICS_URL: options.brokerMetricsUrl,
    WARREN_PUBLIC_STOMP_URL: options.publicStompUrl,
    WARREN_PUBLIC_AMQP_URL: options.publicAmqpUrl,
    WARREN_SIGNING_KEY: options.signingKey,
    WARREN_SERVICE_KEYS: options.serviceKeys?.join(','),
    WARREN_ADMIN_KEYS: options.adminKeys?.join(','),
    WARREN_DATA_DIR: options.dataDir,
    WARREN_DATABASE_URL: options.databaseUrl,
    WARREN_MAILBOX_TYPE: options.mailboxType,
  };
  return readConfig({ ...process.env, ...overrides(given) }, { isEmbedded: true });
}

/** What was given, and its `_FILE` twin emptied, so that the two do not contradict each other. */
function overrides(given: Record<string, string | undefined>): Record<string, string> {
  const set: Record<string, string> = {};
  for (const [variable, value] of Object.entries(given)) {
    if (value === undefined) continue;
    set[variable] = value;
    set[`${variable}_FILE`] = '';
  }
  return set;
}
