import { createPublicKey } from 'node:crypto';
import jwt, { type Algorithm, type GetPublicKeyOrSecret } from 'jsonwebtoken';
import { JwksClient } from 'jwks-rsa';
import { isValidId } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import { roleIn } from './admin-tokens.js';
import { issuedAt, type Identity } from './identity.js';

/** How the application's own JWTs are checked: by exactly one kind of key. */
export interface UserTokenOptions {
  key: { secret: string } | { publicKey: string } | { jwksUrl: string };
  /** The `iss` that a token must have. Default: any. */
  issuer?: string;
  /** The `aud` that a token must hold. Default: any. */
  audience?: string;
  /** The claim that holds the user's id. Default `sub`. */
  claim?: string;
  /** How far ahead of this server's the clock of whoever issues tokens may be, in seconds. Default 30. */
  clockToleranceSeconds?: number;
  /** The claim that holds a role in the admin console, or a list with one. Default `warren_role`. */
  roleClaim?: string;
}

export const DEFAULT_CLOCK_TOLERANCE_SECONDS = 30;
/** What is further ahead is no mistake of a clock: a day. */
const MOST_AHEAD_SECONDS = 86_400;
/** After a revocation, tokens of a login whose clock is ahead are refused for so long. */
export const MAX_CLOCK_TOLERANCE_SECONDS = 60;

/** Rejects with an {@link HttpProblem}. */
export type UserTokenVerifier = (token: string) => Promise<Identity>;

/**
 * The algorithm follows from the kind of key and is never taken from the token: otherwise a public
 * key could be used as an HS256 secret (CVE-2015-9235).
 */
function algorithmsFor(key: UserTokenOptions['key']): Algorithm[] {
  if ('secret' in key) return ['HS256'];
  if ('jwksUrl' in key) return ['RS256', 'ES256'];
  const { asymmetricKeyType } = createPublicKey(key.publicKey);
  if (asymmetricKeyType === 'rsa') return ['RS256'];
  if (asymmetricKeyType === 'ec') return ['ES256'];
  throw new TypeError('The public key of user JWTs must be an RSA or a P-256 key in PEM.');
}

function keySource(key: UserTokenOptions['key']): GetPublicKeyOrSecret {
  if ('secret' in key || 'publicKey' in key) {
    const fixed = 'secret' in key ? key.secret : key.publicKey;
    return (_header, done) => {
      done(null, fixed);
    };
  }
  const client = new JwksClient({
    jwksUri: key.jwksUrl,
    cache: true,
    cacheMaxAge: 10 * 60 * 1000,
    rateLimit: true,
    timeout: 3000,
  });
  return (header, done) => {
    client.getSigningKey(header.kid).then(
      (found) => {
        done(null, found.getPublicKey());
      },
      (error: unknown) => {
        done(error instanceof Error ? error : new Error('unknown error', { cause: error }));
      },
    );
  };
}

export function createUserTokenVerifier(options: UserTokenOptions): UserTokenVerifier {
  const { key, issuer, audience, claim = 'sub', roleClaim = 'warren_role' } = options;
  const { clockToleranceSeconds = DEFAULT_CLOCK_TOLERANCE_SECONDS } = options;
  const algorithms = algorithmsFor(key);
  const source = keySource(key);
  const verifyOptions = {
    algorithms,
    // Looked at below, together with "iat", which jsonwebtoken does not compare with the clock.
    ignoreNotBefore: true,
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
  };
  return (token) =>
    new Promise((resolve, reject) => {
      jwt.verify(token, source, verifyOptions, (error, payload) => {
        if (error !== null) {
          reject(toProblem(error, 'jwksUrl' in key));
          return;
        }
        const claims = typeof payload === 'object' ? payload : {};
        const aheadSeconds = secondsAhead(claims);
        if (aheadSeconds > MOST_AHEAD_SECONDS) {
          reject(new HttpProblem('token_invalid', 'Its "iat" or "nbf" is no time.'));
          return;
        }
        const userId = claims[claim] as unknown;
        if (typeof userId === 'string' && isValidId(userId)) {
          resolve({
            userId,
            issuedAt: issuedAt(claims.iat),
            aheadMs: aheadSeconds * 1000,
            mostAheadMs: clockToleranceSeconds * 1000,
            role: roleIn(claims[roleClaim]),
            expiresAt: claims.exp === undefined ? undefined : claims.exp * 1000,
          });
        } else reject(new HttpProblem('token_invalid', `Its claim "${claim}" holds no user id.`));
      });
    });
}

/** 0 for a token that is of now, or older; infinite for a time that is none. */
function secondsAhead({ iat, nbf }: Record<string, unknown>): number {
  const ahead = [iat, nbf]
    .filter((time) => time !== undefined)
    .map((time) => (typeof time === 'number' ? time - Date.now() / 1000 : Infinity));
  return Math.max(0, ...ahead);
}

function toProblem(error: Error, remote: boolean): HttpProblem {
  if (error instanceof jwt.TokenExpiredError) return new HttpProblem('token_expired');
  // jsonwebtoken wraps what the key source throws and keeps its message alone.
  const fetching = error.message.startsWith('error in secret or public key callback');
  const unknownKey = /unable to find a signing key|no kid/i.test(error.message);
  if (remote && fetching && !unknownKey) {
    return new HttpProblem('keys_unavailable', undefined, { cause: error });
  }
  return new HttpProblem('token_invalid', undefined, { cause: error });
}
