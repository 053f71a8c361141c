import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Config } from '@warren/server';
import { request, startStack, uniqueUser, type Stack } from '../support/stack.js';

type Keys = NonNullable<Config['userTokens']>;

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();

const stacks: Stack[] = [];
afterAll(() => Promise.all(stacks.map((stack) => stack.close())));

/** Asks a server with these keys for a session. */
async function asker(userTokens: Keys) {
  const stack = await startStack({ config: { userTokens } });
  stacks.push(stack);
  return async (token: string): Promise<string> => {
    const { status, body } = await request(`${stack.apiUrl}/v1/sessions`, 'POST', token, {});
    return status === 201 ? body.userId : `${String(status)} ${body.code}`;
  };
}

const sign = (key: KeyObject, algorithm: jwt.Algorithm, claims: object, options: object = {}) =>
  jwt.sign(claims, key, { algorithm, expiresIn: '5m', ...options });

describe('users’ tokens by public key', () => {
  it('are checked with the algorithm of the key, whatever they say themselves', async () => {
    const byRsa = await asker({ key: { publicKey: pem(rsa.publicKey) } });
    const byEc = await asker({ key: { publicKey: pem(ec.publicKey) } });
    const sub = uniqueUser();
    expect(await byRsa(sign(rsa.privateKey, 'RS256', { sub }))).toBe(sub);
    expect(await byEc(sign(ec.privateKey, 'ES256', { sub }))).toBe(sub);
    expect(await byRsa(sign(ec.privateKey, 'ES256', { sub }))).toBe('401 token_invalid');
    expect(await byRsa(sign(rsa.privateKey, 'PS256', { sub }))).toBe('401 token_invalid');
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const unsigned = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub })}`;
    const { createHmac } = await import('node:crypto');
    const mac = createHmac('sha256', pem(rsa.publicKey)).update(unsigned).digest('base64url');
    expect(await byRsa(`${unsigned}.${mac}`)).toBe('401 token_invalid');
  });

  it('must come from the issuer, for the audience, and name the user in the claim', async () => {
    const ask = await asker({
      key: { publicKey: pem(rsa.publicKey) },
      issuer: 'https://login.example',
      audience: 'app',
      claim: 'uid',
    });
    const uid = uniqueUser();
    const good = { uid, iss: 'https://login.example', aud: 'app' };
    expect(await ask(sign(rsa.privateKey, 'RS256', good))).toBe(uid);
    for (const bad of [
      { iss: 'https://evil.example' },
      { aud: 'other' },
      { uid: undefined, sub: uid },
    ]) {
      expect(await ask(sign(rsa.privateKey, 'RS256', { ...good, ...bad }))).toBe(
        '401 token_invalid',
      );
    }
  });
});

describe('users’ tokens by JWKS', () => {
  let server: Server;
  let jwksUrl: string;
  beforeAll(async () => {
    const jwk = {
      ...rsa.publicKey.export({ format: 'jwk' }),
      kid: 'one',
      use: 'sig',
      alg: 'RS256',
    };
    server = createServer((_request, response) => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ keys: [jwk] }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    jwksUrl = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/keys`;
  });
  afterAll(() => {
    server.close();
  });

  it('are checked with the key that they name', async () => {
    const ask = await asker({ key: { jwksUrl }, audience: '*' });
    const sub = uniqueUser();
    expect(await ask(sign(rsa.privateKey, 'RS256', { sub }, { keyid: 'one' }))).toBe(sub);
    const unknown = sign(rsa.privateKey, 'RS256', { sub }, { keyid: 'two' });
    expect(await ask(unknown)).toBe('401 token_invalid');
    const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    expect(await ask(sign(other, 'RS256', { sub }, { keyid: 'one' }))).toBe('401 token_invalid');
  });

  it('are not called invalid when the keys cannot be fetched: the client shall try again', async () => {
    const ask = await asker({ key: { jwksUrl: 'http://127.0.0.1:1/keys' }, audience: '*' });
    const token = sign(rsa.privateKey, 'RS256', { sub: 'a' }, { keyid: 'one' });
    expect(await ask(token)).toBe('503 keys_unavailable');
  });
});
