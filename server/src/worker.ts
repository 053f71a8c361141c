import type { Logger } from 'pino';
import { DEFAULT_NAMES } from '@warren/rabbitmq';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { WorkQueues } from './broker/work-queues.js';
import { PassingEvents } from './events/passing-events.js';
import type { HistoryWorkerConfig, PushWorkerConfig, WorkerConfig } from './worker-config.js';
import { startHistoryWorker } from './history/worker.js';
import { ConfirmChannel } from './publisher/confirm-channel.js';
import { PushJobs } from './push/jobs.js';
import { createPushMetrics, type PushMetrics } from './push/metrics.js';
import { createProviders } from './push/providers/index.js';
import { startPushWorker } from './push/worker.js';
import { StatsFeed } from './stats/stats-feed.js';
import { openStorage, type Storage } from './storage/index.js';
import { VERSION } from './version.js';
import { serveMetrics } from './worker-metrics.js';

export interface RunningWorker {
  close: () => Promise<void>;
}

/**
 * The history's worker as a process of its own, beside servers that share its database.
 * @throws when the database cannot be used. @throws {PortTakenError}
 */
export async function runHistoryWorker(
  config: HistoryWorkerConfig,
  logger: Logger,
): Promise<RunningWorker> {
  const parts = await open(config, logger);
  const { storage, channel, exchange } = parts;
  const { amqpUrl, history: limits } = config;
  const worker = startHistoryWorker({ amqpUrl, exchange, storage, limits, channel, logger });
  return closing(parts.tellStats('history'), worker, parts);
}

/**
 * The worker of pushes as a process of its own; any number of them.
 * @throws when the database cannot be used. @throws {PortTakenError}
 */
export async function runPushWorker(
  config: PushWorkerConfig,
  logger: Logger,
): Promise<RunningWorker> {
  const parts = await open(config, logger);
  const { storage, channel, exchange, registry } = parts;
  const workQueues = new WorkQueues(config.amqpUrl, channel, logger);
  const metrics = createPushMetrics(registry);
  const worker = startPushWorker({
    exchange,
    storage,
    workQueues,
    jobs: new PushJobs({ channel, exchange }),
    providers: createProviders(config.providers),
    limits: config.push,
    // The servers look for news every second.
    onNews: () => undefined,
    metrics,
    logger,
  });
  return closing(parts.tellStats('push', metrics.pushes), worker, workQueues, parts);
}

/** What every worker needs. */
interface Parts {
  storage: Storage;
  channel: ConfirmChannel;
  exchange: string;
  registry: Registry;
  /** For the admin console. */
  tellStats: (role: 'history' | 'push', pushes?: PushMetrics['pushes']) => StatsFeed;
  close: () => Promise<void>;
}

async function open(config: WorkerConfig, logger: Logger): Promise<Parts> {
  const { amqpUrl, dataDir, databaseUrl: url, names, host, metricsPort: port } = config;
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const metrics = port === undefined ? undefined : await serveMetrics({ host, port, registry });
  const storage = await openStorage({ dataDir, url }, (error) => {
    logger.warn({ err: error }, 'a connection to the database had an error');
  });
  const channel = new ConfirmChannel({
    amqpUrl,
    connectionName: 'warren worker',
    maxInFlight: 1000,
    maxWaiting: 10_000,
    timeoutMs: 5000,
    heartbeatSeconds: 10,
    onError: (error) => {
      logger.warn({ err: error }, 'the connection to the broker had an error');
    },
  });
  return {
    storage,
    channel,
    exchange: names.exchange ?? DEFAULT_NAMES.exchange,
    registry,
    tellStats: (role, pushes) =>
      new StatsFeed({
        events: new PassingEvents(channel),
        role,
        version: VERSION,
        ...(pushes !== undefined && { pushes }),
      }),
    close: async () => {
      await channel.close(1000);
      await storage.close();
      await metrics?.close();
    },
  };
}

/** Closes them one after the other. */
const closing = (...parts: RunningWorker[]): RunningWorker => ({
  close: async () => {
    for (const part of parts) await part.close();
  },
});
