import {
  batchBodySchema,
  batchReplySchema,
  messageStateSchema,
  outcomesQuerySchema,
  requestBodySchema,
  requestReplySchema,
  sendBodySchema,
  sendReplySchema,
  type BatchReply,
} from '@warren/protocol';
import { route, type Route } from '../route.js';
import type { Services } from './services.js';

export function messageRoutes({ sender, tracker, requests }: Services): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/messages',
      access: 'service',
      summary:
        'Send a message to a user, a device, a list of users, a group or everybody; answers after the ' +
        'broker has confirmed it.',
      body: sendBodySchema,
      replies: { 202: { description: 'What became of it.', schema: sendReplySchema } },
      problems: [
        'invalid_id',
        'group_unknown',
        'id_reused',
        'overloaded',
        'broker_unavailable',
        'outcome_unknown',
        'database_unavailable',
      ],
      handle: async ({ body, caller }) => ({ status: 202, body: await sender.send(body, caller) }),
    }),
    route({
      method: 'post',
      path: '/v1/messages/batch',
      access: 'service',
      summary:
        'Send up to 1,000 messages. Each has a result of its own, in the order of the request; those to ' +
        'one user arrive in that order.',
      body: batchBodySchema,
      replies: { 202: { description: 'What became of each.', schema: batchReplySchema } },
      problems: ['overloaded'],
      handle: async ({ body, caller }) => {
        const results = await sender.sendBatch(body.messages, caller);
        return { status: 202, body: { results } satisfies BatchReply };
      },
    }),
    route({
      method: 'post',
      path: '/v1/requests',
      access: 'service',
      summary: 'Ask a client that is connected, and wait for its answer.',
      body: requestBodySchema,
      replies: { 200: { description: 'What it has answered.', schema: requestReplySchema } },
      problems: [
        'invalid_id',
        'user_unknown',
        'user_offline',
        'request_failed',
        'request_timeout',
        'broker_unavailable',
        'outcome_unknown',
        'database_unavailable',
      ],
      handle: async ({ body }) => ({ status: 200, body: { reply: await requests.ask(body) } }),
    }),
    route({
      method: 'get',
      path: '/v1/messages/{id}',
      access: 'service',
      summary: 'What has become of a tracked message for each recipient, page by page.',
      query: outcomesQuerySchema,
      replies: { 200: { description: 'As far as it is known.', schema: messageStateSchema } },
      problems: ['invalid_id', 'message_unknown', 'message_not_tracked', 'database_unavailable'],
      handle: async ({ params, query }) => ({
        status: 200,
        body: await tracker.state(params['id'] ?? '', query),
      }),
    }),
  ];
}
