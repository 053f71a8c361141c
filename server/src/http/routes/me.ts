import { receiptsBodySchema } from '@warren/protocol';
import { route, userOf, type Route } from '../route.js';
import type { Services } from './services.js';

/** What clients call on behalf of their users. */
export function meRoutes({ receipts }: Services): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/me/receipts',
      access: 'user',
      summary: 'Tell which messages were handled, and which the user has read.',
      body: receiptsBodySchema,
      replies: { 204: { description: 'It is noted.' } },
      problems: ['broker_unavailable', 'outcome_unknown'],
      handle: async (context) => {
        await receipts.take(userOf(context), context.body);
        return { status: 204 };
      },
    }),
  ];
}
