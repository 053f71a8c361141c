import {
  groupBodySchema,
  groupStateSchema,
  memberBodySchema,
  memberSchema,
  membersBodySchema,
  membersPageSchema,
  membersQuerySchema,
  membersReplySchema,
} from '@warren/protocol';
import { route, type Route } from '../route.js';
import { idIn, type Services } from './services.js';

const UNAVAILABLE = ['broker_unavailable', 'database_unavailable'] as const;

export function groupRoutes(services: Services): Route[] {
  return [...wholeRoutes(services), ...memberRoutes(services)];
}

function wholeRoutes({ groups }: Services): Route[] {
  return [
    route({
      method: 'put',
      path: '/v1/groups/{id}',
      access: 'service',
      summary: 'Make a group, unless there is one; say what its members see of its history.',
      body: groupBodySchema,
      replies: {
        200: { description: 'There was one.', schema: groupStateSchema },
        201: { description: 'It was made.', schema: groupStateSchema },
      },
      problems: ['invalid_id', ...UNAVAILABLE],
      handle: async (context) => {
        const { state, created } = await groups.put(idIn(context), context.body);
        return { status: created ? 201 : 200, body: state };
      },
    }),
    route({
      method: 'get',
      path: '/v1/groups/{id}',
      access: 'service',
      summary: 'How many members a group has.',
      replies: { 200: { description: 'What is known.', schema: groupStateSchema } },
      problems: ['invalid_id', 'group_unknown', 'database_unavailable'],
      handle: async (context) => ({ status: 200, body: await groups.state(idIn(context)) }),
    }),
    route({
      method: 'delete',
      path: '/v1/groups/{id}',
      access: 'service',
      summary: 'Remove a group; its members go on without it.',
      replies: { 204: { description: 'Nothing of it is left.' } },
      problems: ['invalid_id', 'group_unknown', ...UNAVAILABLE],
      handle: async (context) => {
        await groups.remove(idIn(context));
        return { status: 204 };
      },
    }),
  ];
}

function memberRoutes({ groups }: Services): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/groups/{id}/members',
      access: 'service',
      summary: 'Who is in a group, page by page.',
      query: membersQuerySchema,
      replies: { 200: { description: 'A page.', schema: membersPageSchema } },
      problems: ['invalid_id', 'group_unknown', 'database_unavailable'],
      handle: async (context) => ({
        status: 200,
        body: await groups.members(idIn(context), context.query),
      }),
    }),
    route({
      method: 'post',
      path: '/v1/groups/{id}/members',
      access: 'service',
      summary:
        'Take users into a group and others out, up to 10,000 each. A group that is to have members is ' +
        'made when it does not exist.',
      body: membersBodySchema,
      replies: { 200: { description: 'How many that changed.', schema: membersReplySchema } },
      problems: ['invalid_id', 'group_unknown', ...UNAVAILABLE],
      handle: async (context) => {
        const { add = [], remove = [] } = context.body;
        return { status: 200, body: await groups.change(idIn(context), add, remove) };
      },
    }),
    route({
      method: 'get',
      path: '/v1/groups/{id}/members/{user}',
      access: 'service',
      summary: 'Whether a user is in a group, and since when.',
      replies: { 200: { description: 'The user is.', schema: memberSchema } },
      problems: ['invalid_id', 'group_unknown', 'member_unknown', 'database_unavailable'],
      handle: async (context) => ({
        status: 200,
        body: await groups.member(idIn(context), idIn(context, 'user')),
      }),
    }),
    route({
      method: 'put',
      path: '/v1/groups/{id}/members/{user}',
      access: 'service',
      summary: 'Take a user into a group, which is made when it does not exist. Idempotent.',
      body: memberBodySchema,
      replies: { 204: { description: 'The user is a member.' } },
      problems: ['invalid_id', 'group_unknown', ...UNAVAILABLE],
      handle: async (context) => {
        await groups.change(idIn(context), [idIn(context, 'user')], []);
        return { status: 204 };
      },
    }),
    route({
      method: 'delete',
      path: '/v1/groups/{id}/members/{user}',
      access: 'service',
      summary: 'Take a user out of a group. Idempotent.',
      replies: { 204: { description: 'The user is no member.' } },
      problems: ['invalid_id', 'group_unknown', ...UNAVAILABLE],
      handle: async (context) => {
        await groups.change(idIn(context), [], [idIn(context, 'user')]);
        return { status: 204 };
      },
    }),
  ];
}
