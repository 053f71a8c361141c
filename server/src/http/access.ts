import { createHash, timingSafeEqual } from 'node:crypto';
import type { Request } from 'express';
import { isValidId, PROTOCOL_VERSION } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import type { Identity } from '../sessions/identity.js';
import type { Access } from './route.js';

/**
 * Tells which user a request comes from; null refuses it. A user id alone vouches for the user now;
 * with `issuedAt`, the user is refused if it was revoked since then.
 */
export type Authenticate = (request: Request) => MaybePromise<string | Identity | null>;
type MaybePromise<Value> = Promise<Value> | Value;

const digest = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();

/** The token of an `Authorization: Bearer` header, or undefined. */
export function bearerToken(request: Request): string | undefined {
  const match = /^Bearer +([^\s]+)\s*$/i.exec(request.headers.authorization ?? '');
  return match?.[1];
}

/** Who was let in; by which its requests are counted. */
export interface Caller {
  /** On routes for users. */
  identity: Identity | undefined;
  /** Undefined for whoever needs to show nothing. */
  budget: string | undefined;
}

export interface AccessOptions {
  /** Asked for at each request, since they can be exchanged. */
  serviceKeys: () => string[];
  /** Users' tokens that Warren signed; undefined for one that it did not. */
  ownTokens: { verify: (token: string) => Identity | undefined };
  authenticate: Authenticate;
  /** @throws {HttpProblem} `token_revoked` */
  refuseRevoked: (identity: Identity) => Promise<void>;
}

/** Lets requests in or throws why not. */
export class AccessControl {
  readonly #options: AccessOptions;

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** @throws {HttpProblem} when the request is refused. */
  async check(access: Access, request: Request): Promise<Caller> {
    if (access === 'user') {
      const identity = await this.#user(request);
      return { identity, budget: `user:${identity.userId}` };
    }
    if (access === 'service') return { identity: undefined, budget: this.#service(request) };
    return { identity: undefined, budget: undefined };
  }

  #service(request: Request): string {
    const token = bearerToken(request);
    if (token === undefined) throw new HttpProblem('token_missing');
    // Digests have one length, which a comparison in constant time asks for.
    const given = digest(token);
    // Every key is compared, so that the time does not tell which one came close.
    const matches = this.#options
      .serviceKeys()
      .filter((key) => timingSafeEqual(digest(key), given));
    if (matches.length === 0) throw new HttpProblem('token_invalid');
    return `key:${given.toString('base64url')}`;
  }

  async #user(request: Request): Promise<Identity> {
    const version = request.get('warren-protocol');
    if (version !== undefined && !(Number(version) >= PROTOCOL_VERSION)) {
      throw new HttpProblem(
        'upgrade_required',
        `This server speaks ${String(PROTOCOL_VERSION)} and up.`,
      );
    }
    const { ownTokens, authenticate, refuseRevoked } = this.#options;
    const token = bearerToken(request);
    const own = token === undefined ? undefined : ownTokens.verify(token);
    const answer = own ?? (await authenticate(request));
    if (answer === null) throw new HttpProblem('token_invalid');
    const identity = typeof answer === 'string' ? { userId: answer, issuedAt: Date.now() } : answer;
    if (!isValidId(identity.userId)) throw new HttpProblem('invalid_id');
    await refuseRevoked(identity);
    return identity;
  }
}
