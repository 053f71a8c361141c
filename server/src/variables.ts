import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { adminRoleSchema, RESERVED_PREFIXES, type AdminRole } from '@warren/protocol';
import { z } from 'zod';
import { DEFAULT_RETENTION } from './history/retention.js';
import { DEFAULT_RATE_LIMITS } from './http/rate-limits.js';
import {
  DEFAULT_FCM_URL,
  serviceAccountSchema,
  type ServiceAccount,
} from './push/providers/fcm.js';
import { DEFAULT_WEB_PUSH_HOSTS, vapidPublicKey } from './push/providers/web-push.js';
import { DEFAULT_PUSH_LIMITS } from './push/worker.js';
import { MAILBOX_TYPES } from './mailboxes/mailbox-type.js';
import {
  DEFAULT_CLOCK_TOLERANCE_SECONDS,
  MAX_CLOCK_TOLERANCE_SECONDS,
} from './sessions/user-tokens.js';
import { PLAINTEXT_PARTS, type ConfigProblem } from './plaintext.js';
import { splitPem } from './sessions/key-ring.js';

export type Environment = Record<string, string | undefined>;

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
/** Of an address without a path, the plugin's own. */
function toMetricsUrl(address: string): string {
  const { href, pathname } = new URL(address);
  return pathname === '/' ? new URL('/metrics', href).href : href;
}

const word = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,40}$/, { error: 'must have 1 to 40 characters of A-Z a-z 0-9 _ -' })
  .refine((text) => !RESERVED_PREFIXES.includes(text), {
    error: `must be none of ${RESERVED_PREFIXES.join(', ')}`,
  });

/** `viewer:` or `operator:` before a key says what it may do; without, everything. */
function toAdminKey(text: string): { key: string; role: AdminRole } {
  const [, role = 'operator', key = ''] = /^(?:(viewer|operator):)?(.*)$/.exec(text) ?? [];
  return { key, role: adminRoleSchema.parse(role) };
}

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

/** Google gives them out as a file; no part of it is repeated when it is wrong. */
function toServiceAccount(text: string, context: z.RefinementCtx): ServiceAccount {
  try {
    const account = serviceAccountSchema.parse(JSON.parse(text));
    createPrivateKey(account.private_key);
    return account;
  } catch {
    const message = "must be the JSON of a service account's key, as Google gives it out";
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  }
}

const count = (what: string, { min = 0, max = 1_000_000 } = {}) =>
  z.coerce
    .number({ error: `must be a number of ${what}` })
    .int()
    .min(min)
    .max(max);

const portNumber = z.coerce.number({ error: 'must be a port number' }).int().min(0).max(65535);

/** Each with what it must be, and its default. */
export const VARIABLES = {
  WARREN_AMQP_URL: url('amqp:', 'amqps:'),
  WARREN_MANAGEMENT_URL: url('http:', 'https:'),
  WARREN_BROKER_METRICS_URL: urls('http:', 'https:')
    .refine((addresses) => !addresses.some((address) => /\/\/[^/]*@/.test(address)), {
      error: 'must hold no account: RabbitMQ asks for none there',
    })
    .transform((addresses) => addresses.map(toMetricsUrl))
    .optional(),
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
  WARREN_ADMIN_KEYS: z
    .string()
    .transform((text) => list(text).map(toAdminKey))
    .pipe(
      z.array(
        z.object({
          key: z.string().min(16, { error: 'each key must have 16 characters or more' }),
          role: adminRoleSchema,
        }),
      ),
    )
    .optional(),
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
  WARREN_USER_JWT_ROLE_CLAIM: z.string().optional(),
  WARREN_USER_JWT_CLOCK_TOLERANCE_SECONDS: count('seconds', {
    max: MAX_CLOCK_TOLERANCE_SECONDS,
  }).default(DEFAULT_CLOCK_TOLERANCE_SECONDS),
  WARREN_HOST: z.string().default('127.0.0.1'),
  WARREN_PORT: portNumber.default(8080),
  WARREN_METRICS_PORT: portNumber.optional(),
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
  WARREN_PASSING_DEVICE_SECONDS: count('seconds', { min: 1, max: 86_400 }).default(300),
  WARREN_EXPIRY_GRACE_SECONDS: count('seconds', { max: 3600 }).default(10),
  WARREN_MAILBOX_TYPE: z.enum(MAILBOX_TYPES).default('auto'),
  WARREN_MAX_DEVICES: count('devices', { min: 1, max: 1000 }).default(50),
  WARREN_RATE_PER_KEY: count('requests a second').default(DEFAULT_RATE_LIMITS.perKey),
  WARREN_RATE_PER_USER: count('requests a minute').default(DEFAULT_RATE_LIMITS.perUser),
  WARREN_RATE_BROADCAST: count('messages a minute').default(DEFAULT_RATE_LIMITS.broadcasts),
  WARREN_HISTORY_DAYS: count('days', { max: 36_500 }).default(DEFAULT_RETENTION.days),
  WARREN_HISTORY_COUNT: count('messages', { max: 100_000_000 }).default(DEFAULT_RETENTION.count),
  WARREN_HISTORY_WORKER: z.enum(['on', 'off']).default('on'),
  WARREN_VAPID_PRIVATE_KEY: z
    .string()
    .refine(isKey(vapidPublicKey), { error: 'must be a key of "warren keys vapid"' })
    .optional(),
  WARREN_VAPID_SUBJECT: url('mailto:', 'https:').optional(),
  WARREN_WEBPUSH_HOSTS: z
    .string()
    .default(DEFAULT_WEB_PUSH_HOSTS.join(','))
    .transform(list)
    .pipe(z.array(z.string().regex(/^(\*\.)?[a-z0-9.-]+(:\d+)?$/)).min(1)),
  WARREN_FCM_SERVICE_ACCOUNT: z.string().transform(toServiceAccount).optional(),
  WARREN_FCM_URL: url('http:', 'https:').default(DEFAULT_FCM_URL),
  WARREN_PUSH_WEBHOOK_URL: url('http:', 'https:').optional(),
  WARREN_PUSH_WORKER: z.enum(['on', 'off']).default('on'),
  WARREN_PUSH_ATTEMPTS: count('attempts', { min: 1, max: 100 }).default(
    DEFAULT_PUSH_LIMITS.attempts,
  ),
  WARREN_RATE_WEBPUSH: count('pushes a second').default(DEFAULT_PUSH_LIMITS.rates.webpush),
  WARREN_RATE_FCM: count('pushes a second').default(DEFAULT_PUSH_LIMITS.rates.fcm),
  WARREN_RATE_PUSH_WEBHOOK: count('pushes a second').default(DEFAULT_PUSH_LIMITS.rates.webhook),
  WARREN_LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).default('info'),
};
export const schema = z.object(VARIABLES);
const WORKER = {
  WARREN_AMQP_URL: true,
  WARREN_DATA_DIR: true,
  WARREN_DATABASE_URL: true,
  WARREN_EXCHANGE: true,
  WARREN_HOST: true,
  WARREN_METRICS_PORT: true,
  WARREN_LOG_LEVEL: true,
} as const;
/** Of those, what the history's worker needs beside the servers. */
export const historyWorkerSchema = schema.pick({
  ...WORKER,
  WARREN_HISTORY_DAYS: true,
  WARREN_HISTORY_COUNT: true,
});
/** And that of pushes. */
export const pushWorkerSchema = schema.pick({
  ...WORKER,
  WARREN_WEBHOOK_SECRET: true,
  WARREN_VAPID_PRIVATE_KEY: true,
  WARREN_VAPID_SUBJECT: true,
  WARREN_WEBPUSH_HOSTS: true,
  WARREN_FCM_SERVICE_ACCOUNT: true,
  WARREN_FCM_URL: true,
  WARREN_PUSH_WEBHOOK_URL: true,
  WARREN_PUSH_ATTEMPTS: true,
  WARREN_RATE_WEBPUSH: true,
  WARREN_RATE_FCM: true,
  WARREN_RATE_PUSH_WEBHOOK: true,
});

/** Those of the variables that are set; what cannot be read is added to the problems. */
export function gather(
  environment: Environment,
  problems: ConfigProblem[],
  variables = Object.keys(VARIABLES),
): Environment {
  const values: Environment = {};
  for (const variable of variables) {
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
