import { devTokenBodySchema } from '@warren/protocol';
import { z } from 'zod';
import { HttpProblem } from '../../problem.js';
import { route, type Route } from '../route.js';

const LOCAL_HOSTS = ['localhost', '127.0.0.1', '[::1]'];

/**
 * `POST /dev/token`: a user's JWT for whoever asks, for trying things out. The server mounts it only
 * in development. A page of another site could reach it by DNS rebinding, so the host must be a known one.
 * @param hosts those of this machine by default.
 */
export function devTokenRoute(issue: (userId: string) => string, hosts = LOCAL_HOSTS): Route {
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
      if (!hosts.includes(host)) throw new HttpProblem('forbidden_host');
      return { status: 200, body: { token: issue(body.userId) } };
    },
  });
}
