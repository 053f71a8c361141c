import type { z } from 'zod';
import type { AdminKey } from './http/access.js';
import type { RateLimits } from './http/rate-limits.js';
import type { LogLevel } from './logger.js';
import type { MailboxTypeSetting } from './mailboxes/mailbox-type.js';
import { findPlaintext, type ConfigProblem } from './plaintext.js';
import { WHY_AUDIENCE, type UserTokenOptions } from './sessions/user-tokens.js';
import type { PushParts } from './push/index.js';
import { pushContradictions, requireSecret, toProviders, toPushLimits } from './push/config.js';
import { gather, schema, type Environment } from './variables.js';
import type { HistoryParts, WebhookTarget } from './parts.js';

/** All that the server takes from its environment, checked and typed. */
export interface Config {
  amqpUrl: string;
  managementUrl: string;
  endpoints: { stomp: string[]; amqp: string[] };
  signingKey: string;
  serviceKeys: string[];
  adminKeys: AdminKey[];
  /** Where the broker's Prometheus plugin answers; one for each node. */
  brokerMetricsUrls: string[];
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
  passingDeviceMs: number;
  expiryGraceMs: number;
  mailboxType: MailboxTypeSetting;
  maxDevices: number;
  rateLimits: RateLimits;
  history: HistoryParts;
  push: PushParts;
  logLevel: LogLevel;
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

/** What is wrong with them, but for what is known already. */
export function problemsOf(
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
  if (
    values['WARREN_USER_JWT_JWKS_URL'] !== undefined &&
    values['WARREN_USER_JWT_AUDIENCE'] === undefined
  ) {
    const message = `is required with WARREN_USER_JWT_JWKS_URL: ${WHY_AUDIENCE}`;
    problems.push({ variable: 'WARREN_USER_JWT_AUDIENCE', message });
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
    adminKeys: values.WARREN_ADMIN_KEYS ?? [],
    brokerMetricsUrls: values.WARREN_BROKER_METRICS_URL ?? [
      usualMetricsUrl(values.WARREN_MANAGEMENT_URL),
    ],
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
    passingDeviceMs: values.WARREN_PASSING_DEVICE_SECONDS * 1000,
    expiryGraceMs: values.WARREN_EXPIRY_GRACE_SECONDS * 1000,
    mailboxType: values.WARREN_MAILBOX_TYPE,
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

/** Where the plugin is, unless somebody has moved it. */
export const usualMetricsUrl = (managementUrl: string): string =>
  `http://${new URL(managementUrl).hostname}:15692/metrics`;

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
    WARREN_USER_JWT_ROLE_CLAIM: roleClaim,
    WARREN_USER_JWT_CLOCK_TOLERANCE_SECONDS: clockToleranceSeconds,
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
    clockToleranceSeconds,
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
    ...(claim !== undefined && { claim }),
    ...(roleClaim !== undefined && { roleClaim }),
  };
}
