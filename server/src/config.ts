import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { RESERVED_PREFIXES } from '@warren/protocol';
import { z } from 'zod';
import { DEFAULT_RATE_LIMITS, type RateLimits } from './http/rate-limits.js';
import type { LogLevel } from './logger.js';
import { findPlaintext, PLAINTEXT_PARTS, type ConfigProblem } from './plaintext.js';
import { splitPem } from './sessions/key-ring.js';
import type { UserTokenOptions } from './sessions/user-tokens.js';
import { DEFAULT_RETENTION, type RetentionLimits } from './history/retention.js';
import type { HistoryParts, WebhookTarget } from './warren.js';

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
  logLevel: LogLevel;
}

/** What a worker beside the servers needs of it. */
export interface WorkerConfig extends Pick<
  Config,
  'amqpUrl' | 'dataDir' | 'databaseUrl' | 'logLevel'
> {
  names: Pick<Config['names'], 'exchange'>;
  history: RetentionLimits;
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

type Environment = Record<string, string | undefined>;

const url = (...protocols: string[]) =>
  z.string().refine(
    (text) => {
      if (!URL.canParse(text)) return false;
      return protocols.includes(new URL(text).protocol);
    },
    {
      error: `must be a URL that begins with ${protocols.map((name) => `${name}//`).join(' or ')}`,
    },
  );
const list = (text: string): string[] =>
  text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
const urls = (...protocols: string[]) =>
  z
    .string()
    .transform(list)
    .pipe(z.array(url(...protocols)).min(1));
const word = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,40}$/, { error: 'must have 1 to 40 characters of A-Z a-z 0-9 _ -' })
  .refine((text) => !RESERVED_PREFIXES.includes(text), {
    error: `must be none of ${RESERVED_PREFIXES.join(', ')}`,
  });

function isKey(make: (text: string) => unknown): (text: string) => boolean {
  return (text) => {
    try {
      make(text);
      return true;
    } catch {
      return false;
    }
  };
}

function isRsaKeys(text: string): boolean {
  const blocks = splitPem(text);
  return blocks.length > 0 && blocks.every(isKey(toRsaKey));
}

function toRsaKey(pem: string): void {
  const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(pem);
  if (asymmetricKeyType !== 'rsa') throw new TypeError('not an RSA key');
  if ((asymmetricKeyDetails?.modulusLength ?? 0) < 2048) throw new TypeError('too short');
}

const count = (what: string, { min = 0, max = 1_000_000 } = {}) =>
  z.coerce
    .number({ error: `must be a number of ${what}` })
    .int()
    .min(min)
    .max(max);

const VARIABLES = {
  WARREN_AMQP_URL: url('amqp:', 'amqps:'),
  WARREN_MANAGEMENT_URL: url('http:', 'https:'),
  WARREN_PUBLIC_STOMP_URL: urls('ws:', 'wss:').optional(),
  WARREN_PUBLIC_AMQP_URL: urls('amqp:', 'amqps:').optional(),
  WARREN_SIGNING_KEY: z.string().refine(isRsaKeys, {
    error: 'must be an RSA private key of 2048 bits or more in PEM, or several, the newest first',
  }),
  WARREN_SERVICE_KEYS: z
    .string()
    .transform(list)
    .pipe(
      z.array(z.string().min(16, { error: 'each key must have 16 characters or more' })).min(1),
    ),
  WARREN_USER_JWT_SECRET: z
    .string()
    .min(32, { error: 'must have 32 characters or more' })
    .optional(),
  WARREN_USER_JWT_PUBLIC_KEY: z
    .string()
    .refine(isKey(createPublicKey), { error: 'must be a public key in PEM' })
    .optional(),
  WARREN_USER_JWT_JWKS_URL: url('http:', 'https:').optional(),
  WARREN_USER_JWT_ISSUER: z.string().optional(),
  WARREN_USER_JWT_AUDIENCE: z.string().optional(),
  WARREN_USER_JWT_CLAIM: z.string().optional(),
  WARREN_HOST: z.string().default('127.0.0.1'),
  WARREN_PORT: z.coerce
    .number({ error: 'must be a port number' })
    .int()
    .min(0)
    .max(65535)
    .default(8080),
  WARREN_TLS_CERT: z
    .string()
    .refine(
      isKey((pem) => new X509Certificate(pem)),
      { error: 'must be a certificate in PEM' },
    )
    .optional(),
  WARREN_TLS_KEY: z
    .string()
    .refine(isKey(createPrivateKey), { error: 'must be a private key in PEM' })
    .optional(),
  WARREN_ALLOW_PLAINTEXT: z
    .string()
    .transform(list)
    .pipe(z.array(z.enum(PLAINTEXT_PARTS)))
    .optional(),
  WARREN_DATA_DIR: z.string().default('.warren'),
  WARREN_DATABASE_URL: url('postgres:', 'postgresql:').optional(),
  WARREN_WEBHOOK_URL: url('http:', 'https:').optional(),
  WARREN_WEBHOOK_EVENTS: z
    .string()
    .default('user.#,session.#,message.#')
    .transform(list)
    .pipe(z.array(z.string().max(255)).min(1)),
  WARREN_WEBHOOK_SECRET: z
    .string()
    .regex(/^(whsec_)?[A-Za-z0-9+/]{32,}={0,2}$/, {
      error: 'must be 24 random bytes or more in base64: openssl rand -base64 32',
    })
    .optional(),
  WARREN_POLICY_URL: url('http:', 'https:').optional(),
  WARREN_CORS_ORIGINS: z
    .string()
    .transform(list)
    .pipe(z.array(z.union([z.literal('*'), url('http:', 'https:')])))
    .optional(),
  WARREN_EXCHANGE: z.string().min(1).max(127).optional(),
  WARREN_USER_PREFIX: word.optional(),
  WARREN_LIVE_PREFIX: word.optional(),
  WARREN_SESSION_TTL_SECONDS: count('seconds', { min: 10, max: 86_400 }).default(3600),
  WARREN_EXPIRY_GRACE_SECONDS: count('seconds', { max: 3600 }).default(10),
  WARREN_MAX_DEVICES: count('devices', { min: 1, max: 1000 }).default(50),
  WARREN_RATE_PER_KEY: count('requests a second').default(DEFAULT_RATE_LIMITS.perKey),
  WARREN_RATE_PER_USER: count('requests a minute').default(DEFAULT_RATE_LIMITS.perUser),
  WARREN_RATE_BROADCAST: count('messages a minute').default(DEFAULT_RATE_LIMITS.broadcasts),
  WARREN_HISTORY_DAYS: count('days', { max: 36_500 }).default(DEFAULT_RETENTION.days),
  WARREN_HISTORY_COUNT: count('messages', { max: 100_000_000 }).default(DEFAULT_RETENTION.count),
  WARREN_HISTORY_WORKER: z.enum(['on', 'off']).default('on'),
  WARREN_LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).default('info'),
};
const schema = z.object(VARIABLES);
const workerSchema = schema.pick({
  WARREN_AMQP_URL: true,
  WARREN_DATA_DIR: true,
  WARREN_DATABASE_URL: true,
  WARREN_EXCHANGE: true,
  WARREN_HISTORY_DAYS: true,
  WARREN_HISTORY_COUNT: true,
  WARREN_LOG_LEVEL: true,
});

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

/** As {@link readConfig}, of the variables that a worker needs. @throws {ConfigError} */
export function readWorkerConfig(environment: Environment): WorkerConfig {
  const problems: ConfigProblem[] = [];
  const values = gather(environment, problems);
  const result = workerSchema.safeParse(values);
  if (!result.success) problems.push(...problemsOf(result.error, values, problems));
  const { WARREN_AMQP_URL, WARREN_DATABASE_URL, WARREN_ALLOW_PLAINTEXT } = values;
  const looked = { WARREN_AMQP_URL, WARREN_DATABASE_URL, WARREN_ALLOW_PLAINTEXT };
  problems.push(...findPlaintext(looked, true));
  if (!result.success || problems.length > 0) throw new ConfigError(problems);
  const { data } = result;
  return {
    amqpUrl: data.WARREN_AMQP_URL,
    dataDir: data.WARREN_DATA_DIR,
    databaseUrl: data.WARREN_DATABASE_URL,
    names: data.WARREN_EXCHANGE === undefined ? {} : { exchange: data.WARREN_EXCHANGE },
    history: { days: data.WARREN_HISTORY_DAYS, count: data.WARREN_HISTORY_COUNT },
    logLevel: data.WARREN_LOG_LEVEL,
  };
}

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

/**
 * One variable, or what its file holds.
 * @throws when the file cannot be read.
 */
export function readVariable(environment: Environment, name: string): string | undefined {
  const file = environment[`${name}_FILE`];
  if (file === undefined || file === '') return environment[name] || undefined;
  return readFileSync(file, 'utf8').trim();
}

function gather(environment: Environment, problems: ConfigProblem[]): Environment {
  const values: Environment = {};
  for (const variable of Object.keys(VARIABLES)) {
    const direct = environment[variable];
    const file = environment[`${variable}_FILE`];
    if (direct !== undefined && file !== undefined && file !== '') {
      problems.push({ variable, message: `is set twice, here and in ${variable}_FILE` });
    }
    if (direct !== undefined && direct !== '') values[variable] = direct;
    else if (file !== undefined && file !== '') {
      try {
        values[variable] = readFileSync(file, 'utf8').trim();
      } catch {
        problems.push({ variable, message: `the file that ${variable}_FILE names cannot be read` });
      }
    }
  }
  return values;
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
  const signed = ['WARREN_WEBHOOK_URL', 'WARREN_POLICY_URL'].some(
    (variable) => values[variable] !== undefined,
  );
  if (signed && values['WARREN_WEBHOOK_SECRET'] === undefined) {
    const message = 'is required: the application tells by it that Warren asks, and nobody else';
    problems.push({ variable: 'WARREN_WEBHOOK_SECRET', message });
  }
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
