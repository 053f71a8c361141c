import type { Registry } from 'prom-client';
import type { BrokerSide } from '../broker/index.js';
import type { Events } from '../events/events.js';
import type { Cutoffs } from '../sessions/cutoffs.js';
import type { Storage } from '../storage/index.js';
import type { Logger } from 'pino';
import { PushJobs } from './jobs.js';
import { createPushMetrics, type PushMetrics } from './metrics.js';
import { createProviders, type ProviderSettings } from './providers/index.js';
import { Registrations } from './registrations.js';
import { DEFAULT_PUSH_LIMITS, startPushWorker, type PushLimits } from './worker.js';

/** By whom pushes reach devices, and whether this process sends them. */
export interface PushParts {
  providers: ProviderSettings;
  limits: PushLimits;
  /** False where `warren worker push` does. */
  hasWorker: boolean;
}

export const DEFAULT_PUSH: PushParts = {
  providers: {},
  limits: DEFAULT_PUSH_LIMITS,
  hasWorker: true,
};

export interface PushOptions {
  parts: PushParts;
  /** The direct exchange. */
  exchange: string;
  storage: Storage;
  broker: Pick<BrokerSide, 'internal' | 'workQueues'>;
  cutoffs: Cutoffs;
  events: Events;
  /** How many registrations a user may have. */
  maxDevices: number;
  registry: Registry;
  logger: Logger;
}

/** All of a server that has to do with pushes. */
export function openPush(options: PushOptions): {
  jobs: PushJobs;
  registrations: Registrations;
  /** Undefined where another process sends them. */
  metrics: PushMetrics | undefined;
  close: () => Promise<void>;
} {
  const { parts, exchange, storage, broker, cutoffs, events, maxDevices, logger } = options;
  const { pushDevices: store, devices, locks } = storage;
  const providers = createProviders(parts.providers);
  const jobs = new PushJobs({ channel: broker.internal, exchange });
  const registrations = new Registrations({
    store,
    devices,
    locks,
    cutoffs,
    providers,
    maxDevices,
  });
  if (!parts.hasWorker) {
    return { jobs, registrations, metrics: undefined, close: () => Promise.resolve() };
  }
  const metrics = createPushMetrics(options.registry);
  const { close } = startPushWorker({
    exchange,
    storage,
    workQueues: broker.workQueues,
    jobs,
    providers,
    limits: parts.limits,
    onNews: () => {
      events.poke();
    },
    metrics,
    logger,
  });
  return { jobs, registrations, metrics, close };
}
