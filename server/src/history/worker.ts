import type { Logger } from 'pino';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';
import type { Storage } from '../storage/index.js';
import { Recorder } from './recorder.js';
import { Retention, type RetentionLimits } from './retention.js';

export interface HistoryWorkerOptions {
  amqpUrl: string;
  exchange: string;
  storage: Storage;
  limits: RetentionLimits;
  channel: ConfirmChannel;
  logger: Logger;
}

/** Writes stored messages down, and removes old ones, until it is closed. */
export function startHistoryWorker(options: HistoryWorkerOptions): { close: () => Promise<void> } {
  const { amqpUrl, exchange, storage, limits, channel, logger } = options;
  const { history: store, historyErasure: erasure, groups } = storage;
  const retention = new Retention(erasure, limits, logger);
  const recorder = new Recorder({
    amqpUrl,
    exchange,
    store,
    erasure,
    groups,
    retention,
    channel,
    logger,
  });
  return {
    close: async () => {
      await Promise.all([recorder.close(), retention.close()]);
    },
  };
}
