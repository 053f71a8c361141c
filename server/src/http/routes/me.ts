import {
  answerBodySchema,
  clientSendBodySchema,
  clientSendReplySchema,
  receiptsBodySchema,
} from '@warren/protocol';
import { HttpProblem } from '../../problem.js';
import { route, userOf, type Route } from '../route.js';
import type { Services } from './services.js';

/** What clients call on behalf of their users. */
export function meRoutes({ receipts, clientMessages, answer }: Services): Route[] {
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
    route({
      method: 'post',
      path: '/v1/me/messages',
      access: 'user',
      summary:
        'Send to a user, or to a group that one belongs to, if the policy of the application allows it. ' +
        'By default it allows nothing.',
      body: clientSendBodySchema,
      replies: { 202: { description: 'The broker has it.', schema: clientSendReplySchema } },
      problems: [
        'invalid_id',
        'not_allowed',
        'not_a_member',
        'policy_unavailable',
        'broker_unavailable',
        'outcome_unknown',
      ],
      handle: async (context) => ({
        status: 202,
        body: await clientMessages.send(userOf(context), context.body),
      }),
    }),
    route({
      method: 'post',
      path: '/v1/me/replies/{correlationId}',
      access: 'user',
      summary: 'Answer a request.',
      body: answerBodySchema,
      replies: { 204: { description: 'Whoever has asked has it.' } },
      problems: ['request_unknown', 'broker_unavailable', 'outcome_unknown'],
      handle: async (context) => {
        const { reply = null, failed } = context.body;
        const isAwaited = await answer({
          userId: userOf(context),
          correlationId: context.params['correlationId'] ?? '',
          reply: failed ? undefined : { data: reply },
        });
        if (!isAwaited) throw new HttpProblem('request_unknown');
        return { status: 204 };
      },
    }),
  ];
}
