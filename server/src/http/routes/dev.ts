import { devTokenBodySchema } from '@warren/protocol';
import { z } from 'zod';
import { route, type Route } from '../route.js';

/**
 * `POST /dev/token`: a user's JWT for whoever asks, for trying things out. The server mounts it only in development,
 * and only behind `knownHosts`.
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
    handle: ({ body }) => ({ status: 200, body: { token: issue(body.userId) } }),
  });
}
