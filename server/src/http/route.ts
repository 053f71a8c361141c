import type { AdminRole, ProblemCode } from '@warren/protocol';
import type { Request } from 'express';
import type { ZodType } from 'zod';
import { HttpProblem } from '../problem.js';
import type { Admin } from '../sessions/admin-tokens.js';
import type { Identity } from '../sessions/identity.js';

/** Which version of the wire contract an answer keeps; that it has one says that it is Warren's. */
export const PROTOCOL_HEADER = 'warren-protocol';

/**
 * - `service`: a service key. `user`: a user's JWT. `none`: anybody who can reach the address.
 * - `viewer`, `operator`: an admin with this role, or a more powerful one.
 */
export type Access = 'service' | 'user' | AdminRole | 'none';

export interface RouteContext<Body, Query = unknown> {
  /** Decoded parameters of the path. */
  params: Record<string, string>;
  query: Query;
  body: Body;
  /** Who calls: on routes for users, else undefined. */
  identity: Identity | undefined;
  /** Who calls: on routes for admins, else undefined. */
  admin: Admin | undefined;
  /** For logs and audits: `user:<id>`, or `key:` or `admin:` and the beginning of the key's digest. */
  caller: string;
  request: Request;
}

/** Who calls a route for users. */
export function userOf({ identity }: RouteContext<unknown>): string {
  if (identity === undefined) throw new HttpProblem('token_invalid');
  return identity.userId;
}

export interface RouteReply {
  status: number;
  /** Nothing for 204. */
  body?: object | string;
  /** Instead of a body: JSON, written as it comes. */
  lines?: AsyncGenerator<string>;
  /** Default `application/json`. */
  contentType?: string;
}

/**
 * One operation of the API. The router, the OpenAPI document and the answers to a wrong method are
 * all made from these, so that they cannot disagree.
 */
export interface Route<Body = unknown, Query = unknown> {
  method: 'get' | 'put' | 'post' | 'delete';
  /** In OpenAPI's writing: `/v1/users/{id}`. */
  path: string;
  access: Access;
  summary: string;
  /** What stands behind the `?`; without a schema it is not looked at. */
  query?: ZodType<Query>;
  /** Parsed before the handler runs; without one, a body is not read. */
  body?: ZodType<Body>;
  replies: Record<number, { description: string; schema?: ZodType }>;
  /** Codes that this route answers with besides those of its access and body. */
  problems: ProblemCode[];
  /**
   * Written into the audit log before it is done, and how it ended after. Every route of operators has one.
   */
  audit?: { action: string; target: (context: RouteContext<Body, Query>) => string };
  handle: (context: RouteContext<Body, Query>) => Promise<RouteReply> | RouteReply;
}

/** Keeps the types of a route's body and query through the table, which holds routes of all kinds. */
export function route<Body, Query>(definition: Route<Body, Query>): Route {
  return definition as Route;
}
