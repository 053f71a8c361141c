import {
  historyQuerySchema,
  historyReplySchema,
  ownHistoryQuerySchema,
  recoveredBodySchema,
  recoveryQuerySchema,
  recoveryReplySchema,
} from '@warren/protocol';
import { route, userOf, type Route, type RouteReply } from '../route.js';
import type { Services } from './services.js';

export function historyRoutes({ history, recovery }: Services): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/history',
      access: 'service',
      summary:
        'Stored messages, page by page: what went to a user (alone, on a list, in a group, to everybody), ' +
        'what two users have sent to each other, or what went to a group.',
      query: historyQuerySchema,
      replies: { 200: { description: 'A page.', schema: historyReplySchema } },
      problems: ['invalid_id', 'group_unknown', 'message_unknown', 'database_unavailable'],
      handle: async ({ query }) => asJson(await history.read(query)),
    }),
    route({
      method: 'get',
      path: '/v1/me/history',
      access: 'user',
      summary: 'As `GET /v1/history`, of what one may see.',
      query: ownHistoryQuerySchema,
      replies: { 200: { description: 'A page.', schema: historyReplySchema } },
      problems: ['invalid_id', 'not_a_member', 'message_unknown'],
      handle: async (context) => asJson(await history.readOwn(userOf(context), context.query)),
    }),
    route({
      method: 'get',
      path: '/v1/me/recovery',
      access: 'user',
      summary:
        'What a device has missed that its session calls `missed`, from before the last message that it ' +
        'has handled, the oldest first. Answers when the history has caught up.',
      query: recoveryQuerySchema,
      replies: { 200: { description: 'A page.', schema: recoveryReplySchema } },
      problems: ['invalid_id', 'session_ended', 'history_behind', 'broker_unavailable'],
      handle: async (context) => asJson(await recovery.read(userOf(context), context.query)),
    }),
    route({
      method: 'post',
      path: '/v1/me/recovery',
      access: 'user',
      summary: 'The device has handled what it had missed.',
      body: recoveredBodySchema,
      replies: { 204: { description: 'Its sessions do not call it missed any more.' } },
      problems: ['invalid_id', 'session_ended'],
      handle: async (context) => {
        await recovery.finish(userOf(context), context.body);
        return { status: 204 };
      },
    }),
  ];
}

const asJson = (body: string): RouteReply => ({
  status: 200,
  body,
  contentType: 'application/json',
});
