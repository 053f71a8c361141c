import {
  cutOffBodySchema,
  provisionBodySchema,
  tokenBodySchema,
  timelineQuerySchema,
  timelineReplySchema,
  tokenReplySchema,
  userStateSchema,
  type TokenReply,
} from '@warren/protocol';
import { route, type Route } from '../route.js';
import { idIn, type Services } from './services.js';

export function userRoutes({ sessions, users, userExport, timeline }: Services): Route[] {
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
        const depths = await sessions.provision(userId, context.body.devices);
        return { status: 200, body: await users.state(userId, depths) };
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
      method: 'get',
      path: '/v1/users/{id}/timeline',
      access: 'service',
      summary:
        'What happened to a user in the last 7 days: connections, sessions, messages, pushes. Empty for one ' +
        'of whom nothing is known.',
      query: timelineQuerySchema,
      replies: { 200: { description: 'The newest first.', schema: timelineReplySchema } },
      problems: ['invalid_id', ...database],
      handle: async (context) => ({
        status: 200,
        body: await timeline.read(idIn(context), context.query),
      }),
    }),
    route({
      method: 'get',
      path: '/v1/users/{id}/export',
      access: 'service',
      summary:
        'All that the database has of a user, as lines of JSON (`application/x-ndjson`), each with a `kind`: `user`, ' +
        '`device`, `push_device`, `group`, `timeline`, `message`, `dead_letter`, `stored`.',
      replies: { 200: { description: 'Of one who is not known, the line `user` alone.' } },
      problems: ['invalid_id', ...database],
      handle: (context) => ({ status: 200, lines: userExport.lines(idIn(context)) }),
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

/** To part with a user, for a while or for good. */
export function cutOffRoutes({ users, ownTokens }: Services): Route[] {
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
