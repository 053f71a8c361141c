import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from '@warren/server';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const signingKey = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const dir = mkdtempSync(join(tmpdir(), 'warren-config-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});

const complete = {
  WARREN_AMQP_URL: 'amqp://server:secret@broker/warren',
  WARREN_MANAGEMENT_URL: 'http://server:secret@broker:15672',
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
    });
  });

  it('takes any variable from a file', () => {
    const file = join(dir, 'key.pem');
    writeFileSync(file, `${signingKey}\n`);
    const { WARREN_SIGNING_KEY: _key, ...rest } = complete;
    expect(readConfig({ ...rest, WARREN_SIGNING_KEY_FILE: file }).signingKey).toBe(
      signingKey.trim(),
    );
  });

  it('lists all that is missing at once', () => {
    expect(problemsOf({})).toEqual([
      'WARREN_AMQP_URL',
      'WARREN_MANAGEMENT_URL',
      'WARREN_PUBLIC_STOMP_URL',
      'WARREN_SERVICE_KEYS',
      'WARREN_SIGNING_KEY',
      'WARREN_USER_JWT_…',
    ]);
  });

  it.each([
    ['WARREN_AMQP_URL', 'http://broker'],
    ['WARREN_PUBLIC_STOMP_URL', 'wss://one.example/ws, nonsense'],
    ['WARREN_SIGNING_KEY', 'not a key'],
    ['WARREN_SERVICE_KEYS', 'short'],
    ['WARREN_PORT', '70000'],
    ['WARREN_PORT', 'eighty'],
    ['WARREN_SESSION_TTL_SECONDS', '1'],
    ['WARREN_USER_JWT_SECRET', 'short'],
    ['WARREN_CORS_ORIGINS', 'example.com'],
    ['WARREN_USER_PREFIX', 'a.b'],
  ])('refuses %s=%s', (variable, value) => {
    expect(problemsOf({ ...complete, [variable]: value })).toEqual([variable]);
  });

  it('refuses two kinds of user keys, a variable given twice, and a file that is not there', () => {
    const jwks = 'https://login.example/keys';
    expect(problemsOf({ ...complete, WARREN_USER_JWT_JWKS_URL: jwks })).toEqual([
      'WARREN_USER_JWT_…',
    ]);
    expect(problemsOf({ ...complete, WARREN_AMQP_URL_FILE: '/x' })).toEqual(['WARREN_AMQP_URL']);
    const { WARREN_SERVICE_KEYS: _keys, ...rest } = complete;
    expect(problemsOf({ ...rest, WARREN_SERVICE_KEYS_FILE: '/nowhere' })).toEqual([
      'WARREN_SERVICE_KEYS',
    ]);
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
