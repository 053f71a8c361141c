import { createHash, timingSafeEqual } from 'node:crypto';
import type { Request } from 'express';
import { PROTOCOL_VERSION } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import type { Access } from './route.js';

/** Tells which user a request comes from; null refuses it. */
export type Authenticate = (request: Request) => Promise<string | null> | string | null;

const digest = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();

/** The token of an `Authorization: Bearer` header, or undefined. */
export function bearerToken(request: Request): string | undefined {
  const match = /^Bearer +([^\s]+)\s*$/i.exec(request.headers.authorization ?? '');
  return match?.[1];
}

export interface AccessControl {
  /** Resolves to the caller's user id on routes for users; throws when the request is refused. */
  check: (access: Access, request: Request) => Promise<string | undefined>;
}

export function createAccessControl(
  serviceKeys: string[],
  authenticate: Authenticate,
): AccessControl {
  // Digests have one length, which a comparison in constant time asks for.
  const known = serviceKeys.map(digest);
  const checkService = (request: Request): void => {
    const token = bearerToken(request);
    if (token === undefined) throw new HttpProblem('token_missing');
    const given = digest(token);
    // Every key is compared, so that the time does not tell which one came close.
    const matches = known.filter((key) => timingSafeEqual(key, given));
    if (matches.length === 0) throw new HttpProblem('token_invalid');
  };
  const checkUser = async (request: Request): Promise<string> => {
    const version = request.get('warren-protocol');
    if (version !== undefined && !(Number(version) >= PROTOCOL_VERSION)) {
      throw new HttpProblem(
        'upgrade_required',
        `This server speaks ${String(PROTOCOL_VERSION)} and up.`,
      );
    }
    const userId = await authenticate(request);
    if (userId === null) throw new HttpProblem('token_invalid');
    return userId;
  };
  return {
    async check(access, request) {
      if (access === 'user') return checkUser(request);
      if (access === 'service') checkService(request);
      return undefined;
    },
  };
}
