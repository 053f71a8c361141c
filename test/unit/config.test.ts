import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from '@warren/server';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const smallKey = generateKeyPairSync('rsa', { modulusLength: 1024 })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString();
const signingKey = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const dir = mkdtempSync(join(tmpdir(), 'warren-config-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});

const complete = {
  WARREN_AMQP_URL: 'amqps://server:secret@broker/warren',
  WARREN_MANAGEMENT_URL: 'https://server:secret@broker:15671',
  WARREN_PUBLIC_STOMP_URL: 'wss://one.example/ws, wss://two.example/ws',
  WARREN_SIGNING_KEY: signingKey,
  WARREN_SERVICE_KEYS: 'first-key-1234567, second-key-1234567',
  WARREN_USER_JWT_SECRET: 'x'.repeat(32),
};

function problemsOf(environment: Record<string, string>): string[] {
  try {
    readConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(({ variable }) => variable).sort();
    throw error;
  }
  return [];
}

describe('the server’s configuration', () => {
  it('is read from the environment, with defaults', () => {
    const config = readConfig(complete);
    expect(config).toMatchObject({
      serviceKeys: ['first-key-1234567', 'second-key-1234567'],
      endpoints: { stomp: ['wss://one.example/ws', 'wss://two.example/ws'], amqp: [] },
      userTokens: { key: { secret: 'x'.repeat(32) } },
      port: 8080,
      sessionTtlSeconds: 3600,
      history: { limits: { days: 365, count: 100_000 }, hasWorker: true },
    });
    const { history } = readConfig({
      ...complete,
      WARREN_HISTORY_DAYS: '0',
      WARREN_HISTORY_COUNT: '7',
      WARREN_HISTORY_WORKER: 'off',
    });
    expect(history).toEqual({ limits: { days: 0, count: 7 }, hasWorker: false });
    expect(problemsOf({ ...complete, WARREN_HISTORY_WORKER: 'maybe' })).toEqual([
      'WARREN_HISTORY_WORKER',
    ]);
  });

  it('takes any variable from a file', () => {
    const file = join(dir, 'key.pem');
    writeFileSync(file, `${signingKey}\n`);
    const { WARREN_SIGNING_KEY: _key, ...rest } = complete;
    expect(readConfig({ ...rest, WARREN_SIGNING_KEY_FILE: file }).signingKey).toBe(
      signingKey.trim(),
    );
  });

  it('completes the addresses of the broker’s metrics', () => {
    const environment = {
      ...complete,
      WARREN_BROKER_METRICS_URL: 'http://one:15692, http://two:15692/, http://three/x/metrics?a=b',
    };
    expect(readConfig(environment).brokerMetricsUrls).toEqual([
      'http://one:15692/metrics',
      'http://two:15692/metrics',
      'http://three/x/metrics?a=b',
    ]);
  });

  it('lists all that is missing at once', () => {
    expect(problemsOf({})).toEqual([
      'WARREN_AMQP_URL',
      'WARREN_MANAGEMENT_URL',
      'WARREN_PUBLIC_STOMP_URL',
      'WARREN_SERVICE_KEYS',
      'WARREN_SIGNING_KEY',
    ]);
  });

  it.each([
    ['WARREN_AMQP_URL', 'http://broker'],
    ['WARREN_PUBLIC_STOMP_URL', 'wss://one.example/ws, nonsense'],
    ['WARREN_BROKER_METRICS_URL', 'nonsense'],
    ['WARREN_BROKER_METRICS_URL', 'http://name:password@broker:15692'],
    ['WARREN_SIGNING_KEY', 'not a key'],
    ['WARREN_SERVICE_KEYS', 'short'],
    ['WARREN_PORT', '70000'],
    ['WARREN_PORT', 'eighty'],
    ['WARREN_SESSION_TTL_SECONDS', '1'],
    ['WARREN_USER_JWT_SECRET', 'short'],
    ['WARREN_CORS_ORIGINS', 'example.com'],
    ['WARREN_USER_PREFIX', 'a.b'],
    ['WARREN_SIGNING_KEY', `${signingKey}\n${smallKey}`],
    ['WARREN_DATABASE_URL', 'mysql://db/warren'],
    ['WARREN_MAX_DEVICES', '0'],
    ['WARREN_RATE_PER_USER', '-1'],
    ['WARREN_ALLOW_PLAINTEXT', 'everything'],
    ['WARREN_TLS_CERT', 'not a certificate'],
    ['WARREN_VAPID_PRIVATE_KEY', 'not a key'],
    ['WARREN_VAPID_SUBJECT', 'ops@app.example'],
    ['WARREN_WEBPUSH_HOSTS', 'https://push.example/'],
    ['WARREN_FCM_SERVICE_ACCOUNT', '{}'],
    ['WARREN_FCM_SERVICE_ACCOUNT', 'not JSON'],
    ['WARREN_PUSH_WORKER', 'maybe'],
    ['WARREN_PUSH_ATTEMPTS', '0'],
  ])('refuses %s=%s', (variable, value) => {
    expect(problemsOf({ ...complete, [variable]: value })).toContain(variable);
  });

  it('has pushes sent by the providers that it names', () => {
    const bare = readConfig(complete).push;
    expect(bare).toMatchObject({
      providers: { webpush: undefined, fcm: undefined, webhook: undefined },
      limits: { attempts: 10, rates: { webpush: 500, fcm: 500, webhook: 1000 } },
      hasWorker: true,
    });
    const account = {
      type: 'service_account',
      project_id: 'p',
      client_email: 'x@p.example',
      private_key: signingKey,
    };
    const secret = 'c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0';
    const vapidPrivateKey = 'KtRlSZQdTFNEBKQoKpWyJAaGtHFuhrJFSbUzPJxd9TE';
    const { push } = readConfig({
      ...complete,
      WARREN_VAPID_PRIVATE_KEY: vapidPrivateKey,
      WARREN_VAPID_SUBJECT: 'mailto:ops@app.example',
      WARREN_WEBPUSH_HOSTS: '*.push.example, other.example:8443',
      WARREN_FCM_SERVICE_ACCOUNT: JSON.stringify(account),
      WARREN_PUSH_WEBHOOK_URL: 'https://app.example/pushes',
      WARREN_WEBHOOK_SECRET: secret,
      WARREN_PUSH_WORKER: 'off',
      WARREN_RATE_FCM: '7',
    });
    expect(push).toMatchObject({
      providers: {
        webpush: { vapidPrivateKey, hosts: ['*.push.example', 'other.example:8443'] },
        fcm: { url: 'https://fcm.googleapis.com', account: { project_id: 'p' } },
        webhook: { url: 'https://app.example/pushes', secret },
      },
      limits: { rates: { fcm: 7 } },
      hasWorker: false,
    });
  });

  it('refuses half of what a provider needs', () => {
    const key = { WARREN_VAPID_PRIVATE_KEY: 'KtRlSZQdTFNEBKQoKpWyJAaGtHFuhrJFSbUzPJxd9TE' };
    expect(problemsOf({ ...complete, ...key })).toEqual(['WARREN_VAPID_SUBJECT']);
    const subject = { WARREN_VAPID_SUBJECT: 'https://app.example' };
    expect(problemsOf({ ...complete, ...subject })).toEqual(['WARREN_VAPID_PRIVATE_KEY']);
    const url = { WARREN_PUSH_WEBHOOK_URL: 'https://app.example/pushes' };
    expect(problemsOf({ ...complete, ...url })).toEqual(['WARREN_WEBHOOK_SECRET']);
  });

  it('refuses two kinds of user keys, a variable given twice, and a file that is not there', () => {
    const jwks = {
      WARREN_USER_JWT_JWKS_URL: 'https://login.example/keys',
      WARREN_USER_JWT_AUDIENCE: 'app',
    };
    expect(problemsOf({ ...complete, ...jwks })).toEqual(['WARREN_USER_JWT_…']);
    expect(problemsOf({ ...complete, WARREN_AMQP_URL_FILE: '/x' })).toEqual(['WARREN_AMQP_URL']);
    const { WARREN_SERVICE_KEYS: _keys, ...rest } = complete;
    expect(problemsOf({ ...rest, WARREN_SERVICE_KEYS_FILE: '/nowhere' })).toEqual([
      'WARREN_SERVICE_KEYS',
    ]);
  });

  it('wants to know for whom tokens are that are checked by a JWKS URL', () => {
    const { WARREN_USER_JWT_SECRET: _secret, ...rest } = complete;
    const jwks = { ...rest, WARREN_USER_JWT_JWKS_URL: 'https://login.example/keys' };
    expect(problemsOf(jwks)).toEqual(['WARREN_USER_JWT_AUDIENCE']);
    for (const audience of ['app', '*']) {
      expect(problemsOf({ ...jwks, WARREN_USER_JWT_AUDIENCE: audience })).toEqual([]);
    }
  });

  it.each([
    ['WARREN_AMQP_URL', 'amqp://u:p@broker/warren', 'broker'],
    ['WARREN_MANAGEMENT_URL', 'http://u:p@10.0.0.1:15672', 'broker'],
    ['WARREN_PUBLIC_STOMP_URL', 'wss://one.example/ws, ws://two.example/ws', 'clients'],
    ['WARREN_PUBLIC_AMQP_URL', 'amqp://broker.example', 'clients'],
    ['WARREN_USER_JWT_JWKS_URL', 'http://login.example/keys', 'keys'],
    ['WARREN_DATABASE_URL', 'postgres://u:p@db/warren', 'database'],
    ['WARREN_DATABASE_URL', 'postgres://u:p@db/warren?sslmode=no-verify', 'database'],
    ['WARREN_FCM_URL', 'http://fcm.example', 'webhooks'],
    ['WARREN_HOST', '0.0.0.0', 'http'],
  ])('does not let %s=%s leave the machine in plain text, unless told', (variable, value, part) => {
    const { WARREN_USER_JWT_SECRET: _secret, ...more } = complete;
    const rest = { ...more, WARREN_USER_JWT_AUDIENCE: 'app' };
    expect(problemsOf({ ...rest, [variable]: value })).toEqual([variable]);
    expect(problemsOf({ ...rest, [variable]: value, WARREN_ALLOW_PLAINTEXT: 'x' })).toContain(
      variable,
    );
    expect(problemsOf({ ...rest, [variable]: value, WARREN_ALLOW_PLAINTEXT: part })).toEqual([]);
  });

  it('lets plain text stay on the machine', () => {
    expect(
      problemsOf({
        ...complete,
        WARREN_AMQP_URL: 'amqp://u:p@127.0.0.1/warren',
        WARREN_MANAGEMENT_URL: 'http://u:p@localhost:15672',
        WARREN_PUBLIC_STOMP_URL: 'ws://[::1]:15674/ws',
        WARREN_DATABASE_URL: 'postgres://u:p@localhost/warren',
      }),
    ).toEqual([]);
    const encrypted = { ...complete, WARREN_DATABASE_URL: 'postgres://db/w?sslmode=verify-full' };
    expect(problemsOf(encrypted)).toEqual([]);
  });

  it('repeats no value in its message', () => {
    const spoiled = {
      ...complete,
      WARREN_SERVICE_KEYS: 'oops',
      WARREN_AMQP_URL: 'amqpx://u:hunter2@h',
    };
    expect(() => readConfig(spoiled)).toThrow(ConfigError);
    try {
      readConfig(spoiled);
    } catch (error) {
      expect(String(error)).not.toMatch(/oops|hunter2/);
    }
  });
});
