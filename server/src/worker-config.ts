import type { z } from 'zod';
import { ConfigError, problemsOf, type Config } from './config.js';
import type { RetentionLimits } from './history/retention.js';
import { findPlaintext, type ConfigProblem } from './plaintext.js';
import { pushContradictions, toProviders, toPushLimits } from './push/config.js';
import type { ProviderSettings } from './push/providers/index.js';
import type { PushLimits } from './push/worker.js';
import {
  gather,
  historyWorkerSchema,
  pushWorkerSchema,
  type Environment,
  type schema,
} from './variables.js';

/** What a worker beside the servers needs. */
export interface WorkerConfig extends Pick<
  Config,
  'amqpUrl' | 'dataDir' | 'databaseUrl' | 'host' | 'logLevel'
> {
  /** Where its metrics are, if anywhere. */
  metricsPort: number | undefined;
  names: Pick<Config['names'], 'exchange'>;
}

export interface HistoryWorkerConfig extends WorkerConfig {
  history: RetentionLimits;
}

export interface PushWorkerConfig extends WorkerConfig {
  providers: ProviderSettings;
  push: PushLimits;
}

/** As {@link readConfig}, of the variables that the history's worker needs. @throws {ConfigError} */
export function readHistoryWorkerConfig(environment: Environment): HistoryWorkerConfig {
  const data = readForWorker(environment, historyWorkerSchema);
  return {
    ...toWorkerConfig(data),
    history: { days: data.WARREN_HISTORY_DAYS, count: data.WARREN_HISTORY_COUNT },
  };
}

/** As {@link readConfig}, of the variables that the worker of pushes needs. @throws {ConfigError} */
export function readPushWorkerConfig(environment: Environment): PushWorkerConfig {
  const data = readForWorker(environment, pushWorkerSchema);
  return { ...toWorkerConfig(data), providers: toProviders(data), push: toPushLimits(data) };
}

function readForWorker<Schema extends z.ZodObject>(
  environment: Environment,
  of: Schema,
): z.output<Schema> {
  const problems: ConfigProblem[] = [];
  const values = gather(environment, problems);
  const result = of.safeParse(values);
  if (!result.success) problems.push(...problemsOf(result.error, values, problems));
  const known = new Set([...Object.keys(of.shape), 'WARREN_ALLOW_PLAINTEXT']);
  const looked = Object.fromEntries(Object.entries(values).filter(([name]) => known.has(name)));
  problems.push(...pushContradictions(looked), ...findPlaintext(looked, true));
  if (!result.success || problems.length > 0) throw new ConfigError(problems);
  return result.data;
}

function toWorkerConfig(
  data: Pick<
    z.output<typeof schema>,
    | 'WARREN_AMQP_URL'
    | 'WARREN_DATA_DIR'
    | 'WARREN_DATABASE_URL'
    | 'WARREN_EXCHANGE'
    | 'WARREN_HOST'
    | 'WARREN_METRICS_PORT'
    | 'WARREN_LOG_LEVEL'
  >,
): WorkerConfig {
  return {
    amqpUrl: data.WARREN_AMQP_URL,
    dataDir: data.WARREN_DATA_DIR,
    databaseUrl: data.WARREN_DATABASE_URL,
    names: data.WARREN_EXCHANGE === undefined ? {} : { exchange: data.WARREN_EXCHANGE },
    host: data.WARREN_HOST,
    metricsPort: data.WARREN_METRICS_PORT,
    logLevel: data.WARREN_LOG_LEVEL,
  };
}
