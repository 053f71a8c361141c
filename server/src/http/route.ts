import type { ProblemCode } from '@warren/protocol';
import type { Request } from 'express';
import type { ZodType } from 'zod';
import type { Identity } from '../sessions/identity.js';

/**
 * - `service`: a service key. `user`: a user's JWT. `none`: anybody who can reach the address.
 */
export type Access = 'service' | 'user' | 'none';

export interface RouteContext<Body> {
  /** Decoded parameters of the path. */
  params: Record<string, string>;
  body: Body;
  /** Who calls: on routes for users, else undefined. */
  identity: Identity | undefined;
  request: Request;
}

export interface RouteReply {
  status: number;
  /** Nothing for 204. */
  body?: object | string;
  /** Default `application/json`. */
  contentType?: string;
}

/**
 * One operation of the API. The router, the OpenAPI document and the answers to a wrong method are
 * all made from these, so that they cannot disagree.
 */
export interface Route<Body = unknown> {
  method: 'get' | 'put' | 'post' | 'delete';
  /** In OpenAPI's writing: `/v1/users/{id}`. */
  path: string;
  access: Access;
  summary: string;
  /** Parsed before the handler runs; without one, a body is not read. */
  body?: ZodType<Body>;
  replies: Record<number, { description: string; schema?: ZodType }>;
  /** Codes that this route answers with besides those of its access and body. */
  problems: ProblemCode[];
  handle: (context: RouteContext<Body>) => Promise<RouteReply> | RouteReply;
}

/** Keeps a route's body type through the table, which holds routes of all kinds. */
export function route<Body>(definition: Route<Body>): Route {
  return definition as Route;
}
