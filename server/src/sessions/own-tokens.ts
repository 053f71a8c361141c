import jwt from 'jsonwebtoken';
import { isValidId } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import { signToken, type SignedToken } from './client-tokens.js';
import { issuedAt, type Identity } from './identity.js';
import { keyIdOf, type KeyRing } from './key-ring.js';

/** Not the broker's, which would take a token for it as a login. */
const AUDIENCE = 'warren-api';

/**
 * Users' JWTs that Warren signs itself, on behalf of an application whose users have cookie sessions
 * and no JWT.
 */
export class OwnTokens {
  readonly #keys: KeyRing;

  constructor(keys: KeyRing) {
    this.#keys = keys;
  }

  issue(userId: string, ttlSeconds: number): SignedToken {
    return signToken(this.#keys, { sub: userId, aud: AUDIENCE }, ttlSeconds);
  }

  /**
   * Undefined for a token that is not signed with one of Warren's keys, and may be the application's.
   * @throws {HttpProblem} `token_invalid`, `token_expired`
   */
  verify(token: string): Identity | undefined {
    const pair = this.#keys.find(keyIdOf(token));
    if (pair === undefined) return undefined;
    try {
      const options = { algorithms: ['RS256' as const], audience: AUDIENCE };
      const payload = jwt.verify(token, pair.publicKey, options);
      if (typeof payload === 'string' || payload.sub === undefined || !isValidId(payload.sub)) {
        throw new HttpProblem('token_invalid');
      }
      return { userId: payload.sub, issuedAt: issuedAt(payload.iat) };
    } catch (error) {
      if (error instanceof HttpProblem) throw error;
      const code = error instanceof jwt.TokenExpiredError ? 'token_expired' : 'token_invalid';
      throw new HttpProblem(code, undefined, { cause: error });
    }
  }
}
