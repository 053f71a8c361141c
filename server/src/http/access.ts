import { createHash, timingSafeEqual } from 'node:crypto';
import type { Request } from 'express';
import { isValidId, PROTOCOL_VERSION, type AdminRole } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import { userIdOf, type Admin, type AdminTokens } from '../sessions/admin-tokens.js';
import type { Identity } from '../sessions/identity.js';
import type { Access } from './route.js';

/**
 * Tells which user a request comes from; null refuses it. A user id alone vouches for the user now;
 * with `issuedAt`, the user is refused if it was revoked since then.
 */
export type Authenticate = (request: Request) => MaybePromise<string | Identity | null>;
type MaybePromise<Value> = Promise<Value> | Value;

/** No clock is so far ahead. */
const DAY_MS = 86_400_000;

/**
 * What {@link Authenticate} has answered, in JavaScript perhaps: a time that is none would be later than any
 * revocation.
 * @throws {HttpProblem} `token_invalid` @throws {TypeError} that says what is wrong with the function.
 */
function identityIn(answer: unknown): Identity {
  if (answer === null || answer === undefined) throw new HttpProblem('token_invalid');
  if (typeof answer === 'string') return { userId: answer, issuedAt: Date.now() };
  const identity = Object(answer) as Identity;
  if (typeof identity.userId !== 'string') {
    throw new TypeError('authenticate must give a string, an object with a userId, or null.');
  }
  const { issuedAt } = identity;
  if (!Number.isFinite(issuedAt) || issuedAt > Date.now() + DAY_MS) {
    throw new TypeError('The issuedAt that authenticate gives must be milliseconds since 1970.');
  }
  return identity;
}

/** Opens the console. */
export interface AdminKey {
  key: string;
  role: AdminRole;
}

const digest = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();

/** Enough of a key's digest to tell which one it was, and too little to find it by. */
export const SHOWN_CHARACTERS = 8;

/** The token of an `Authorization: Bearer` header, or undefined. */
export function bearerToken(request: Request): string | undefined {
  const match = /^Bearer +([^\s]+)\s*$/i.exec(request.headers.authorization ?? '');
  return match?.[1];
}

/** Who was let in; by which its requests are counted. */
export interface Caller {
  /** On routes for users. */
  identity: Identity | undefined;
  /** On routes for admins. */
  admin: Admin | undefined;
  /** Undefined for whoever needs to show nothing. */
  budget: string | undefined;
}

export interface AccessOptions {
  /** Asked for at each request, since they can be exchanged. */
  serviceKeys: () => string[];
  adminKeys: () => AdminKey[];
  adminTokens: AdminTokens;
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
    const nobody = { identity: undefined, admin: undefined, budget: undefined };
    switch (access) {
      case 'none':
        return nobody;
      case 'service':
        return { ...nobody, budget: this.#service(request) };
      case 'user': {
        const identity = await this.#user(request);
        return { ...nobody, identity, budget: `user:${identity.userId}` };
      }
      case 'viewer':
      case 'operator': {
        const { admin, identity } = await this.#admin(request);
        if (access === 'operator' && admin.role !== 'operator') {
          throw new HttpProblem('role_required', 'A viewer looks; this asks for an operator.');
        }
        return { identity, admin, budget: `admin:${admin.actor}` };
      }
    }
  }

  /** By an admin key, the console's own token, or a user's JWT with a role. */
  async #admin(request: Request): Promise<Omit<Caller, 'budget'> & { admin: Admin }> {
    const { adminKeys, adminTokens, refuseRevoked } = this.#options;
    const token = bearerToken(request);
    if (token === undefined) throw new HttpProblem('token_missing');
    const keys = adminKeys().map((entry) => ({ ...entry, digest: digest(entry.key) }));
    const given = digest(token);
    const [match] = keys.filter((entry) => timingSafeEqual(entry.digest, given));
    if (match !== undefined) {
      const key = given.toString('base64url');
      const actor = `admin:${key.slice(0, SHOWN_CHARACTERS)}`;
      return {
        admin: { actor, role: match.role, key, issuedAt: Date.now(), expiresAt: Infinity },
        identity: undefined,
      };
    }
    const admin = adminTokens.verify(token);
    if (admin === undefined) return this.#adminByRole(request);
    if (admin.key !== undefined) {
      // A key that is taken away takes its tokens along; its role may have changed.
      const key = keys.find((entry) => entry.digest.toString('base64url') === admin.key);
      if (key === undefined) throw new HttpProblem('token_invalid');
      return { admin: { ...admin, role: key.role }, identity: undefined };
    }
    const userId = userIdOf(admin.actor);
    if (userId === undefined) throw new HttpProblem('token_invalid');
    await refuseRevoked({ userId, issuedAt: admin.issuedAt });
    return { admin, identity: undefined };
  }

  async #adminByRole(request: Request): Promise<Omit<Caller, 'budget'> & { admin: Admin }> {
    const identity = await this.#user(request);
    const { userId, role, issuedAt, expiresAt = Infinity } = identity;
    if (role === undefined) throw new HttpProblem('role_required', 'The token names no role.');
    // An application's own `authenticate` may have let it pass.
    if (expiresAt <= Date.now()) throw new HttpProblem('token_expired');
    const actor = `user:${userId}`;
    return { admin: { actor, role, key: undefined, issuedAt, expiresAt }, identity };
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
    const identity = identityIn(own ?? (await authenticate(request)));
    if (!isValidId(identity.userId)) throw new HttpProblem('invalid_id');
    refuseOther(identity, request.get('warren-user'));
    await refuseRevoked(identity);
    return identity;
  }
}

/**
 * With a login by cookie, the page of somebody who has logged out in another tab would act for whoever has logged in
 * there. @param meant percent-encoded; undefined: the client does not say.
 * @throws {HttpProblem} `user_mismatch`
 */
function refuseOther({ userId }: Identity, meant: string | undefined): void {
  if (meant !== undefined && decoded(meant) !== userId) throw new HttpProblem('user_mismatch');
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
