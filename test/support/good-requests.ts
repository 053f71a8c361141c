import type { GoodRequest } from './edges.js';

/** What there is: a user with a session on the device `phone`, in a group, and a message that is followed. */
export interface Fixture {
  user: string;
  group: string;
  message: string;
  /** A session of the admin console. */
  console: string;
}

const TYPE_AND_DATA = { type: 'note', data: 1 };
const TEXT = { title: 'Anna', body: 'Are you there?' };
const PUSH = {
  ...TEXT,
  localized: { de: TEXT },
  afterMs: 86_400_000,
  badge: 1,
  sound: 'ping',
  collapseId: 'c',
  ttlMs: 1000,
};
const PREFERENCES = {
  mutedGroups: ['g'],
  quietHours: { from: '22:00', to: '07:00', timeZone: 'Europe/Berlin' },
  collapse: 'message',
};
const PUSH_DEVICE = { language: 'de', preferences: PREFERENCES };
const HANDLED = { id: 'm', type: 'note', error: 'no_handler', name: 'TypeError' };
const RECEIPTS = {
  deviceId: 'phone',
  delivered: ['m'],
  agoMs: [1],
  read: ['m'],
  superseded: ['m'],
  handled: [{ ...HANDLED, tookMs: 1, agoMs: 1 }],
};
const SUBSCRIPTION = { endpoint: 'https://push.example/1', keys: { p256dh: 'a', auth: 'b' } };
const NOBODYS_REPLY = `${'0'.repeat(32)}.${'0'.repeat(32)}`;

function sends({ user, group }: Fixture): object[] {
  const options = { ...TYPE_AND_DATA, from: 'bob', delivery: 'queued', ttlMs: 1000 };
  return [
    { to: { user }, ...options, collapseKey: 'k', track: true, push: PUSH },
    { to: { device: { user, device: 'phone' } }, ...TYPE_AND_DATA },
    { to: { users: [user] }, ...TYPE_AND_DATA, delivery: 'stored', ttlMs: 1000 },
    { to: { group }, ...TYPE_AND_DATA, id: `${group}-message` },
  ];
}

const page = { limit: '5' };

function ofMessages(fixture: Fixture): Record<string, GoodRequest> {
  const { user, message } = fixture;
  const nobody = `${user}-nobody`;
  return {
    'post /v1/messages': { bodies: sends(fixture), status: 202 },
    'post /v1/messages/batch': {
      bodies: [{ messages: [{ to: { user }, ...TYPE_AND_DATA }] }],
      status: 202,
    },
    'get /v1/messages/{id}': { path: { id: message }, query: { after: 'a', ...page }, status: 200 },
    'post /v1/requests': {
      bodies: [
        { to: { user: nobody }, ...TYPE_AND_DATA, timeoutMs: 1 },
        { to: { device: { user: nobody, device: 'phone' } }, ...TYPE_AND_DATA },
      ],
      status: 404,
    },
    'get /v1/history': { query: { user, with: 'bob', ...page, order: 'asc' }, status: 200 },
    'get /v1/me/history': { query: { with: 'bob', ...page, order: 'asc' }, status: 200 },
    'get /v1/me/recovery': {
      query: { deviceId: 'phone', lastAt: '1', ...page },
      status: 200,
    },
    'post /v1/me/recovery': { bodies: [{ deviceId: 'phone', mark: '1' }], status: 204 },
    'post /v1/me/receipts': { bodies: [RECEIPTS], status: 204 },
    'post /v1/me/messages': {
      bodies: [
        { to: { user }, ...TYPE_AND_DATA, delivery: 'queued', ttlMs: 1000, collapseKey: 'k' },
        { to: { group: fixture.group }, ...TYPE_AND_DATA, id: 'own' },
      ],
      status: 202,
    },
    'post /v1/me/replies/{correlationId}': {
      path: { correlationId: NOBODYS_REPLY },
      bodies: [{ reply: 1 }],
      status: 404,
    },
  };
}

function ofUsers({ user }: Fixture): Record<string, GoodRequest> {
  const path = { id: user };
  const deviceId = 'tablet';
  return {
    'post /v1/presence': { bodies: [{ users: [user] }], status: 200 },
    'get /v1/presence': { query: { users: user }, status: 200 },
    'put /v1/users/{id}': { path, bodies: [{ devices: ['phone'] }], status: 200 },
    'get /v1/users/{id}': { path, status: 200 },
    'get /v1/users/{id}/timeline': {
      path,
      query: { since: '2024-01-01T00:00:00Z', before: '2124-01-01T00:00:00Z', ...page },
      status: 200,
    },
    'get /v1/users/{id}/export': { path, status: 200 },
    'delete /v1/users/{id}': { path: { id: `${user}-nobody` }, status: 404 },
    'post /v1/users/{id}/disconnect': { path, bodies: [{ deviceId }], status: 204 },
    'post /v1/users/{id}/revoke': { path, bodies: [{ deviceId }], status: 204 },
    'post /v1/users/{id}/tokens': { path, bodies: [{ ttlSeconds: 60 }], status: 201 },
    'post /v1/sessions': {
      bodies: [
        {
          ...{ deviceId, sessionId: 's', installationId: 'i', name: 'n', platform: 'p' },
          ...{ abandoned: true, hasHandled: true, passing: true },
        },
      ],
      status: 201,
    },
    'delete /v1/sessions/{deviceId}': { path: { deviceId }, status: 204 },
    'get /v1/me/devices': { status: 200 },
    'get /v1/me/push-devices': { status: 200 },
    'put /v1/me/push-devices/{id}': {
      path: { id: 'phone' },
      bodies: [
        { provider: 'webhook', token: 't', ...PUSH_DEVICE },
        { provider: 'webpush', subscription: SUBSCRIPTION, ...PUSH_DEVICE },
        { provider: 'fcm', token: 't', ...PUSH_DEVICE },
      ],
      status: 200,
    },
    'delete /v1/me/push-devices/{id}': { path: { id: 'phone' }, status: 204 },
  };
}

function ofGroups({ user, group }: Fixture): Record<string, GoodRequest> {
  const path = { id: group };
  const member = { id: group, user };
  return {
    'put /v1/groups/{id}': { path, bodies: [{ history: 'all' }], status: 200 },
    'get /v1/groups/{id}': { path, status: 200 },
    'delete /v1/groups/{id}': { path: { id: `${group}-none` }, status: 404 },
    'get /v1/groups/{id}/members': { path, query: { after: 'a', ...page }, status: 200 },
    'post /v1/groups/{id}/members': {
      path,
      bodies: [{ add: [user], remove: ['nobody'] }],
      status: 200,
    },
    'get /v1/groups/{id}/members/{user}': { path: member, status: 200 },
    'put /v1/groups/{id}/members/{user}': { path: member, bodies: [{}], status: 204 },
    'delete /v1/groups/{id}/members/{user}': { path: { ...member, user: 'nobody' }, status: 204 },
  };
}

function ofAdmins(fixture: Fixture): Record<string, GoodRequest> {
  const { user, message } = fixture;
  const search = { search: 'a', after: 'a', ...page };
  const letters = { reason: 'expired', user, type: 'note' };
  const chosen = [{ ids: [Number.MAX_SAFE_INTEGER] }, { all: true, ...letters }];
  return {
    'post /v1/admin/tokens': { status: 201 },
    'post /v1/admin/sessions': { bodies: [{ deviceId: 'd', sessionId: 's' }], status: 201 },
    'put /v1/admin/sessions/{id}/feed': {
      path: { id: fixture.console },
      bodies: [{ events: ['user.#'], watch: [user] }],
      status: 200,
    },
    'delete /v1/admin/sessions/{id}': { path: { id: 'none' }, status: 204 },
    'get /v1/admin/users': { query: search, status: 200 },
    'get /v1/admin/users/{id}': { path: { id: user }, status: 200 },
    'post /v1/admin/users/{id}/purge': {
      path: { id: user },
      bodies: [{ deviceId: 'phone' }],
      status: 200,
    },
    'get /v1/admin/audience': { status: 200 },
    'get /v1/admin/messages/{id}': {
      path: { id: message },
      query: { after: 'a', ...page },
      status: 200,
    },
    'get /v1/admin/groups': { query: search, status: 200 },
    'get /v1/admin/audit': { query: { after: '1', ...page }, status: 200 },
    'get /v1/admin/dead-letters': { query: { ...letters, after: '1', ...page }, status: 200 },
    'post /v1/admin/dead-letters/resend': { bodies: chosen, status: 200 },
    'post /v1/admin/dead-letters/discard': { bodies: chosen, status: 200 },
    'get /v1/admin/dead-letters/{id}': {
      path: { id: String(Number.MAX_SAFE_INTEGER) },
      status: 404,
    },
  };
}

/** Of every route that takes anything, a request that it takes; under `/v1/admin/`, those that admins share. */
export function goodRequests(fixture: Fixture): Map<string, GoodRequest> {
  const own = { ...ofMessages(fixture), ...ofUsers(fixture), ...ofGroups(fixture) };
  const shared = Object.entries(own).map(
    ([name, good]) => [name.replace(' /v1/', ' /v1/admin/'), good] as const,
  );
  return new Map([...shared, ...Object.entries(own), ...Object.entries(ofAdmins(fixture))]);
}

/** They take nothing, and tell how the server is. */
export const WITHOUT_INPUT = ['/health/live', '/health/ready', '/metrics', '/openapi.json'];
