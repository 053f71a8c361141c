import type { z } from 'zod';
import type { RetentionLimits } from './history/retention.js';
import type { RateLimits } from './http/rate-limits.js';
import type { LogLevel } from './logger.js';
import { findPlaintext, type ConfigProblem } from './plaintext.js';
import type { UserTokenOptions } from './sessions/user-tokens.js';
import type { ProviderSettings } from './push/providers/index.js';
import type { PushLimits } from './push/worker.js';
import {
  gather,
  historyWorkerSchema,
  pushWorkerSchema,
  schema,
  type Environment,
} from './variables.js';
import type { HistoryParts, PushParts, WebhookTarget } from './warren.js';

/** All that the server takes from its environment, checked and typed. */
export interface Config {
  amqpUrl: string;
  managementUrl: string;
  endpoints: { stomp: string[]; amqp: string[] };
  signingKey: string;
  serviceKeys: string[];
  /** Undefined: no JWTs of the application's, only those that Warren makes. */
  userTokens: UserTokenOptions | undefined;
  host: string;
  port: number;
  dataDir: string;
  /** PostgreSQL; undefined: a SQLite file in `dataDir`. */
  databaseUrl: string | undefined;
  /** The server's own certificate, as PEM; undefined: it speaks plain HTTP. */
  tls: { cert: string; key: string } | undefined;
  /** Undefined: nobody is told by HTTP what happened. */
  webhooks: WebhookTarget | undefined;
  /** Asked what clients may send; undefined: they may send nothing. */
  policyUrl: { url: string; secret: string } | undefined;
  corsOrigins: string[];
  names: { exchange?: string; userPrefix?: string; livePrefix?: string };
  sessionTtlSeconds: number;
  expiryGraceMs: number;
  maxDevices: number;
  rateLimits: RateLimits;
  history: HistoryParts;
  push: PushParts;
  logLevel: LogLevel;
}

/** What a worker beside the servers needs of it. */
export interface WorkerConfig extends Pick<
  Config,
  'amqpUrl' | 'dataDir' | 'databaseUrl' | 'logLevel'
> {
  names: Pick<Config['names'], 'exchange'>;
}

export interface HistoryWorkerConfig extends WorkerConfig {
  history: RetentionLimits;
}

export interface PushWorkerConfig extends WorkerConfig {
  providers: ProviderSettings;
  push: PushLimits;
}

export type { ConfigProblem };

/** Lists everything that is wrong with the environment at once. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'invalid_config';
  constructor(readonly problems: ConfigProblem[]) {
    const lines = problems.map(({ variable, message }) => `  ${variable}: ${message}`);
    super(`The configuration is not complete or not valid:\n${lines.join('\n')}`);
  }
}

/**
 * Reads the environment; each variable may stand in a file instead, named by the variable with
 * `_FILE` (as Docker and Kubernetes mount secrets).
 * @param isEmbedded whether somebody else listens, so that how is not for these variables to say.
 * @throws {ConfigError} with everything that is wrong. No value is repeated in it.
 */
export function readConfig(environment: Environment, { isEmbedded = false } = {}): Config {
  const problems: ConfigProblem[] = [];
  const values = gather(environment, problems);
  const result = schema.safeParse(values);
  if (!result.success) problems.push(...problemsOf(result.error, values, problems));
  problems.push(...contradictions(values), ...findPlaintext(values, isEmbedded));
  if (!result.success || problems.length > 0) throw new ConfigError(problems);
  return toConfig(result.data);
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
    | 'WARREN_LOG_LEVEL'
  >,
): WorkerConfig {
  return {
    amqpUrl: data.WARREN_AMQP_URL,
    dataDir: data.WARREN_DATA_DIR,
    databaseUrl: data.WARREN_DATABASE_URL,
    names: data.WARREN_EXCHANGE === undefined ? {} : { exchange: data.WARREN_EXCHANGE },
    logLevel: data.WARREN_LOG_LEVEL,
  };
}

type PushVariables = z.output<typeof pushWorkerSchema>;

function toProviders(values: PushVariables): ProviderSettings {
  const {
    WARREN_VAPID_PRIVATE_KEY: vapidPrivateKey,
    WARREN_VAPID_SUBJECT: vapidSubject,
    WARREN_WEBPUSH_HOSTS: hosts,
    WARREN_FCM_SERVICE_ACCOUNT: account,
    WARREN_FCM_URL: url,
    WARREN_PUSH_WEBHOOK_URL: webhookUrl,
    WARREN_WEBHOOK_SECRET: secret,
  } = values;
  return {
    webpush:
      vapidPrivateKey === undefined || vapidSubject === undefined
        ? undefined
        : { vapidPrivateKey, vapidSubject, hosts },
    fcm: account && { account, url },
    webhook:
      webhookUrl === undefined || secret === undefined ? undefined : { url: webhookUrl, secret },
  };
}

const toPushLimits = (values: PushVariables): PushLimits => ({
  attempts: values.WARREN_PUSH_ATTEMPTS,
  rates: {
    webpush: values.WARREN_RATE_WEBPUSH,
    fcm: values.WARREN_RATE_FCM,
    webhook: values.WARREN_RATE_PUSH_WEBHOOK,
  },
});

function problemsOf(
  { issues }: z.ZodError,
  values: Environment,
  known: ConfigProblem[],
): ConfigProblem[] {
  return issues
    .map(({ path, message }) => {
      const variable = String(path[0]);
      return { variable, message: values[variable] === undefined ? 'is required' : message };
    })
    .filter(({ variable }) => !known.some((problem) => problem.variable === variable));
}

const USER_KEYS = ['SECRET', 'PUBLIC_KEY', 'JWKS_URL'].map((name) => `WARREN_USER_JWT_${name}`);

function contradictions(values: Environment): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const given = USER_KEYS.filter((variable) => values[variable] !== undefined);
  if (given.length > 1) {
    problems.push({
      variable: 'WARREN_USER_JWT_…',
      message: `set only one of ${USER_KEYS.join(', ')}`,
    });
  }
  if ((values['WARREN_TLS_CERT'] === undefined) !== (values['WARREN_TLS_KEY'] === undefined)) {
    problems.push({ variable: 'WARREN_TLS_KEY', message: 'set it together with WARREN_TLS_CERT' });
  }
  if (
    values['WARREN_PUBLIC_STOMP_URL'] === undefined &&
    values['WARREN_PUBLIC_AMQP_URL'] === undefined
  ) {
    const message = 'set this or WARREN_PUBLIC_AMQP_URL, so that clients know where the broker is';
    problems.push({ variable: 'WARREN_PUBLIC_STOMP_URL', message });
  }
  problems.push(...pushContradictions(values));
  const signed = ['WARREN_WEBHOOK_URL', 'WARREN_POLICY_URL'];
  if (signed.some((variable) => values[variable] !== undefined)) requireSecret(values, problems);
  return problems;
}

function pushContradictions(values: Environment): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const pair = ['WARREN_VAPID_PRIVATE_KEY', 'WARREN_VAPID_SUBJECT'] as const;
  for (const [variable, other] of [pair, [pair[1], pair[0]]] as const) {
    if (values[variable] === undefined || values[other] !== undefined) continue;
    problems.push({ variable: other, message: `set it together with ${variable}` });
  }
  if (values['WARREN_PUSH_WEBHOOK_URL'] !== undefined) requireSecret(values, problems);
  return problems;
}

function requireSecret(values: Environment, problems: ConfigProblem[]): void {
  const variable = 'WARREN_WEBHOOK_SECRET';
  if (values[variable] !== undefined) return;
  if (problems.some((problem) => problem.variable === variable)) return;
  const message = 'is required: the application tells by it that Warren asks, and nobody else';
  problems.push({ variable, message });
}

function toConfig(values: z.output<typeof schema>): Config {
  return {
    amqpUrl: values.WARREN_AMQP_URL,
    managementUrl: values.WARREN_MANAGEMENT_URL,
    endpoints: {
      stomp: values.WARREN_PUBLIC_STOMP_URL ?? [],
      amqp: values.WARREN_PUBLIC_AMQP_URL ?? [],
    },
    signingKey: values.WARREN_SIGNING_KEY,
    serviceKeys: values.WARREN_SERVICE_KEYS,
    userTokens: userTokens(values),
    host: values.WARREN_HOST,
    port: values.WARREN_PORT,
    dataDir: values.WARREN_DATA_DIR,
    databaseUrl: values.WARREN_DATABASE_URL,
    tls:
      values.WARREN_TLS_CERT === undefined || values.WARREN_TLS_KEY === undefined
        ? undefined
        : { cert: values.WARREN_TLS_CERT, key: values.WARREN_TLS_KEY },
    webhooks: signedTo(values, values.WARREN_WEBHOOK_URL, {
      patterns: values.WARREN_WEBHOOK_EVENTS,
    }),
    policyUrl: signedTo(values, values.WARREN_POLICY_URL, {}),
    corsOrigins: values.WARREN_CORS_ORIGINS ?? [],
    names: {
      ...(values.WARREN_EXCHANGE !== undefined && { exchange: values.WARREN_EXCHANGE }),
      ...(values.WARREN_USER_PREFIX !== undefined && { userPrefix: values.WARREN_USER_PREFIX }),
      ...(values.WARREN_LIVE_PREFIX !== undefined && { livePrefix: values.WARREN_LIVE_PREFIX }),
    },
    sessionTtlSeconds: values.WARREN_SESSION_TTL_SECONDS,
    expiryGraceMs: values.WARREN_EXPIRY_GRACE_SECONDS * 1000,
    maxDevices: values.WARREN_MAX_DEVICES,
    rateLimits: {
      perKey: values.WARREN_RATE_PER_KEY,
      perUser: values.WARREN_RATE_PER_USER,
      broadcasts: values.WARREN_RATE_BROADCAST,
    },
    history: {
      limits: { days: values.WARREN_HISTORY_DAYS, count: values.WARREN_HISTORY_COUNT },
      hasWorker: values.WARREN_HISTORY_WORKER === 'on',
    },
    push: {
      providers: toProviders(values),
      limits: toPushLimits(values),
      hasWorker: values.WARREN_PUSH_WORKER === 'on',
    },
    logLevel: values.WARREN_LOG_LEVEL,
  };
}

function signedTo<More>(
  { WARREN_WEBHOOK_SECRET: secret }: z.output<typeof schema>,
  url: string | undefined,
  more: More,
): ({ url: string; secret: string } & More) | undefined {
  return url === undefined || secret === undefined ? undefined : { url, secret, ...more };
}

function userTokens(values: z.output<typeof schema>): UserTokenOptions | undefined {
  const {
    WARREN_USER_JWT_SECRET: secret,
    WARREN_USER_JWT_PUBLIC_KEY: publicKey,
    WARREN_USER_JWT_JWKS_URL: jwksUrl,
    WARREN_USER_JWT_ISSUER: issuer,
    WARREN_USER_JWT_AUDIENCE: audience,
    WARREN_USER_JWT_CLAIM: claim,
  } = values;
  const key =
    secret !== undefined
      ? { secret }
      : publicKey !== undefined
        ? { publicKey }
        : jwksUrl !== undefined
          ? { jwksUrl }
          : undefined;
  if (key === undefined) return undefined;
  return {
    key,
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
    ...(claim !== undefined && { claim }),
  };
}
