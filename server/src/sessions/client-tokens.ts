import jwt from 'jsonwebtoken';
import { HttpProblem } from '../problem.js';
import type { KeyRing } from './key-ring.js';

/** The broker's `auth_oauth2.resource_server_id`: a token for another audience is refused. */
export const BROKER_AUDIENCE = 'warren';

export interface ClientTokenOptions {
  keys: KeyRing;
  vhost: string;
  ttlSeconds: number;
}

export interface SignedToken {
  token: string;
  expiresAt: Date;
}

/** Signs the tokens with which a device logs in to the broker, to read its two queues and nothing else. */
export class ClientTokens {
  readonly #options: ClientTokenOptions;

  constructor(options: ClientTokenOptions) {
    this.#options = options;
  }

  /**
   * @param notAfter when what vouches for the login ends, in milliseconds since 1970.
   * @throws {HttpProblem} `token_expired`: it has ended.
   */
  issue(queue: string, liveQueue: string, notAfter = Infinity): SignedToken {
    const { keys, vhost, ttlSeconds } = this.#options;
    // Scopes are split at "*" and then URL-decoded; queue names hold neither "*" nor "%".
    const place = encodeURIComponent(vhost).replaceAll('*', '%2A');
    const scope = [queue, liveQueue].map((name) => `${BROKER_AUDIENCE}.read:${place}/${name}`);
    const claims = { sub: queue, aud: BROKER_AUDIENCE, scope };
    return signToken(keys, claims, ttlSeconds, notAfter);
  }
}

/**
 * RS256 with the newest key, from now on, for so long, and no longer than what it is made from.
 * @param notAfter when that ends, in milliseconds since 1970.
 * @throws {HttpProblem} `token_expired`: it has ended, or does within this second.
 */
export function signToken(
  keys: KeyRing,
  claims: object,
  ttlSeconds: number,
  notAfter = Infinity,
): SignedToken {
  // Integers: a fraction in `exp` never expires on brokers before 4.2.9.
  const iat = Math.floor(Date.now() / 1000);
  const exp = Math.min(iat + ttlSeconds, Math.floor(notAfter / 1000));
  if (exp <= iat) throw new HttpProblem('token_expired');
  const { privateKey, kid } = keys.signing;
  const token = jwt.sign({ ...claims, iat, exp }, privateKey, { algorithm: 'RS256', keyid: kid });
  return { token, expiresAt: new Date(exp * 1000) };
}
