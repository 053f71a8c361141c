import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Router } from 'express';
import { sql } from 'kysely';
import type { Logger } from 'pino';
import { DEFAULT_NAMES, topology, type TopologyNames } from '@warren/rabbitmq';
import { ManagementApi } from './broker/management.js';
import { Provisioner } from './broker/provisioner.js';
import { createAccessControl, type Authenticate } from './http/access.js';
import { withOpenApi } from './http/openapi.js';
import { createRouter } from './http/router.js';
import type { Route } from './http/route.js';
import { createRoutes } from './http/routes.js';
import { createMetrics, type Metrics } from './metrics.js';
import { createPublisher, type Publisher } from './publisher/index.js';
import { Sender } from './sender.js';
import { ClientTokens } from './sessions/client-tokens.js';
import { Sessions, type Endpoints } from './sessions/sessions.js';
import { Users } from './sessions/users.js';
import { openDatabase } from './storage/database.js';
import { DeviceStore } from './storage/devices.js';

/** What Warren is made of, once the configuration has been read and checked. */
export interface WarrenParts {
  /** The server's own account, vhost included. */
  amqpUrl: string;
  /** RabbitMQ's management API with the server's account in it. */
  managementUrl: string;
  /** The private key that signs clients' tokens, as PEM; the broker holds the public one. */
  signingKey: string;
  /** Addresses of the broker as clients reach it. */
  endpoints: Endpoints;
  serviceKeys: string[];
  authenticate: Authenticate;
  /** Where the SQLite file lies. */
  dataDir: string;
  names?: Partial<Omit<TopologyNames, 'vhost'>>;
  /** How long a client's token lasts, in seconds. The SDK renews before. Default 3,600. */
  sessionTtlSeconds?: number;
  /** How many unacknowledged messages the broker sends a client ahead. Default 50. */
  prefetch?: number;
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
  /** Lets sends end, then closes connections and the database. Idempotent. */
  close: () => Promise<void>;
}

const { version } = createRequire(import.meta.url)('../package.json') as { version: string };

/** The composition: all that Warren is made of is put together here and nowhere else. */
export async function assembleWarren(parts: WarrenParts): Promise<Warren> {
  const { amqpUrl, logger } = parts;
  const vhost = vhostOf(amqpUrl);
  const names: TopologyNames = { ...DEFAULT_NAMES, ...parts.names, vhost };
  const prefixes = { user: names.userPrefix, live: names.livePrefix };

  const database = await openDatabase(join(parts.dataDir, 'warren.sqlite'));
  const store = new DeviceStore(database);
  const onError = (error: Error): void => {
    logger.warn({ err: error }, 'the connection to the broker had an error');
  };
  const publisher = createPublisher({ amqpUrl, exchange: names.exchange, prefixes, onError });
  const provisioner = new Provisioner({ amqpUrl, names, onError });
  const management = new ManagementApi(parts.managementUrl, vhost);
  addPolicies(management, names, logger);

  const metrics = createMetrics(
    () => publisher.state === 'ready',
    () => publisher.pending,
  );
  const sessions = new Sessions({
    store,
    provisioner,
    management,
    tokens: new ClientTokens({
      signingKey: parts.signingKey,
      vhost,
      ttlSeconds: parts.sessionTtlSeconds ?? 3600,
    }),
    prefixes,
    vhost,
    endpoints: parts.endpoints,
    prefetch: parts.prefetch ?? 50,
    logger,
  });
  const users = new Users({ store, provisioner, management, prefixes });
  const health = async () => ({
    broker:
      publisher.state === 'ready' && provisioner.isConnected ? ('up' as const) : ('down' as const),
    database: await sql`select 1`.execute(database).then(
      () => 'up' as const,
      () => 'down' as const,
    ),
  });
  const sender = new Sender(publisher, metrics);
  const routes = createRoutes({ sessions, users, sender, metrics, health });
  const router = createRouter({
    routes: withOpenApi([...routes, ...(parts.extraRoutes ?? [])], version),
    access: createAccessControl(parts.serviceKeys, parts.authenticate),
    metrics,
    logger,
  });

  let closing: Promise<void> | undefined;
  const closeAll = async (): Promise<void> => {
    await Promise.all([publisher.close(), provisioner.close()]);
    await database.destroy();
  };
  return {
    router,
    publisher,
    metrics,
    ready: async (timeoutMs = 10_000) => {
      const reached = await Promise.all([publisher.ready(timeoutMs), provisioner.ready(timeoutMs)]);
      return reached.every(Boolean);
    },
    close: () => (closing ??= closeAll()),
  };
}

function vhostOf(amqpUrl: string): string {
  const path = new URL(amqpUrl).pathname.slice(1);
  return path === '' ? DEFAULT_NAMES.vhost : decodeURIComponent(path);
}

/**
 * The limits of queues. Without them all works, without bounds; so a management API that cannot be
 * reached is worth a warning and no more.
 */
function addPolicies(management: ManagementApi, names: TopologyNames, logger: Logger): void {
  void (async () => {
    try {
      for (const policy of topology(names).policies) await management.addPolicy(policy);
    } catch (error) {
      const advice = 'queues have no limits until their policies are set: run "warren provision"';
      logger.warn({ err: error }, advice);
    }
  })();
}
