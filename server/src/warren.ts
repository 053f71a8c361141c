import { createRequire } from 'node:module';
import type { Router } from 'express';
import { sql } from 'kysely';
import type { Logger } from 'pino';
import { DEFAULT_NAMES, topology, type TopologyNames } from '@warren/rabbitmq';
import { Connections } from './broker/connections.js';
import { probeKey, type LoginVerdict } from './broker/login-probe.js';
import { ManagementApi } from './broker/management.js';
import { ControlLink } from './broker/control-link.js';
import { GroupExchanges } from './broker/group-exchanges.js';
import { Provisioner } from './broker/provisioner.js';
import { BrokerWatch } from './broker/watch.js';
import { Groups } from './groups/groups.js';
import { AccessControl, type Authenticate } from './http/access.js';
import { withOpenApi } from './http/openapi.js';
import { DEFAULT_RATE_LIMITS, RateLimiter, type RateLimits } from './http/rate-limits.js';
import { createRouter } from './http/router.js';
import type { Route } from './http/route.js';
import { createRoutes } from './http/routes/index.js';
import { createMetrics, type Metrics } from './metrics.js';
import { createPublisher, type Publisher } from './publisher/index.js';
import { Recipients } from './sending/recipients.js';
import { Sender } from './sending/sender.js';
import { ClientTokens } from './sessions/client-tokens.js';
import { Cutoffs } from './sessions/cutoffs.js';
import { Endings } from './sessions/endings.js';
import { Gatekeeper } from './sessions/gatekeeper.js';
import { KeyRing } from './sessions/key-ring.js';
import { OwnTokens } from './sessions/own-tokens.js';
import { Sessions, type Endpoints } from './sessions/sessions.js';
import { Upkeep } from './sessions/upkeep.js';
import { Users } from './sessions/users.js';
import { CutoffStore } from './storage/cutoffs.js';
import { openDatabase } from './storage/database.js';
import { AuditStore } from './storage/audit.js';
import { DeviceStore } from './storage/devices.js';
import { GroupStore } from './storage/groups.js';
import { Locks } from './storage/locks.js';

/** What Warren is made of, once the configuration has been read and checked. */
export interface WarrenParts {
  /** The server's own account, vhost included. */
  amqpUrl: string;
  /** RabbitMQ's management API with the server's account in it. */
  managementUrl: string;
  /**
   * The private key that signs clients' tokens, as PEM; the broker holds the public one. Older ones may
   * follow it, whose tokens are still good.
   */
  signingKey: string;
  /** Addresses of the broker as clients reach it. */
  endpoints: Endpoints;
  serviceKeys: string[];
  authenticate: Authenticate;
  /** Where the SQLite file lies. */
  dataDir: string;
  /** PostgreSQL instead. */
  databaseUrl?: string | undefined;
  names?: Partial<Omit<TopologyNames, 'vhost'>>;
  /** How long a client's token lasts, in seconds. The SDK renews before. Default 3,600. */
  sessionTtlSeconds?: number;
  /** How many unacknowledged messages the broker sends a client ahead. Default 50. */
  prefetch?: number;
  /** How many devices a user may have. Default 50. */
  maxDevices?: number;
  rateLimits?: RateLimits;
  /** How long after its token's end a connection is closed, in milliseconds. Default 10,000. */
  expiryGraceMs?: number;
  extraRoutes?: Route[];
  logger: Logger;
}

export interface Warren {
  /** The routes of the API, to be mounted anywhere. */
  router: Router;
  publisher: Publisher;
  metrics: Metrics;
  /** Resolves to whether the broker was reached within `timeoutMs`. */
  ready: (timeoutMs?: number) => Promise<boolean>;
  /**
   * Takes other keys into use while all goes on. A signing key that the broker does not know is not.
   * @throws {UnknownKeyError} nothing was changed then.
   */
  reload: (keys: ReloadableKeys) => Promise<void>;
  /** Lets sends end, then closes connections and the database. Idempotent. */
  close: () => Promise<void>;
}

export interface ReloadableKeys {
  /** As {@link WarrenParts.signingKey}. */
  signingKey: string;
  serviceKeys: string[];
}

/** The broker refuses tokens that are signed with a key, or could not be asked. */
export class UnknownKeyError extends Error {
  override readonly name = 'UnknownKeyError';
  readonly code = 'unknown_key';
  readonly remedy = 'Add its public half on every node of the broker first (docs/operating.md).';
  constructor(kid: string, verdict: Exclude<LoginVerdict, 'accepted'>) {
    super(
      verdict === 'refused'
        ? `The broker refuses tokens that are signed with the key ${kid}.`
        : `The broker could not be asked whether it knows the key ${kid}.`,
    );
  }
}

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };

/** The composition: all that Warren is made of is put together here and nowhere else. */
export async function assembleWarren(parts: WarrenParts): Promise<Warren> {
  const { amqpUrl, logger } = parts;
  const vhost = vhostOf(amqpUrl);
  const names: TopologyNames = { ...DEFAULT_NAMES, ...parts.names, vhost };
  const prefixes = { user: names.userPrefix, live: names.livePrefix };

  const onDatabaseError = (error: Error): void => {
    logger.warn({ err: error }, 'a connection to the database had an error');
  };
  const database = await openDatabase(
    { dataDir: parts.dataDir, url: parts.databaseUrl },
    onDatabaseError,
  );
  const store = new DeviceStore(database);
  const cutoffStore = new CutoffStore(database);
  const locks = new Locks(parts.databaseUrl, onDatabaseError);

  const onError = (error: Error): void => {
    logger.warn({ err: error }, 'the connection to the broker had an error');
  };
  const onControlError = (error: unknown): void => {
    logger.warn({ err: error }, 'the connection to the broker had an error');
  };
  const publisher = createPublisher({ amqpUrl, exchange: names.exchange, prefixes, onError });
  const link = new ControlLink(amqpUrl, onControlError);
  const provisioner = new Provisioner({ link, names, onError: onControlError });
  const management = new ManagementApi(parts.managementUrl, vhost);
  addLimits(management, names, logger);
  const metrics = createMetrics(
    () => publisher.state === 'ready',
    () => publisher.pending,
  );
  const queuePrefix = `${names.userPrefix}.`;
  const watch = new BrokerWatch({ amqpUrl, vhost, management, logger });
  const connections = new Connections({
    management,
    watch,
    provisioner,
    queuePrefix,
    metrics,
    logger,
  });

  const keys = new KeyRing(parts.signingKey);
  const cutoffs = new Cutoffs(cutoffStore);
  const endings = new Endings({ store, locks, provisioner, connections, logger });
  const exchanges = new GroupExchanges(link, names.exchange);
  const groupStore = new GroupStore(database);
  const groups = new Groups({ store: groupStore, devices: store, locks, exchanges, link });
  const sessions = new Sessions({
    store,
    locks,
    cutoffs,
    endings,
    groups,
    provisioner,
    connections,
    tokens: new ClientTokens({ keys, vhost, ttlSeconds: parts.sessionTtlSeconds ?? 3600 }),
    prefixes,
    vhost,
    endpoints: parts.endpoints,
    prefetch: parts.prefetch ?? 50,
    maxDevices: parts.maxDevices ?? 50,
    logger,
  });
  const users = new Users({
    store,
    cutoffs,
    endings,
    groups,
    connections,
    management,
    provisioner,
    prefixes,
  });
  const upkeep = new Upkeep({
    watch,
    management,
    provisioner,
    store,
    cutoffStore,
    locks,
    endings,
    groups,
    logger,
  });
  const gatekeeper = new Gatekeeper({
    watch,
    connections,
    provisioner,
    store,
    queuePrefix,
    graceMs: parts.expiryGraceMs ?? 10_000,
    logger,
  });
  const health = async () => ({
    broker: publisher.state === 'ready' && link.isConnected ? ('up' as const) : ('down' as const),
    database: await sql`select 1`.execute(database).then(
      () => 'up' as const,
      () => 'down' as const,
    ),
  });
  const audit = new AuditStore(database);
  const rates = new RateLimiter(parts.rateLimits ?? DEFAULT_RATE_LIMITS);
  const recipients = new Recipients({ devices: store, groups, watch });
  const sender = new Sender({ publisher, recipients, groups, rates, audit, metrics, logger });
  const ownTokens = new OwnTokens(keys);
  const routes = createRoutes({ sessions, users, groups, ownTokens, sender, metrics, health });
  let { serviceKeys } = parts;
  const router = createRouter({
    routes: withOpenApi([...routes, ...(parts.extraRoutes ?? [])], version),
    access: new AccessControl({
      serviceKeys: () => serviceKeys,
      ownTokens,
      authenticate: parts.authenticate,
      refuseRevoked: (identity) => cutoffs.refuseRevoked(identity),
    }),
    rates,
    metrics,
    logger,
  });

  let closing: Promise<void> | undefined;
  const closeAll = async (): Promise<void> => {
    await Promise.all([gatekeeper.close(), upkeep.close()]);
    await endings.settled();
    provisioner.close();
    exchanges.close();
    await Promise.all([publisher.close(), link.close(), watch.close()]);
    await Promise.all([database.destroy(), locks.close()]);
  };
  return {
    router,
    publisher,
    metrics,
    ready: async (timeoutMs = 10_000) => {
      const reached = await Promise.all([publisher.ready(timeoutMs), link.ready(timeoutMs)]);
      return reached.every(Boolean);
    },
    reload: async (next) => {
      const ring = new KeyRing(next.signingKey);
      if (ring.signing.kid !== keys.signing.kid) {
        const verdict = await probeKey(amqpUrl, ring);
        if (verdict !== 'accepted') throw new UnknownKeyError(ring.signing.kid, verdict);
      }
      keys.replaceBy(ring);
      ({ serviceKeys } = next);
    },
    close: () => (closing ??= closeAll()),
  };
}

function vhostOf(amqpUrl: string): string {
  const path = new URL(amqpUrl).pathname.slice(1);
  return path === '' ? DEFAULT_NAMES.vhost : decodeURIComponent(path);
}

/**
 * The limits of queues and connections. Without them all works, without bounds; so a management API that cannot be
 * reached is worth a warning and no more.
 */
function addLimits(management: ManagementApi, names: TopologyNames, logger: Logger): void {
  void (async () => {
    try {
      const { policies, parameters } = topology(names);
      for (const policy of policies) await management.addPolicy(policy);
      for (const { value } of parameters) {
        await management.addConnectionLimit(value['max-connections']);
      }
    } catch (error) {
      const advice = 'there are no limits until the policies are set: run "warren provision"';
      logger.warn({ err: error }, advice);
    }
  })();
}
