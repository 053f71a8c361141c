import jwt from 'jsonwebtoken';
import { adminRoleSchema, isValidId, type AdminRole } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import { signToken, type SignedToken } from './client-tokens.js';
import { issuedAt } from './identity.js';
import { keyIdOf, type KeyRing } from './key-ring.js';

/** Neither the broker's nor that of users' own tokens. */
const AUDIENCE = 'warren-admin';
/** A working day. */
const TTL_SECONDS = 12 * 60 * 60;

/** Somebody who has signed in to the console, and what vouches for it. */
export interface Admin {
  /** `key:…` for an admin key, `user:<id>` for a JWT with a role. */
  actor: string;
  role: AdminRole;
  /** Digest of the admin key; undefined for a user. */
  key: string | undefined;
  /** Of a user's JWT, in milliseconds since 1970: revoked since then, it is refused. */
  issuedAt: number;
  /**
   * When what was shown ends, in milliseconds since 1970, and with it whatever is made from it. Infinite for an admin
   * key, and for a JWT that has no end.
   */
  expiresAt: number;
}

/** Tokens that stand for an admin key or a JWT, so that the console need not keep those. */
export class AdminTokens {
  readonly #keys: KeyRing;

  constructor(keys: KeyRing) {
    this.#keys = keys;
  }

  /**
   * For half a day, and no longer than what it is made from: one that is made from another ends with that.
   * @throws {HttpProblem} `token_expired`
   */
  issue({ actor, role, key, issuedAt: since, expiresAt }: Admin): SignedToken {
    const claims = { sub: actor, aud: AUDIENCE, role, key, since };
    return signToken(this.#keys, claims, TTL_SECONDS, expiresAt);
  }

  /**
   * Undefined for a token of another kind.
   * @throws {HttpProblem} `token_invalid`, `token_expired`
   */
  verify(token: string): Admin | undefined {
    const pair = this.#keys.find(keyIdOf(token));
    if (pair === undefined) return undefined;
    try {
      const payload = jwt.verify(token, pair.publicKey, {
        algorithms: ['RS256'],
        audience: AUDIENCE,
      }) as jwt.JwtPayload & { role?: unknown; key?: unknown; since?: unknown };
      const { sub = '', role, key, since, exp } = payload;
      if (exp === undefined) throw new HttpProblem('token_invalid');
      return {
        actor: sub,
        role: adminRoleSchema.parse(role),
        key: typeof key === 'string' ? key : undefined,
        issuedAt: typeof since === 'number' ? since : issuedAt(payload.iat),
        expiresAt: exp * 1000,
      };
    } catch (error) {
      const code = error instanceof jwt.TokenExpiredError ? 'token_expired' : 'token_invalid';
      throw new HttpProblem(code, undefined, { cause: error });
    }
  }
}

/** What a user's JWT says of its role: the more powerful one of several; anything else is none. */
export function roleIn(claim: unknown): AdminRole | undefined {
  const roles = Array.isArray(claim) ? claim : [claim];
  return (['operator', 'viewer'] as const).find((role) => roles.includes(role));
}

/** Whom an actor's name stands for, where that is a user. */
export function userIdOf(actor: string): string | undefined {
  const userId = actor.startsWith('user:') ? actor.slice(5) : '';
  return isValidId(userId) ? userId : undefined;
}
