import { createPublicKey } from 'node:crypto';
import jwt, {
  type Algorithm,
  type JwtPayload,
  type Secret,
  type VerifyOptions,
} from 'jsonwebtoken';
import { isValidId } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import { roleIn } from './admin-tokens.js';
import { issuedAt, type Identity } from './identity.js';
import { keyIdOf } from './key-ring.js';
import { RemoteKeys } from './remote-keys.js';

/** How the application's own JWTs are checked: by exactly one kind of key. */
export interface UserTokenOptions {
  key: { secret: string } | { publicKey: string } | { jwksUrl: string };
  /** The `iss` that a token must have. Default: any. */
  issuer?: string;
  /**
   * The `aud` that a token must hold; `*`: any. Default: any; required with `jwksUrl`, where a provider of logins
   * signs tokens for other applications with the same keys.
   */
  audience?: string;
  /** The claim that holds the user's id. Default `sub`. */
  claim?: string;
  /** How far ahead of this server's the clock of whoever issues tokens may be, in seconds. Default 30. */
  clockToleranceSeconds?: number;
  /** The claim that holds a role in the admin console, or a list with one. Default `warren_role`. */
  roleClaim?: string;
}

/** As `audience`: that of a token does not matter. */
export const ANY_AUDIENCE = '*';
/** What a JWKS URL without an audience would let in. */
export const WHY_AUDIENCE =
  'its provider signs tokens for other applications with the same keys, which would be taken as well ("*" takes any).';

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

/** Finds the key that a token is to be checked with; undefined when there is none of the name that it bears. */
type KeySource = (keyId: string | undefined) => Promise<Secret | undefined>;

function keySource(key: UserTokenOptions['key']): KeySource {
  if ('jwksUrl' in key) {
    const keys = new RemoteKeys(key.jwksUrl);
    return (keyId) => keys.find(keyId);
  }
  const fixed = 'secret' in key ? key.secret : key.publicKey;
  return () => Promise.resolve(fixed);
}

/** @throws {TypeError} when the options do not go together. */
export function createUserTokenVerifier(options: UserTokenOptions): UserTokenVerifier {
  const { key, issuer, audience } = options;
  if ('jwksUrl' in key && audience === undefined) {
    throw new TypeError(
      `Users' tokens that are checked by a JWKS URL need an audience: ${WHY_AUDIENCE}`,
    );
  }
  const source = keySource(key);
  const verifyOptions = {
    algorithms: algorithmsFor(key),
    // Looked at below, together with "iat", which jsonwebtoken does not compare with the clock.
    ignoreNotBefore: true,
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && audience !== ANY_AUDIENCE && { audience }),
  };
  return async (token) => {
    const found = await source(keyIdOf(token));
    if (found === undefined) throw new HttpProblem('token_invalid', 'Its key is not known.');
    return identityIn(verified(token, found, verifyOptions), options);
  };
}

/** @throws {HttpProblem} `token_expired`, `token_invalid` */
function verified(token: string, key: Secret, options: VerifyOptions): JwtPayload {
  try {
    const payload = jwt.verify(token, key, options);
    return typeof payload === 'object' ? payload : {};
  } catch (error) {
    const code = error instanceof jwt.TokenExpiredError ? 'token_expired' : 'token_invalid';
    throw new HttpProblem(code, undefined, { cause: error });
  }
}

/** @throws {HttpProblem} `token_invalid` */
function identityIn(claims: JwtPayload, options: UserTokenOptions): Identity {
  const { claim = 'sub', roleClaim = 'warren_role' } = options;
  const { clockToleranceSeconds = DEFAULT_CLOCK_TOLERANCE_SECONDS } = options;
  const aheadSeconds = secondsAhead(claims);
  if (aheadSeconds > MOST_AHEAD_SECONDS) {
    throw new HttpProblem('token_invalid', 'Its "iat" or "nbf" is no time.');
  }
  const userId = claims[claim] as unknown;
  if (typeof userId !== 'string' || !isValidId(userId)) {
    throw new HttpProblem('token_invalid', `Its claim "${claim}" holds no user id.`);
  }
  return {
    userId,
    issuedAt: issuedAt(claims.iat),
    aheadMs: aheadSeconds * 1000,
    mostAheadMs: clockToleranceSeconds * 1000,
    role: roleIn(claims[roleClaim]),
    expiresAt: claims.exp === undefined ? undefined : claims.exp * 1000,
  };
}

/** 0 for a token that is of now, or older; infinite for a time that is none. */
function secondsAhead({ iat, nbf }: Record<string, unknown>): number {
  const ahead = [iat, nbf]
    .filter((time) => time !== undefined)
    .map((time) => (typeof time === 'number' ? time - Date.now() / 1000 : Infinity));
  return Math.max(0, ...ahead);
}
