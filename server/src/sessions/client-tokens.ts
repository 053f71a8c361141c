import { keyId } from '@warren/rabbitmq';
import jwt from 'jsonwebtoken';

/** The broker's `auth_oauth2.resource_server_id`: a token for another audience is refused. */
const AUDIENCE = 'warren';

export interface ClientTokenOptions {
  /** The private key, as PEM; the broker holds its public half under {@link keyId}. */
  signingKey: string;
  vhost: string;
  ttlSeconds: number;
}

export interface ClientToken {
  token: string;
  expiresAt: Date;
}

/** Signs the tokens with which a device logs in to the broker, to read its two queues and nothing else. */
export class ClientTokens {
  readonly #options: ClientTokenOptions;
  readonly #kid: string;

  constructor(options: ClientTokenOptions) {
    this.#options = options;
    this.#kid = keyId(options.signingKey);
  }

  issue(queue: string, liveQueue: string): ClientToken {
    const { signingKey, vhost, ttlSeconds } = this.#options;
    // Integers: a fraction in `exp` never expires on brokers before 4.2.9.
    const issuedAt = Math.floor(Date.now() / 1000);
    const expiresAt = issuedAt + ttlSeconds;
    // Scopes are split at "*" and then URL-decoded; queue names hold neither "*" nor "%".
    const place = encodeURIComponent(vhost).replaceAll('*', '%2A');
    const scope = [queue, liveQueue].map((name) => `${AUDIENCE}.read:${place}/${name}`);
    const claims = { sub: queue, aud: AUDIENCE, scope, iat: issuedAt, exp: expiresAt };
    const token = jwt.sign(claims, signingKey, { algorithm: 'RS256', keyid: this.#kid });
    return { token, expiresAt: new Date(expiresAt * 1000) };
  }
}
