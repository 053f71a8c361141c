import { FRESH, type Good } from './edges.js';
import type { PushBed } from './push-bed.js';
import { TRANSPORTS, uniqueUser } from './stack.js';
import { until } from './until.js';

/** Whom and what the good requests are about. */
export interface Cast {
  /** Who calls the routes of users; a client of it answers `echo`. */
  user: string;
  /** Whom messages go to; it is away, and has devices for pushes. */
  reader: string;
  /** Whoever is parted with. */
  leaver: string;
  group: string;
  messageId: string;
  consoleId: string;
  deadLetterId: string;
}

/** Which of the user's devices is connected. */
const CONNECTED = 'amqp';
const NOBODY = 'nobody-at-all';
const PUSH = { title: 'Anna', body: 'Are you there?' };

/** @param bed with a policy that lets clients send. */
export async function castOf(bed: PushBed): Promise<Cast> {
  const { stack } = bed;
  const [user, reader, leaver] = [uniqueUser(), uniqueUser(), uniqueUser()];
  const group = `edges-${user}`;
  const client = stack.client(user, TRANSPORTS.amqp());
  client.answer('echo', ({ data }) => data);
  client.handle('*', () => undefined);
  client.start();
  await client.ready();
  await stack.session(user, { deviceId: 'phone' });
  await stack.api('PUT', `/v1/users/${reader}`, { devices: ['phone'] });
  await bed.register(reader);
  const subscription = bed.browsers.subscribe(reader);
  await bed.register(reader, 'tablet', { provider: 'webpush', subscription });
  await stack.api('POST', `/v1/groups/${group}/members`, { add: [user] });
  const sent = await stack.send({ user: reader }, 'hello', { track: true });
  const { sessionId } = (await stack.admin('POST', 'sessions', {})).body;
  const cast = { user, reader, leaver, group, messageId: sent.body.id, consoleId: sessionId };
  return { ...cast, deadLetterId: await deadLetterIn(bed) };
}

/** Of a message whose time was over at once. */
async function deadLetterIn({ stack }: PushBed): Promise<string> {
  const user = uniqueUser();
  await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
  await stack.send({ user }, 'too late', { ttlMs: 1 });
  let id: number | undefined;
  await until(async () => {
    id = (await stack.admin('GET', `dead-letters?user=${user}`)).body.letters[0]?.id;
    return id !== undefined;
  }, 'a dead letter');
  return String(id);
}

/** What a route needs before each of its good requests, by the route. */
export const PREPARATIONS: Record<string, (bed: PushBed, cast: Cast) => Promise<unknown>> = {
  'DELETE /v1/users/{id}': ({ stack }, { leaver }) => stack.api('PUT', `/v1/users/${leaver}`, {}),
  'DELETE /v1/groups/{id}': ({ stack }, { leaver }) => stack.api('PUT', `/v1/groups/${leaver}`, {}),
  'PUT /v1/admin/sessions/{id}/feed': async ({ stack }, cast) => {
    cast.consoleId = (await stack.admin('POST', 'sessions', {})).body.sessionId;
  },
  'GET /v1/admin/dead-letters/{id}': async (bed, cast) => {
    cast.deadLetterId = await deadLetterIn(bed);
  },
};

/** By method and path. Those below `/v1/admin/` that are not here are as those below `/v1/`. */
export const goodRequests = (bed: PushBed, cast: Cast): Record<string, Good[]> => ({
  ...messages(cast),
  ...histories(cast),
  ...groups(cast),
  ...users(cast),
  ...sessions(),
  ...clients(cast),
  ...pushes(bed, cast),
  ...admins(cast),
  ...Object.fromEntries(
    ['/health/live', '/health/ready', '/metrics', '/openapi.json'].map((path) => [
      `GET ${path}`,
      [{}],
    ]),
  ),
});

function messages({ user, reader, group, messageId }: Cast): Record<string, Good[]> {
  const note = { type: 'note', data: { text: 'hi' } };
  const whole = {
    ...note,
    ...{ to: { user: reader }, id: FRESH, from: user, delivery: 'stored', ttlMs: 60_000 },
    ...{ collapseKey: 'score', track: true },
    push: {
      ...PUSH,
      ...{ localized: { de: PUSH }, data: { chat: 1 }, afterMs: 0, badge: 1, sound: 'ping' },
      ...{ collapseId: 'chat', ttlMs: 60_000 },
    },
  };
  const others = [
    { device: { user: reader, device: 'phone' } },
    { users: [reader, NOBODY] },
    { group },
  ].map((to) => ({ body: { ...note, to } }));
  const echo = { type: 'echo', data: 1, timeoutMs: 3000 };
  return {
    'POST /v1/messages': [{ body: whole }, ...others],
    'POST /v1/messages/batch': [{ body: { messages: [{ ...note, to: { user: reader } }] } }],
    'GET /v1/messages/{id}': [{ path: { id: messageId }, query: { after: 'a', limit: '10' } }],
    'POST /v1/requests': [
      { body: { ...echo, to: { user } } },
      { body: { ...echo, to: { device: { user, device: CONNECTED } } } },
    ],
  };
}

function histories({ user, reader, group }: Cast): Record<string, Good[]> {
  const page = { limit: '10', order: 'asc' };
  const known = { deviceId: 'phone', last: 'a', oldest: 'a', lastAt: '1', limit: '10' };
  return {
    'GET /v1/history': [
      { query: { ...page, user: reader } },
      { query: { ...page, user: reader, with: user } },
      { query: { ...page, group } },
    ],
    'GET /v1/me/history': [
      { query: page },
      { query: { ...page, with: reader } },
      { query: { ...page, group } },
    ],
    'GET /v1/me/recovery': [{ query: known }, { query: { deviceId: 'phone', cursor: '0-1' } }],
    'POST /v1/me/recovery': [{ body: { deviceId: 'phone', mark: '1' } }],
  };
}

function groups({ user, reader, leaver, group }: Cast): Record<string, Good[]> {
  const path = { id: group };
  return {
    'PUT /v1/groups/{id}': [{ path, body: { history: 'all' } }],
    'GET /v1/groups/{id}': [{ path }],
    'DELETE /v1/groups/{id}': [{ path: { id: leaver } }],
    'GET /v1/groups/{id}/members': [{ path, query: { after: 'a', limit: '10' } }],
    'POST /v1/groups/{id}/members': [{ path, body: { add: [reader], remove: [leaver] } }],
    'GET /v1/groups/{id}/members/{user}': [{ path: { ...path, user } }],
    'PUT /v1/groups/{id}/members/{user}': [{ path: { ...path, user: reader }, body: {} }],
    'DELETE /v1/groups/{id}/members/{user}': [{ path: { ...path, user: reader } }],
  };
}

function users({ reader, leaver }: Cast): Record<string, Good[]> {
  const path = { id: reader };
  const hour = new Date(Date.now() - 3_600_000).toISOString();
  const query = { since: hour, before: new Date().toISOString(), limit: '10' };
  return {
    'GET /v1/presence': [{ query: { users: reader } }],
    'POST /v1/presence': [{ body: { users: [reader] } }],
    'PUT /v1/users/{id}': [{ path, body: { devices: ['phone'] } }],
    'GET /v1/users/{id}': [{ path }],
    'DELETE /v1/users/{id}': [{ path: { id: leaver } }],
    'GET /v1/users/{id}/timeline': [{ path, query }],
    'GET /v1/users/{id}/export': [{ path }],
    'POST /v1/users/{id}/disconnect': [{ path, body: { deviceId: 'phone' } }],
    'POST /v1/users/{id}/revoke': [{ path: { id: leaver }, body: { deviceId: 'phone' } }],
    'POST /v1/users/{id}/tokens': [{ path, body: { ttlSeconds: 60 } }],
  };
}

function sessions(): Record<string, Good[]> {
  const flags = { abandoned: false, hasHandled: true, passing: false };
  const shown = { name: 'Edge', platform: 'Linux' };
  const installationId = 'edges';
  return {
    'POST /v1/sessions': [{ body: { deviceId: 'desktop', installationId, ...flags, ...shown } }],
    'DELETE /v1/sessions/{deviceId}': [{ path: { deviceId: 'gone' }, query: { installationId } }],
    'GET /v1/me/devices': [{}],
  };
}

function clients({ reader, group }: Cast): Record<string, Good[]> {
  const note = { type: 'note', data: { text: 'hi' } };
  const more = { id: FRESH, delivery: 'stored', ttlMs: 60_000, collapseKey: 'score' };
  const handled = { id: 'a', type: 'note', error: 'handler_failed', name: 'TypeError' };
  const receipts = {
    ...{ deviceId: 'phone', delivered: [FRESH], agoMs: [1], read: ['a'], watched: true },
    handled: [{ ...handled, tookMs: 1, agoMs: 1 }],
  };
  const hex = '0'.repeat(32);
  return {
    'POST /v1/me/receipts': [{ body: receipts }],
    'POST /v1/me/messages': [
      { body: { ...note, ...more, to: { user: reader } } },
      { body: { ...note, to: { group } } },
    ],
    // Nobody waits for it: those that somebody waits for are given by the client that answers.
    'POST /v1/me/replies/{correlationId}': [
      { path: { correlationId: `${hex}.${hex}` }, body: { reply: 1, failed: false }, status: 404 },
    ],
  };
}

function pushes({ browsers }: PushBed, { user, group }: Cast): Record<string, Good[]> {
  const quietHours = { from: '22:00', to: '06:00', timeZone: 'Europe/Berlin' };
  const preferences = { mutedGroups: [group], quietHours, collapse: 'message' };
  const wishes = { language: 'de', preferences };
  const { endpoint, keys } = browsers.subscribe(user);
  const bodies = [
    { provider: 'webpush', subscription: { endpoint, keys }, ...wishes },
    { provider: 'fcm', token: `fcm-of-${user}`, ...wishes },
    { provider: 'webhook', token: `token-of-${user}`, ...wishes },
  ];
  return {
    'GET /v1/me/push-devices': [{}],
    'PUT /v1/me/push-devices/{id}': bodies.map((body) => ({ path: { id: 'phone' }, body })),
    'DELETE /v1/me/push-devices/{id}': [{ path: { id: 'phone' } }],
  };
}

function admins({ reader, messageId, consoleId, deadLetterId }: Cast): Record<string, Good[]> {
  const query = { search: 'a', after: 'a', limit: '10' };
  const letters = { reason: 'expired', user: NOBODY, type: NOBODY };
  // Of letters that there are not.
  const some = [{ body: { ids: [987_654_321] } }, { body: { all: true, ...letters } }];
  const path = { id: reader };
  return {
    'POST /v1/admin/tokens': [{}],
    'POST /v1/admin/sessions': [{ body: { deviceId: 'desk', sessionId: 'none' } }],
    'PUT /v1/admin/sessions/{id}/feed': [
      { path: { id: consoleId }, body: { events: ['user.#'], watch: [reader] } },
    ],
    'DELETE /v1/admin/sessions/{id}': [{ path: { id: 'none' } }],
    'GET /v1/admin/users': [{ query }],
    'GET /v1/admin/users/{id}': [{ path }],
    'POST /v1/admin/users/{id}/purge': [{ path, body: { deviceId: 'phone' } }],
    'GET /v1/admin/audience': [{}],
    'GET /v1/admin/messages/{id}': [
      { path: { id: messageId }, query: { after: 'a', limit: '10' } },
    ],
    'GET /v1/admin/groups': [{ query }],
    'GET /v1/admin/audit': [{ query: { after: '1000000', limit: '10' } }],
    'GET /v1/admin/dead-letters': [{ query: { ...letters, after: '1000000', limit: '10' } }],
    'POST /v1/admin/dead-letters/resend': some,
    'POST /v1/admin/dead-letters/discard': some,
    'GET /v1/admin/dead-letters/{id}': [{ path: { id: deadLetterId } }],
  };
}
