import { presenceBodySchema, presenceQuerySchema, presenceReplySchema } from '@warren/protocol';
import { route, type Route } from '../route.js';
import type { Services } from './services.js';

export function presenceRoutes({ presence }: Services): Route[] {
  const replies = { 200: { description: 'Of each.', schema: presenceReplySchema } };
  const problems = ['invalid_id', 'broker_unavailable', 'database_unavailable'] as const;
  return [
    route({
      method: 'get',
      path: '/v1/presence',
      access: 'service',
      summary: 'Who of these users is online, and when they were last seen.',
      query: presenceQuerySchema,
      replies,
      problems: [...problems],
      handle: async ({ query }) => ({ status: 200, body: await presence.of(query.users) }),
    }),
    route({
      method: 'post',
      path: '/v1/presence',
      access: 'service',
      summary: 'The same for up to 10,000 users, and for ids with a comma.',
      body: presenceBodySchema,
      replies,
      problems: [...problems],
      handle: async ({ body }) => ({ status: 200, body: await presence.of(body.users) }),
    }),
  ];
}
