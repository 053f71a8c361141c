import { DEFAULT_RETENTION, type RetentionLimits } from './history/retention.js';
import type { AdminKey, Authenticate } from './http/access.js';
import type { RateLimits } from './http/rate-limits.js';
import type { Route } from './http/route.js';
import type { MailboxTypeSetting } from './mailboxes/mailbox-type.js';
import type { Policy } from './outbound/policy.js';
import type { PushParts } from './push/index.js';
import type { Endpoints } from './sessions/sessions.js';
import type { TopologyNames } from '@warren/rabbitmq';
import type { Logger } from 'pino';

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
  /** Keys of the admin console. Default: none. */
  adminKeys?: AdminKey[];
  /** Where the broker's Prometheus plugin answers, one for each node. Default: it is not asked. */
  brokerMetricsUrls?: string[];
  authenticate: Authenticate;
  /** Where the SQLite file lies. */
  dataDir: string;
  /** PostgreSQL instead. */
  databaseUrl?: string | undefined;
  /** Decides what clients may send. Default: nothing. */
  policy?: Policy | undefined;
  /** Where events are posted to. Default: nowhere. */
  webhooks?: WebhookTarget | undefined;
  names?: Partial<Omit<TopologyNames, 'vhost'>>;
  /** How long a client's token lasts, in seconds. The SDK renews before. Default 3,600. */
  sessionTtlSeconds?: number;
  /** How many unacknowledged messages the broker sends a client ahead. Default 50. */
  prefetch?: number;
  /** What kind of queue a mailbox is. Default `auto`: what suits the broker. */
  mailboxType?: MailboxTypeSetting;
  /** How many devices a user may have; the one that is missed least makes room for another. Default 50. */
  maxDevices?: number;
  /** How long a device whose client forgets its id outlives its connection, in milliseconds. Default 300,000. */
  passingDeviceMs?: number;
  rateLimits?: RateLimits;
  /** How long after its token's end a connection is closed, in milliseconds. Default 10,000. */
  expiryGraceMs?: number;
  /** How long somebody has to be gone before it is told, in milliseconds. Default 2,000. */
  offlineGraceMs?: number;
  /** How long after a tracked message's time it is settled without word of it, in ms. Default 60,000. */
  unconfirmedAfterMs?: number;
  /** What the history keeps, and whether this process writes it. Default: 365 days, and it does. */
  history?: HistoryParts;
  /** By whom pushes reach devices, and whether this process sends them. Default: nobody, and it does. */
  push?: PushParts;
  /** Whether `GET /metrics` answers anybody who reaches it. Default true. */
  servesMetrics?: boolean;
  extraRoutes?: Route[];
  logger: Logger;
}

export interface HistoryParts {
  limits: RetentionLimits;
  /** False where `warren worker history` does. */
  hasWorker: boolean;
}

export const DEFAULT_HISTORY: HistoryParts = { limits: DEFAULT_RETENTION, hasWorker: true };

export interface WebhookTarget {
  url: string;
  /** Base64, with or without `whsec_` before it. */
  secret: string;
  /** Of the events' routing keys. */
  patterns: string[];
}
