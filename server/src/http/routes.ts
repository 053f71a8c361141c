import {
  cutOffBodySchema,
  devTokenBodySchema,
  idSchema,
  provisionBodySchema,
  sendBodySchema,
  sendReplySchema,
  sessionBodySchema,
  sessionGrantSchema,
  tokenBodySchema,
  tokenReplySchema,
  userStateSchema,
  type SendReply,
  type TokenReply,
} from '@warren/protocol';
import { z } from 'zod';
import { HttpProblem } from '../problem.js';
import type { OwnTokens } from '../sessions/own-tokens.js';
import type { Sessions } from '../sessions/sessions.js';
import type { Users } from '../sessions/users.js';
import type { Sender } from '../sender.js';
import type { Metrics } from '../metrics.js';
import { route, type Route, type RouteContext } from './route.js';

/** What the routes hand their work to. */
export interface Services {
  sessions: Sessions;
  users: Users;
  ownTokens: OwnTokens;
  sender: Sender;
  metrics: Metrics;
  /** What `/health/ready` tells of each part. */
  health: () => Promise<Record<string, 'up' | 'down'>>;
}

function idIn({ params }: RouteContext<unknown>, name = 'id'): string {
  const result = idSchema.safeParse(params[name]);
  if (!result.success) throw new HttpProblem('invalid_id');
  return result.data;
}

export function createRoutes(services: Services): Route[] {
  return [
    ...messageRoutes(services),
    ...userRoutes(services),
    ...cutOffRoutes(services),
    ...sessionRoutes(services),
    ...operationRoutes(services),
  ];
}

function messageRoutes({ sender }: Services): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/messages',
      access: 'service',
      summary: 'Send a message to a user or a device; answers after the broker has confirmed it.',
      body: sendBodySchema,
      replies: { 202: { description: 'What became of it.', schema: sendReplySchema } },
      problems: ['invalid_id', 'broker_unavailable', 'outcome_unknown'],
      handle: async ({ body }) => {
        const user = 'user' in body.to ? body.to.user : body.to.device.user;
        const { id, outcome } = await sender.send(body);
        return { status: 202, body: { id, recipients: [{ user, outcome }] } satisfies SendReply };
      },
    }),
  ];
}

function userRoutes({ sessions, users }: Services): Route[] {
  const database = ['database_unavailable'] as const;
  return [
    route({
      method: 'put',
      path: '/v1/users/{id}',
      access: 'service',
      summary: "Make a user's mailbox ahead, so that messages wait for the first session.",
      body: provisionBodySchema,
      replies: { 200: { description: 'The user is provisioned.', schema: userStateSchema } },
      problems: ['invalid_id', 'too_many_devices', 'broker_unavailable', ...database],
      handle: async (context) => {
        const userId = idIn(context);
        await sessions.provision(userId, context.body.devices);
        return { status: 200, body: await users.state(userId) };
      },
    }),
    route({
      method: 'get',
      path: '/v1/users/{id}',
      access: 'service',
      summary: 'Devices, waiting messages, online, last seen.',
      replies: { 200: { description: 'What is known.', schema: userStateSchema } },
      problems: ['invalid_id', 'user_unknown', 'broker_unavailable', ...database],
      handle: async (context) => ({ status: 200, body: await users.state(idIn(context)) }),
    }),
    route({
      method: 'delete',
      path: '/v1/users/{id}',
      access: 'service',
      summary: 'Remove a user: its queues with what waits in them, its connections, its record.',
      replies: { 204: { description: 'Nothing of the user is left.' } },
      problems: ['invalid_id', 'user_unknown', 'broker_unavailable', ...database],
      handle: async (context) => {
        await users.remove(idIn(context));
        return { status: 204 };
      },
    }),
  ];
}

function cutOffRoutes({ users, ownTokens }: Services): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/users/{id}/disconnect',
      access: 'service',
      summary: "Close a user's connections, or those of one device; the clients may come back.",
      body: cutOffBodySchema,
      replies: { 204: { description: 'They are closed.' } },
      problems: ['invalid_id', 'user_unknown', 'broker_unavailable', 'database_unavailable'],
      handle: async (context) => {
        await users.disconnect(idIn(context), context.body.deviceId);
        return { status: 204 };
      },
    }),
    route({
      method: 'post',
      path: '/v1/users/{id}/revoke',
      access: 'service',
      summary:
        'Cut a user or a device off now: queues deleted, connections closed, tokens worthless, and ' +
        "the application's tokens of before refused. Answers after up to a second.",
      body: cutOffBodySchema,
      replies: { 204: { description: 'Nothing that is published from now on arrives there.' } },
      problems: ['invalid_id', 'broker_unavailable', 'database_unavailable'],
      handle: async (context) => {
        await users.revoke(idIn(context), context.body.deviceId);
        return { status: 204 };
      },
    }),
    route({
      method: 'post',
      path: '/v1/users/{id}/tokens',
      access: 'service',
      summary: "Make a user's JWT, for applications whose users have none.",
      body: tokenBodySchema,
      replies: { 201: { description: 'The token.', schema: tokenReplySchema } },
      problems: ['invalid_id'],
      handle: (context) => {
        const { token, expiresAt } = ownTokens.issue(idIn(context), context.body.ttlSeconds);
        const body: TokenReply = { token, expiresAt: expiresAt.toISOString() };
        return { status: 201, body };
      },
    }),
  ];
}

function sessionRoutes({ sessions, users, metrics }: Services): Route[] {
  const logout = route({
    method: 'delete',
    path: '/v1/sessions/{deviceId}',
    access: 'user',
    summary: 'Log a device out: its queues go with what waits in them, its connection is closed.',
    replies: { 204: { description: 'Nothing of the device is left.' } },
    problems: ['invalid_id', 'broker_unavailable'],
    handle: async (context) => {
      if (context.identity === undefined) throw new HttpProblem('token_invalid');
      await users.removeDevice(context.identity.userId, idIn(context, 'deviceId'));
      return { status: 204 };
    },
  });
  const open = route({
    method: 'post',
    path: '/v1/sessions',
    access: 'user',
    summary: "Open a session on a device's queues, or renew the one that is named.",
    body: sessionBodySchema,
    replies: { 201: { description: 'The session grant.', schema: sessionGrantSchema } },
    problems: [
      'invalid_id',
      'session_ended',
      'session_replaced',
      'too_many_devices',
      'broker_unavailable',
      'overloaded',
    ],
    handle: async ({ identity, body, request }) => {
      if (identity === undefined) throw new HttpProblem('token_invalid');
      const isAwaited = () => !request.socket.destroyed;
      const { grant, kind } = await sessions.open(identity, body, isAwaited);
      metrics.sessions.inc({ kind });
      return { status: 201, body: grant };
    },
  });
  return [open, logout];
}

function operationRoutes({ metrics, health }: Services): Route[] {
  const statusSchema = z.object({
    status: z.enum(['ok', 'unavailable']),
    checks: z.record(z.string(), z.enum(['up', 'down'])).optional(),
  });
  return [
    route({
      method: 'get',
      path: '/health/live',
      access: 'none',
      summary: 'Whether the process answers.',
      replies: { 200: { description: 'It does.', schema: statusSchema } },
      problems: [],
      handle: () => ({ status: 200, body: { status: 'ok' } }),
    }),
    route({
      method: 'get',
      path: '/health/ready',
      access: 'none',
      summary: 'Whether messages can be sent and sessions opened now.',
      replies: {
        200: { description: 'They can.', schema: statusSchema },
        503: { description: 'Some part is down; `checks` says which.', schema: statusSchema },
      },
      problems: [],
      handle: async () => {
        const checks = await health();
        const ok = Object.values(checks).every((check) => check === 'up');
        return { status: ok ? 200 : 503, body: { status: ok ? 'ok' : 'unavailable', checks } };
      },
    }),
    route({
      method: 'get',
      path: '/metrics',
      access: 'none',
      summary: 'Metrics in the Prometheus format.',
      replies: { 200: { description: 'Text.' } },
      problems: [],
      handle: async () => ({
        status: 200,
        body: await metrics.registry.metrics(),
        contentType: metrics.registry.contentType,
      }),
    }),
  ];
}

const LOCAL_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]']);

/**
 * `POST /dev/token`: a user's JWT for whoever asks, for trying things out. The server mounts it only
 * in development. A page of another site could reach it by DNS rebinding, so the host must be local.
 */
export function devTokenRoute(issue: (userId: string) => string): Route {
  return route({
    method: 'post',
    path: '/dev/token',
    access: 'none',
    summary: "A user's JWT for trying things out; only where `npm start` runs.",
    body: devTokenBodySchema,
    replies: { 200: { description: 'The token.', schema: z.object({ token: z.string() }) } },
    problems: ['invalid_id', 'forbidden_host'],
    handle: ({ body, request }) => {
      const host = (request.headers.host ?? '').replace(/:\d+$/, '');
      if (!LOCAL_HOSTS.has(host)) throw new HttpProblem('forbidden_host');
      return { status: 200, body: { token: issue(body.userId) } };
    },
  });
}
