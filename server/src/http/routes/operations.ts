import { z } from 'zod';
import type { Metrics } from '../../metrics.js';
import { route, type Route } from '../route.js';
import type { Services } from './services.js';

export function operationRoutes({ metrics, servesMetrics, health }: Services): Route[] {
  const statusSchema = z.object({
    status: z.enum(['ok', 'unavailable']),
    checks: z.record(z.string(), z.enum(['up', 'down'])).optional(),
    deadMailboxes: z
      .int()
      .optional()
      .describe('That RabbitMQ could not bring back, and that are not replaced yet.'),
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
        const { checks, deadMailboxes } = await health();
        const degraded = deadMailboxes > 0 && { deadMailboxes };
        const ok = Object.values(checks).every((check) => check === 'up');
        return {
          status: ok ? 200 : 503,
          body: { status: ok ? 'ok' : 'unavailable', checks, ...degraded },
        };
      },
    }),
    ...(servesMetrics ? [metricsRoute(metrics)] : []),
  ];
}

function metricsRoute({ registry }: Metrics): Route {
  return route({
    method: 'get',
    path: '/metrics',
    access: 'none',
    summary: 'Metrics in the Prometheus format.',
    replies: { 200: { description: 'Text.' } },
    problems: [],
    handle: async () => ({
      status: 200,
      body: await registry.metrics(),
      contentType: registry.contentType,
    }),
  });
}
