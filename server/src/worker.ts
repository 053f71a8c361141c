import type { Logger } from 'pino';
import { DEFAULT_NAMES } from '@warren/rabbitmq';
import type { WorkerConfig } from './config.js';
import { startHistoryWorker } from './history/worker.js';
import { ConfirmChannel } from './publisher/confirm-channel.js';
import { openStorage } from './storage/index.js';

/**
 * The history's worker as a process of its own, beside servers that share its database.
 * @throws when the database cannot be used.
 */
export async function runHistoryWorker(
  config: WorkerConfig,
  logger: Logger,
): Promise<{ close: () => Promise<void> }> {
  const { amqpUrl, dataDir, databaseUrl: url } = config;
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
  const worker = startHistoryWorker({
    amqpUrl,
    exchange: config.names.exchange ?? DEFAULT_NAMES.exchange,
    storage,
    limits: config.history,
    channel,
    logger,
  });
  return {
    close: async () => {
      await worker.close();
      await channel.close(1000);
      await storage.close();
    },
  };
}
