import { PUSH_KEY, type PushProviderName } from '@warren/protocol';
import { PUSH, PUSH_PROVIDERS, pushQueueOf } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { jsonIn, RefusedJob, type Job } from '../broker/job.js';
import type { WorkQueues } from '../broker/work-queues.js';
import type { Storage } from '../storage/index.js';
import { Decider } from './decider.js';
import { Deliverer } from './deliverer.js';
import { decideJobSchema, deliverJobSchema, type PushJobs } from './jobs.js';
import type { PushMetrics } from './metrics.js';
import type { PushProviders } from './providers/index.js';

/** How pushes are handed over. */
export interface PushLimits {
  /** How often a push is tried. */
  attempts: number;
  /** How many pushes a second each provider gets of a process; 0 is no limit. */
  rates: Record<PushProviderName, number>;
  /**
   * How long after its time a decision is looked for whose job has not come, in milliseconds. Default 60,000.
   */
  overdueMs?: number;
}

export const DEFAULT_PUSH_LIMITS: Readonly<PushLimits> = {
  attempts: 10,
  rates: { webpush: 500, fcm: 500, webhook: 1000 },
};

export interface PushWorkerOptions {
  /** The direct exchange. */
  exchange: string;
  storage: Storage;
  workQueues: WorkQueues;
  jobs: PushJobs;
  providers: PushProviders;
  limits: PushLimits;
  /** Called when outcomes have changed. */
  onNews: () => void;
  metrics: PushMetrics;
  logger: Logger;
}

const DECISIONS_AT_ONCE = 16;
const AT_ONCE: Record<PushProviderName, number> = { webpush: 64, fcm: 64, webhook: 8 };
/** Of failures that are not the provider's: a database that is away. Nothing is given up for that. */
const RETRY_MS = { low: 1000, high: 60_000 };
const OVERDUE_MS = 60_000;
const SWEEP_SIZE = 100;

/** Decides about pushes and hands them over, until the work queues are closed. */
export function startPushWorker(options: PushWorkerOptions): { close: () => Promise<void> } {
  const { exchange, storage, workQueues, jobs, providers, limits, onNews, metrics, logger } =
    options;
  const { pushDecisions: decisions, pushDevices: devices, pushes } = storage;
  const decider = new Decider({
    decisions,
    pushes,
    jobs,
    batchSizeOf: (provider) => providers[provider]?.batchSize ?? 1,
    onNews,
    metrics,
  });
  workQueues.consume({
    queue: PUSH,
    bindings: [{ exchange, routingKey: PUSH_KEY }],
    concurrency: DECISIONS_AT_ONCE,
    retryDelayMs,
    handle: (job) => decider.run(read(decideJobSchema, job)),
  });
  for (const name of PUSH_PROVIDERS) {
    const deliverer = new Deliverer({
      name,
      provider: providers[name],
      rate: limits.rates[name],
      attempts: limits.attempts,
      decisions,
      devices,
      pushes,
      jobs,
      onNews,
      metrics,
      logger,
    });
    workQueues.consume({
      queue: pushQueueOf(name),
      bindings: [],
      concurrency: AT_ONCE[name],
      retryDelayMs,
      handle: (job) => deliverer.run(read(deliverJobSchema, job)),
    });
  }
  return startSweep(decisions, jobs, limits.overdueMs ?? OVERDUE_MS, logger);
}

/** What the database says should have been decided, and no job has come for. */
function startSweep(
  decisions: Storage['pushDecisions'],
  jobs: PushJobs,
  overdueMs: number,
  logger: Logger,
): { close: () => Promise<void> } {
  let sweeping: Promise<void> | undefined;
  const sweep = async (): Promise<void> => {
    try {
      const limits = { graceMs: overdueMs, limit: SWEEP_SIZE };
      for (const id of await decisions.claimOverdue(Date.now(), limits)) {
        await jobs.decide({ id }, 0);
      }
    } catch (error) {
      logger.warn({ err: error }, 'pushes that are overdue could not be looked for');
    }
  };
  const timer = setInterval(() => {
    sweeping ??= sweep().finally(() => {
      sweeping = undefined;
    });
  }, overdueMs / 4);
  timer.unref();
  return {
    close: async () => {
      clearInterval(timer);
      await sweeping;
    },
  };
}

const retryDelayMs = (attempt: number): number =>
  Math.min(RETRY_MS.high, RETRY_MS.low * 2 ** (attempt - 1));

/** Whoever may publish to the direct exchange may put anything here. */
function read<Schema extends z.ZodType>(schema: Schema, job: Job): z.output<Schema> {
  const parsed = schema.safeParse(jsonIn(job));
  if (!parsed.success) throw new RefusedJob('It is no job of a push.');
  return parsed.data;
}
