import {
  adminGroupsQuerySchema,
  adminGroupsReplySchema,
  adminMessageQuerySchema,
  adminMessageSchema,
  adminTokenSchema,
  adminUserSchema,
  adminUsersQuerySchema,
  adminUsersReplySchema,
  audienceSchema,
  auditQuerySchema,
  auditReplySchema,
  consoleBodySchema,
  feedBodySchema,
  feedReplySchema,
  purgeBodySchema,
  purgeReplySchema,
  sessionGrantSchema,
  type AdminRole,
  type AdminToken,
  type Recipient,
  type SendBody,
} from '@warren/protocol';
import type { Admin } from '../../sessions/admin-tokens.js';
import { HttpProblem } from '../../problem.js';
import { route, type Route, type RouteContext } from '../route.js';
import { deadLetterRoutes } from './dead-letters.js';
import { idIn, type Services } from './services.js';

/** What the admin console calls, and whoever else has an admin key or a role. */
export function adminRoutes(services: Services, routes: Route[]): Route[] {
  return [
    ...sessionRoutes(services),
    ...userRoutes(services),
    ...lookRoutes(services),
    ...deadLetterRoutes(services),
    ...MIRRORED.map((mirror) => asAdmin(routes, mirror)),
  ];
}

function sessionRoutes({ adminTokens, consoles }: Services): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/admin/tokens',
      access: 'viewer',
      summary:
        'Sign in: a token in place of the admin key or JWT, for half a day, and for no longer than the JWT ' +
        'or the token that was shown: after that, it takes the key or another JWT.',
      replies: { 201: { description: 'The token.', schema: adminTokenSchema } },
      problems: [],
      audit: { action: 'sign_in', target: () => '' },
      handle: (context) => {
        const admin = adminIn(context);
        const { token, expiresAt } = adminTokens.issue(admin);
        const { role, actor } = admin;
        const body: AdminToken = { token, expiresAt: expiresAt.toISOString(), role, actor };
        return { status: 201, body };
      },
    }),
    route({
      method: 'post',
      path: '/v1/admin/sessions',
      access: 'viewer',
      summary:
        'Open a console on queues of its own, or renew the one that is named; it ends with the token that was shown.',
      body: consoleBodySchema,
      replies: { 201: { description: 'The session grant.', schema: sessionGrantSchema } },
      problems: ['broker_unavailable'],
      handle: async (context) => ({
        status: 201,
        body: await consoles.open(adminIn(context), context.body),
      }),
    }),
    route({
      method: 'put',
      path: '/v1/admin/sessions/{id}/feed',
      access: 'viewer',
      summary:
        'Say which events are to arrive, and whom to watch; for a minute, then say it again. No longer than the ' +
        'token that was shown.',
      body: feedBodySchema,
      replies: { 200: { description: 'They arrive.', schema: feedReplySchema } },
      problems: ['console_unknown', 'invalid_id', 'broker_unavailable', 'outcome_unknown'],
      handle: async (context) => {
        const id = context.params['id'] ?? '';
        const { expiresAt } = await consoles.feed(adminIn(context), id, context.body);
        return { status: 200, body: { expiresAt: new Date(expiresAt).toISOString() } };
      },
    }),
    route({
      method: 'delete',
      path: '/v1/admin/sessions/{id}',
      access: 'viewer',
      summary: 'Close a console: its queues go.',
      replies: { 204: { description: 'Nothing of it is left.' } },
      problems: ['broker_unavailable'],
      handle: async (context) => {
        await consoles.end(adminIn(context), context.params['id'] ?? '');
        return { status: 204 };
      },
    }),
  ];
}

function userRoutes({ directory, presence, users, headcount }: Services): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/admin/users',
      access: 'viewer',
      summary: 'Look for users by a part of their id, page by page.',
      query: adminUsersQuerySchema,
      replies: { 200: { description: 'Those found.', schema: adminUsersReplySchema } },
      problems: ['invalid_id', 'broker_unavailable'],
      handle: async ({ query }) => {
        const found = await directory.listUsers(query);
        const last = found.length === query.limit ? found.at(-1)?.userId : undefined;
        const online = new Set(
          (await presence.of(found.map(({ userId }) => userId))).users
            .filter((user) => user.online)
            .map(({ user }) => user),
        );
        return {
          status: 200,
          body: {
            users: found.map(({ userId, devices, lastSeenAt }) => ({
              user: userId,
              online: online.has(userId),
              devices,
              lastSeenAt: lastSeenAt === null ? null : new Date(lastSeenAt).toISOString(),
            })),
            ...(last !== undefined && { next: last }),
          },
        };
      },
    }),
    route({
      method: 'get',
      path: '/v1/admin/users/{id}',
      access: 'viewer',
      summary: 'Devices, waiting messages, groups, push devices.',
      replies: { 200: { description: 'What is known.', schema: adminUserSchema } },
      problems: ['invalid_id', 'user_unknown', 'broker_unavailable'],
      handle: async (context) => ({ status: 200, body: await users.whole(idIn(context)) }),
    }),
    route({
      method: 'post',
      path: '/v1/admin/users/{id}/purge',
      access: 'operator',
      summary: "Throw away what waits in a user's mailboxes, or in that of one device.",
      body: purgeBodySchema,
      replies: { 200: { description: 'It is gone.', schema: purgeReplySchema } },
      problems: ['invalid_id', 'user_unknown', 'broker_unavailable'],
      audit: { action: 'user.purge', target: ({ params }) => params['id'] ?? '' },
      handle: async (context) => ({
        status: 200,
        body: { purged: await users.purge(idIn(context), context.body.deviceId) },
      }),
    }),
    route({
      method: 'get',
      path: '/v1/admin/audience',
      access: 'viewer',
      summary: 'How many a broadcast reaches.',
      replies: { 200: { description: 'So many.', schema: audienceSchema } },
      problems: [],
      handle: async () => ({
        status: 200,
        body: { ...(await directory.count()), online: headcount.now?.devices ?? null },
      }),
    }),
  ];
}

function lookRoutes({ directory, messageLives, audit }: Services): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/admin/messages/{id}',
      access: 'viewer',
      summary: 'What became of a message, tracked or not, step by step.',
      query: adminMessageQuerySchema,
      replies: { 200: { description: 'What is known.', schema: adminMessageSchema } },
      problems: ['invalid_id', 'message_unknown'],
      handle: async ({ params, query }) => ({
        status: 200,
        body: await messageLives.look(params['id'] ?? '', query),
      }),
    }),
    route({
      method: 'get',
      path: '/v1/admin/groups',
      access: 'viewer',
      summary: 'Look for groups by a part of their id, page by page.',
      query: adminGroupsQuerySchema,
      replies: { 200: { description: 'Those found.', schema: adminGroupsReplySchema } },
      problems: ['invalid_id'],
      handle: async ({ query }) => {
        const groups = await directory.listGroups(query);
        const last = groups.length === query.limit ? groups.at(-1)?.groupId : undefined;
        return {
          status: 200,
          body: {
            groups: groups.map(({ createdAt, ...group }) => ({
              ...group,
              createdAt: new Date(createdAt).toISOString(),
            })),
            ...(last !== undefined && { next: last }),
          },
        };
      },
    }),
    route({
      method: 'get',
      path: '/v1/admin/audit',
      access: 'viewer',
      summary: 'Who did what, the newest first.',
      query: auditQuerySchema,
      replies: { 200: { description: 'The entries.', schema: auditReplySchema } },
      problems: [],
      handle: async ({ query }) => {
        const entries = await audit.list(query);
        const next = entries.length === query.limit ? entries.at(-1)?.id : undefined;
        return {
          status: 200,
          body: {
            entries: entries.map((entry) => ({ ...entry, at: new Date(entry.at).toISOString() })),
            ...(next !== undefined && { next }),
          },
        };
      },
    }),
  ];
}

/** A route of back ends that admins have, too, under `/v1/admin`. */
interface Mirror {
  method: Route['method'];
  path: string;
  role: AdminRole;
  /** Of operators: what the audit log calls it. */
  action?: string;
  target?: (context: RouteContext<unknown>) => string;
}

const inPath = ({ params }: RouteContext<unknown>): string => Object.values(params).join(' ');

const MIRRORED: Mirror[] = [
  { method: 'get', path: '/v1/users/{id}/timeline', role: 'viewer' },
  { method: 'get', path: '/v1/history', role: 'viewer' },
  { method: 'get', path: '/v1/groups/{id}', role: 'viewer' },
  { method: 'get', path: '/v1/groups/{id}/members', role: 'viewer' },
  {
    method: 'post',
    path: '/v1/users/{id}/disconnect',
    role: 'operator',
    action: 'user.disconnect',
  },
  { method: 'post', path: '/v1/users/{id}/revoke', role: 'operator', action: 'user.revoke' },
  { method: 'delete', path: '/v1/users/{id}', role: 'operator', action: 'user.remove' },
  { method: 'put', path: '/v1/groups/{id}', role: 'operator', action: 'group.put' },
  { method: 'delete', path: '/v1/groups/{id}', role: 'operator', action: 'group.remove' },
  {
    method: 'put',
    path: '/v1/groups/{id}/members/{user}',
    role: 'operator',
    action: 'group.add',
  },
  {
    method: 'delete',
    path: '/v1/groups/{id}/members/{user}',
    role: 'operator',
    action: 'group.take_out',
  },
  {
    method: 'post',
    path: '/v1/messages',
    role: 'operator',
    action: 'message.send',
    target: ({ body }) => nameOf((body as SendBody).to),
  },
];

function asAdmin(routes: Route[], { method, path, role, action, target }: Mirror): Route {
  const original = routes.find((entry) => entry.method === method && entry.path === path);
  if (original === undefined) throw new TypeError(`There is no route ${method} ${path}.`);
  return {
    ...original,
    path: path.replace('/v1/', '/v1/admin/'),
    access: role,
    ...(action !== undefined && { audit: { action, target: target ?? inPath } }),
  };
}

/** To whom, in the audit log. */
function nameOf(to: Recipient): string {
  if ('user' in to) return `user:${to.user}`;
  if ('device' in to) return `user:${to.device.user} device:${to.device.device}`;
  if ('users' in to) return `${String(to.users.length)} users`;
  return 'group' in to ? `group:${to.group}` : 'everybody';
}

function adminIn({ admin }: RouteContext<unknown>): Admin {
  if (admin === undefined) throw new HttpProblem('token_invalid');
  return admin;
}
