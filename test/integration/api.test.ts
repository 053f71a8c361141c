import { request as httpRequest } from 'node:http';
import { Validator } from '@seriousme/openapi-schema-validator';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROBLEMS } from '@warren/protocol';
import {
  request,
  SERVICE_KEY,
  startStack,
  uniqueUser,
  USER_SECRET,
  userToken,
  type Stack,
  untilDepths,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
const log: string[] = [];
beforeAll(async () => {
  stack = await startStack({ log: (line) => log.push(line) });
});
afterAll(() => stack.close());

const sign = (claims: object, options: jwt.SignOptions = {}, secret = USER_SECRET) =>
  jwt.sign(claims, secret, { algorithm: 'HS256', expiresIn: '1h', ...options });

/** As it stands: `fetch` takes dots out of a path. */
const rawStatus = (method: string, path: string): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(stack.apiUrl);
    const headers = { authorization: `Bearer ${SERVICE_KEY}` };
    httpRequest({ hostname, port, method, path, headers }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on('error', reject)
      .end();
  });

describe('POST /v1/messages', () => {
  it('answers 202 with the id and what became of it for the recipient', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    const id = 'an-id-of-the-sender';
    const reply = await stack.send({ user }, { text: 'hello' }, { id });
    expect(reply.status).toBe(202);
    expect(reply.body).toEqual({ id, recipients: [{ user, outcome: 'queued' }] });
    const device = await stack.send({ device: { user, device: 'phone' } }, 1);
    expect(device.body).toMatchObject({ recipients: [{ user, outcome: 'queued' }] });
    const nobody = await stack.send({ user: uniqueUser() }, 1);
    expect(nobody.body.recipients[0]?.outcome).toBe('unprovisioned');
    await untilDepths(stack, user, 2);
  });

  it('reaches all devices of a user, or the one that is named', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    await stack.session(user, { deviceId: 'tablet' });
    await stack.send({ user }, 'both');
    await stack.send({ device: { user, device: 'tablet' } }, 'one');
    const { devices } = await stack.user(user);
    expect(devices.map(({ deviceId }) => deviceId)).toEqual(['phone', 'tablet']);
    await untilDepths(stack, user, 1, 2);
  });

  it('lets a message go when its time is over', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    await stack.send({ user }, 'brief', { ttlMs: 50 });
    await until(async () => (await stack.user(user)).devices[0]!.depth === 0, 'its end');
  });

  const valid = { to: { user: 'somebody' }, type: 'note', data: 1 };
  it.each([
    ['no JSON', '{"to":', 400, 'invalid_json'],
    ['JSON that is no object', '"text"', 400, 'invalid_request'],
    ['an empty body', '', 400, 'invalid_request'],
    ['nothing of what it needs', {}, 400, 'invalid_request'],
    ['a wrong type', { ...valid, type: 7 }, 400, 'invalid_request'],
    ['an empty type', { ...valid, type: '' }, 400, 'invalid_request'],
    ['a type with a line break', { ...valid, type: 'a\nb' }, 400, 'invalid_request'],
    ['no data', { to: valid.to, type: 'note' }, 400, 'invalid_request'],
    [
      'two recipients',
      { ...valid, to: { user: 'a', device: { user: 'a', device: 'b' } } },
      400,
      'invalid_request',
    ],
    ['no recipient', { ...valid, to: {} }, 400, 'invalid_request'],
    ['a TTL of nothing', { ...valid, ttlMs: 0 }, 400, 'invalid_request'],
    ['a TTL with a fraction', { ...valid, ttlMs: 1.5 }, 400, 'invalid_request'],
    ['a TTL over 7 days', { ...valid, ttlMs: 7 * 86_400_000 + 1 }, 400, 'invalid_request'],
    ['a class that does not exist', { ...valid, delivery: 'maybe' }, 400, 'invalid_request'],
    ['a type with a backslash', { ...valid, type: 'a\\\\c' }, 400, 'invalid_request'],
    ['an id with a space', { ...valid, id: 'a b' }, 400, 'invalid_request'],
    ['an unknown field', { ...valid, extra: 1 }, 400, 'unknown_field'],
    [
      'an unknown kind of recipient',
      { ...valid, to: { user: 'a', everybody: true } },
      400,
      'unknown_field',
    ],
    ['an empty user id', { ...valid, to: { user: '' } }, 400, 'invalid_id'],
    ['an id over 256 bytes', { ...valid, to: { user: 'ü'.repeat(129) } }, 400, 'invalid_id'],
    ['a body over 256 KiB', { ...valid, data: 'x'.repeat(256 * 1024) }, 413, 'payload_too_large'],
    [
      'data nested 100,000 deep',
      `{"to":{"user":"a"},"type":"n","data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
      400,
      'invalid_request',
    ],
  ])('refuses %s', async (_what, body, status, code) => {
    const reply = await stack.api('POST', '/v1/messages', body);
    expect([reply.status, reply.body.code]).toEqual([status, code]);
    expect(reply.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(reply.body).toMatchObject({ title: expect.any(String) as string, status });
  });

  it('says which fields were wrong, without repeating what they held', async () => {
    const reply = await stack.api('POST', '/v1/messages', {
      ...valid,
      type: 7,
      ttlMs: 'secret-value',
    });
    expect(reply.body.errors.map(({ path }) => path)).toEqual(['type', 'ttlMs']);
    expect(JSON.stringify(reply.body)).not.toContain('secret-value');
  });

  it.each([
    ['no key', undefined, 'token_missing'],
    ['a wrong key', 'wrong', 'token_invalid'],
    ['a user’s token', userToken('a'), 'token_invalid'],
  ])('refuses %s before it reads the body', async (_what, key, code) => {
    const reply = await request(`${stack.apiUrl}/v1/messages`, 'POST', key, '{ no JSON');
    expect([reply.status, reply.body.code]).toEqual([401, code]);
    expect(reply.headers.get('www-authenticate')).toBe('Bearer');
  });

  it('refuses a number that would arrive as another one', async () => {
    const user = uniqueUser();
    await stack.session(user, {});
    const send = async (data: string) => {
      const response = await fetch(`${stack.apiUrl}/v1/messages`, {
        method: 'POST',
        headers: { authorization: `Bearer ${SERVICE_KEY}`, 'content-type': 'application/json' },
        body: `{"to":{"user":"${user}"},"type":"note","data":${data}}`,
      });
      const { code } = (await response.json()) as { code?: string };
      return [response.status, code];
    };
    for (const bad of [
      '12345678901234567890',
      '[{"id":-9007199254740993}]',
      '1e400',
      '-1E+309',
      '0.1e-400',
    ]) {
      expect(await send(bad)).toEqual([400, 'invalid_request']);
    }
    const good = [
      '9007199254740991',
      '1e22',
      '0e-999',
      '0.1234567890123456789',
      '"12345678901234567890"',
    ];
    for (const number of [...good, '18014398509481984', '{"\\"":"\\\\","x":[-0.5e-10]}']) {
      expect(await send(number)).toEqual([202, undefined]);
    }
  });

  it('refuses another content type, and a compressed body', async () => {
    const post = (headers: Record<string, string>) =>
      request(`${stack.apiUrl}/v1/messages`, 'POST', SERVICE_KEY, JSON.stringify(valid), headers);
    expect((await post({ 'content-type': 'text/plain' })).body.code).toBe('unsupported_media_type');
    const zipped = await post({ 'content-type': 'application/json', 'content-encoding': 'gzip' });
    expect(zipped.status).toBe(415);
  });

  it('refuses what is not UTF-8: it would arrive as something else, looked at by nobody', async () => {
    const post = async (body: Buffer, charset = '') => {
      const headers = {
        authorization: `Bearer ${SERVICE_KEY}`,
        'content-type': `application/json${charset}`,
      };
      const reply = await fetch(`${stack.apiUrl}/v1/messages`, {
        method: 'POST',
        headers,
        body: Uint8Array.from(body),
      });
      return [reply.status, ((await reply.json()) as { code?: string }).code];
    };
    const text = JSON.stringify({ ...valid, data: 'café' });
    const huge = JSON.stringify({ ...valid, data: 1 }).replace('1}', '12345678901234567890}');
    expect(await post(Buffer.from(text), '; charset=UTF-8')).toEqual([202, undefined]);
    expect(await post(Buffer.from(text, 'latin1'))).toEqual([400, 'invalid_request']);
    for (const body of [text, huge]) {
      expect(await post(Buffer.from(body, 'utf16le'), '; charset=utf-16le')).toEqual([
        415,
        'unsupported_media_type',
      ]);
    }
    const hidden = huge.replace('12345', '123+ADQANQ-');
    expect(await post(Buffer.from(hidden), '; charset=utf-7')).toEqual([
      415,
      'unsupported_media_type',
    ]);
  });
});

describe('POST /v1/sessions', () => {
  it('grants what the contract says', async () => {
    const user = uniqueUser();
    const grant = await stack.session(user, { deviceId: 'my phone' });
    expect(grant).toMatchObject({
      protocol: 1,
      userId: user,
      deviceId: 'my phone',
      vhost: 'warren',
      resumed: false,
      prefetch: expect.any(Number) as number,
    });
    expect(grant.queue).toMatch(new RegExp(`^user\\.${user}\\.my_20phone\\.[0-9a-f]{32}$`));
    expect(grant.liveQueue).toMatch(/^live\./);
    const claims = jwt.decode(grant.token) as jwt.JwtPayload;
    expect(claims).toMatchObject({ sub: grant.queue, aud: 'warren' });
    expect(claims).not.toHaveProperty('client_id');
    expect(Number.isInteger(claims.exp)).toBe(true);
    expect(new Date(grant.expiresAt).getTime()).toBe(claims.exp! * 1000);
  });

  it('renews the current session, and takes the device over without one', async () => {
    const user = uniqueUser();
    const first = await stack.session(user, { deviceId: 'phone' });
    const renewed = await stack.session(user, { deviceId: 'phone', sessionId: first.sessionId });
    expect(renewed).toMatchObject({
      sessionId: first.sessionId,
      queue: first.queue,
      resumed: true,
    });
    const second = await stack.session(user, { deviceId: 'phone' });
    expect(second.queue).toBe(first.queue);
    expect(second.sessionId).not.toBe(first.sessionId);
    const body = { deviceId: 'phone', sessionId: first.sessionId };
    const late = await request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(user), body);
    expect([late.status, late.body.code]).toEqual([409, 'session_replaced']);
  });

  it('grants hundreds at once, new and renewed', async () => {
    const users = Array.from({ length: 300 }, uniqueUser);
    const first = await Promise.all(users.map((user) => stack.session(user, { deviceId: 'd' })));
    const again = await Promise.all(
      users.map((user, index) =>
        stack.session(user, { deviceId: 'd', sessionId: first[index]!.sessionId }),
      ),
    );
    expect(again.map(({ queue }) => queue)).toEqual(first.map(({ queue }) => queue));
    expect(new Set(first.map(({ queue }) => queue)).size).toBe(300);
    expect(again.every(({ resumed }) => resumed)).toBe(true);
  });

  it('gives one mailbox to a device that opens several sessions at once', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`);
    const grants = await Promise.all(
      Array.from({ length: 10 }, () => stack.session(user, { deviceId: 'phone' })),
    );
    expect(new Set(grants.map(({ queue }) => queue)).size).toBe(1);
    expect((await stack.user(user)).devices).toHaveLength(1);
  });

  it('makes a device id when none is given, and ignores fields of newer clients', async () => {
    const grant = await stack.session(uniqueUser(), { somethingNew: true });
    expect(grant.deviceId).toMatch(/^[0-9a-f]{32}$/);
    const bare = await request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(uniqueUser()));
    expect(bare.status).toBe(201);
  });

  it.each([
    ['POST', 'sessions', {}],
    ['DELETE', 'sessions/phone', undefined],
    ['GET', 'me/history', undefined],
    ['POST', 'me/messages', { to: { user: 'b' }, type: 'note', data: 1 }],
    ['POST', 'me/receipts', { delivered: ['m'], read: [] }],
    ['POST', 'me/replies/x', { reply: 1 }],
    ['GET', 'me/devices', undefined],
    ['PUT', 'me/push-devices/phone', { provider: 'fcm', token: 't' }],
    ['DELETE', 'me/push-devices/phone', undefined],
  ])('refuses %s %s that is meant for another user', async (method, path, body) => {
    const user = `${uniqueUser()} é%`;
    const ask = (meant: string) =>
      request(`${stack.apiUrl}/v1/${path}`, method, userToken(user), body, {
        'warren-user': meant,
      });
    for (const meant of ['another', '%', encodeURIComponent(`${user}x`), '']) {
      const reply = await ask(meant);
      expect([reply.status, reply.body.code], meant).toEqual([403, 'user_mismatch']);
    }
    expect((await ask(encodeURIComponent(user))).body.code).not.toBe('user_mismatch');
  });

  it('turns away a client of a protocol that is no longer spoken', async () => {
    const reply = await request(
      `${stack.apiUrl}/v1/sessions`,
      'POST',
      userToken('a'),
      {},
      { 'warren-protocol': '0' },
    );
    expect([reply.status, reply.body.code]).toEqual([426, 'upgrade_required']);
  });

  it.each([
    ['no token', undefined, 'token_missing'],
    ['nonsense', 'nonsense', 'token_invalid'],
    ['a service key', SERVICE_KEY, 'token_invalid'],
    ['an expired token', sign({ sub: 'a' }, { expiresIn: -10 }), 'token_expired'],
    ['another secret', sign({ sub: 'a' }, {}, 'another secret'), 'token_invalid'],
    [
      'HS512, which is not the pinned algorithm',
      sign({ sub: 'a' }, { algorithm: 'HS512' }),
      'token_invalid',
    ],
    ['alg none', jwt.sign({ sub: 'a' }, '', { algorithm: 'none' }), 'token_invalid'],
    ['no user', sign({ name: 'a' }), 'token_invalid'],
    ['a user that is a number', sign({ sub: undefined, user: 7 }), 'token_invalid'],
    ['a user id over 256 bytes', sign({ sub: 'a'.repeat(257) }), 'token_invalid'],
  ])('refuses %s', async (_what, token, code) => {
    const reply = await request(`${stack.apiUrl}/v1/sessions`, 'POST', token, {});
    expect([reply.status, reply.body.code]).toEqual([401, code]);
  });

  it('refuses a device id over 256 bytes, and leaves nothing behind', async () => {
    const user = uniqueUser();
    const body = { deviceId: 'x'.repeat(257) };
    const reply = await request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(user), body);
    expect([reply.status, reply.body.code]).toEqual([400, 'invalid_id']);
    expect((await stack.api('GET', `/v1/users/${user}`)).status).toBe(404);
  });
});

describe('an installation of several tabs', () => {
  it('goes on with a session that one of them has opened, and is replaced by another installation', async () => {
    const user = uniqueUser();
    const open = (body: object) =>
      request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(user), {
        deviceId: 'browser',
        ...body,
      });
    const first = (await open({ installationId: 'mine' })).body as unknown as { sessionId: string };
    // The page that opened this one was closed before the answer came.
    const lost = (await open({ installationId: 'mine' })).body as unknown as { sessionId: string };
    expect(lost.sessionId).not.toBe(first.sessionId);
    const { sessionId } = first;
    const renewed = await open({ sessionId, installationId: 'mine' });
    expect(renewed.status).toBe(201);
    expect(renewed.body).toMatchObject({ sessionId: lost.sessionId });
    for (const body of [{ sessionId }, { sessionId, installationId: 'yours' }]) {
      expect((await open(body)).body.code).toBe('session_replaced');
    }
    await open({});
    const late = await open({ sessionId: lost.sessionId, installationId: 'mine' });
    expect(late.body.code).toBe('session_replaced');
  });
});

describe('DELETE /v1/sessions/:deviceId', () => {
  const logout = (user: string, device: string, query = '') => {
    const url = `${stack.apiUrl}/v1/sessions/${encodeURIComponent(device)}${query}`;
    return request(url, 'DELETE', userToken(user));
  };
  const open = (user: string, body: object) =>
    request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(user), body);
  const mine = { deviceId: 'phone', installationId: 'mine & yours' };
  const named = '?installationId=mine%20%26%20yours';
  const late = { status: 403, body: { code: 'session_ended' } };

  it('deletes the device’s queues and leaves the others of the user', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'a/phone' });
    const tablet = await stack.session(user, { deviceId: 'tablet' });
    await stack.send({ user }, 'to both');
    expect((await logout(user, 'a/phone')).status).toBe(204);
    expect((await stack.user(user)).devices).toMatchObject([{ queue: tablet.queue }]);
    await untilDepths(stack, user, 1);
    // Done is done: asked again, it is so already.
    expect((await logout(user, 'a/phone')).status).toBe(204);
  });

  it('gives the next login a queue of another name', async () => {
    const user = uniqueUser();
    const { queue, sessionId } = await stack.session(user, { deviceId: 'phone' });
    await logout(user, 'phone');
    // What still runs there is not logged in again by itself.
    const body = { deviceId: 'phone', sessionId };
    const renewal = await request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(user), body);
    expect(renewal).toMatchObject({ status: 403, body: { code: 'session_ended' } });
    const next = await stack.session(user, { deviceId: 'phone' });
    expect(next.queue).not.toBe(queue);
    expect(next.resumed).toBe(false);
  });

  it.each([
    ['a device', true],
    ['a device that is not known yet', false],
  ])('of %s refuses what its installation has asked for before', async (_which, isKnown) => {
    const user = uniqueUser();
    if (isKnown) await stack.session(user, mine);
    expect((await logout(user, 'phone', named)).status).toBe(204);
    expect(await open(user, mine)).toMatchObject(late);
    expect((await stack.api('GET', `/v1/users/${user}`)).status).toBe(404);
    // The next login is another installation; neither it nor another device is meant.
    const next = { ...mine, installationId: 'next' };
    const { sessionId } = await stack.session(user, next);
    expect(await open(user, mine)).toMatchObject(late);
    expect(await stack.session(user, { ...next, sessionId })).toMatchObject({ sessionId });
    await stack.session(user, { ...mine, deviceId: 'tablet' });
    // A client that does not say whose it is, as before; and a logout that names nobody.
    await stack.session(user, { deviceId: 'phone' });
    expect((await logout(user, 'phone')).status).toBe(204);
    expect(await open(user, mine)).toMatchObject(late);
  });

  it('leaves no device behind, however many requests of its installation come meanwhile', async () => {
    for (let round = 0; round < 5; round++) {
      const user = uniqueUser();
      const requests = () => Array.from({ length: 10 }, () => open(user, mine));
      const before = requests();
      const ended = logout(user, 'phone', named);
      const statuses = (await Promise.all([...before, ...requests()])).map(({ status }) => status);
      expect((await ended).status).toBe(204);
      expect(statuses.filter((status) => status !== 201 && status !== 403)).toEqual([]);
      expect((await stack.api('GET', `/v1/users/${user}`)).status).toBe(404);
    }
  });

  it('refuses what names no installation', async () => {
    for (const bad of ['', 'x'.repeat(65), 'a&installationId=b']) {
      const reply = await logout(uniqueUser(), 'phone', `?installationId=${bad}`);
      expect([reply.status, reply.body.code]).toEqual([400, 'invalid_request']);
    }
    expect((await logout(uniqueUser(), 'phone', '?of=later')).status).toBe(204);
  });

  it('is for the device’s own user alone', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    expect((await logout(uniqueUser(), 'phone')).status).toBe(204);
    expect((await stack.user(user)).devices).toHaveLength(1);
    const url = `${stack.apiUrl}/v1/sessions/phone`;
    expect((await request(url, 'DELETE')).body.code).toBe('token_missing');
    expect((await request(url, 'DELETE', 'forged')).body.code).toBe('token_invalid');
    const long = `${stack.apiUrl}/v1/sessions/${'x'.repeat(300)}`;
    expect((await request(long, 'DELETE', userToken(user))).body.code).toBe('invalid_id');
  });
});

describe('a collapse key', () => {
  it.each(['', 'x'.repeat(129), 'a\nb', 'a\\b', 7])('of %j is refused', async (collapseKey) => {
    const { status, body } = await stack.send({ user: uniqueUser() }, 1, { collapseKey });
    expect([status, body.code, body.errors.map(({ path }) => path)]).toEqual([
      400,
      'invalid_request',
      ['collapseKey'],
    ]);
  });
});

describe('/v1/users/:id', () => {
  it('provisions ahead: what is sent before the first session waits for it', async () => {
    const user = uniqueUser();
    const made = await stack.api('PUT', `/v1/users/${user}`);
    expect(made.status).toBe(200);
    expect(made.body.devices).toMatchObject([{ deviceId: null, depth: 0, online: false }]);
    await stack.send({ user }, 'before');
    const grant = await stack.session(user, { deviceId: 'phone' });
    expect(grant.resumed).toBe(true);
    await stack.send({ device: { user, device: 'phone' } }, 'after');
    expect((await stack.user(user)).devices).toMatchObject([
      { deviceId: 'phone', queue: grant.queue, depth: 2 },
    ]);
    const again = await stack.api('PUT', `/v1/users/${user}`);
    expect(again.body.devices).toHaveLength(1);
  });

  it('provisions the devices that are named', async () => {
    const user = uniqueUser();
    const made = await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone', 'tablet'] });
    expect(made.body.devices.map(({ deviceId }) => deviceId)).toEqual(['phone', 'tablet']);
    const refused = await stack.api('PUT', `/v1/users/${user}`, { devices: [''] });
    expect(refused.body.code).toBe('invalid_id');
  });

  it('removes a user, with queues and all', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    expect((await stack.api('DELETE', `/v1/users/${user}`)).status).toBe(204);
    expect((await stack.api('GET', `/v1/users/${user}`)).body.code).toBe('user_unknown');
    expect((await stack.api('DELETE', `/v1/users/${user}`)).body.code).toBe('user_unknown');
    expect((await stack.send({ user }, 1)).body.recipients[0]?.outcome).toBe('unprovisioned');
  });

  it.each([
    'a/b',
    'a.b',
    '*',
    '%',
    '#',
    'ü 🐇',
    '..a',
    "'; drop table users; --",
    '__proto__',
    'constructor',
  ])('keeps the id %s apart from all others', async (id) => {
    const path = `/v1/users/${encodeURIComponent(id).replaceAll('.', '%2E')}-${uniqueUser()}`;
    const made = await stack.api('PUT', path);
    expect(made.status).toBe(200);
    expect(made.body.userId.startsWith(id)).toBe(true);
    expect((await stack.send({ user: made.body.userId }, 1)).body.recipients[0]?.outcome).toBe(
      'queued',
    );
    expect((await stack.send({ user: id }, 1)).body.recipients[0]?.outcome).toBe('unprovisioned');
    await untilDepths(stack, made.body.userId, 1);
  });

  it('refuses "." and ".." as ids, and takes no shortened path for another route', async () => {
    const group = `dots-${uniqueUser()}`;
    await stack.api('PUT', `/v1/groups/${group}/members/a`);
    // As `fetch` would send it, and as it is.
    const shortened = await stack.api('DELETE', `/v1/groups/${group}/members/..`);
    expect([shortened.status, shortened.body.code]).toEqual([404, 'not_found']);
    expect(await rawStatus('DELETE', `/v1/groups/${group}/members/..`)).toBe(400);
    expect(await rawStatus('DELETE', `/v1/Groups/${group}`)).toBe(404);
    expect(await rawStatus('GET', '/METRICS')).toBe(404);
    expect(await rawStatus('PUT', `/v1/groups/${group}/members/%2E%2E`)).toBe(400);
    expect((await stack.api('GET', `/v1/groups/${group}`)).body.members).toBe(1);
    for (const id of ['.', '..']) {
      const add = await stack.api('POST', `/v1/groups/${group}/members`, { add: [id] });
      expect(add.body.code).toBe('invalid_id');
      expect((await stack.send({ user: id }, 1)).body.code).toBe('invalid_id');
      const token = userToken(uniqueUser());
      const opened = await request(`${stack.apiUrl}/v1/sessions`, 'POST', token, { deviceId: id });
      expect(opened.body.code).toBe('invalid_id');
      const asUser = await request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(id), {});
      expect(asUser.status).toBe(401);
    }
  });

  it('refuses an id over 256 bytes and a path that is no UTF-8', async () => {
    expect((await stack.api('PUT', `/v1/users/${'a'.repeat(257)}`)).body.code).toBe('invalid_id');
    const broken = await stack.api('GET', '/v1/users/%E0%A4%A');
    expect([broken.status, broken.body.code]).toEqual([400, 'invalid_request']);
  });
});

describe('the rest of the API', () => {
  it('is well, and tells its metrics', async () => {
    expect((await request(`${stack.apiUrl}/health/live`, 'GET')).body).toEqual({ status: 'ok' });
    expect((await request(`${stack.apiUrl}/health/ready`, 'GET')).body).toEqual({
      status: 'ok',
      checks: { broker: 'up', database: 'up' },
    });
    await stack.send({ user: uniqueUser() }, 1);
    const { body, headers } = await request(`${stack.apiUrl}/metrics`, 'GET');
    expect(headers.get('content-type')).toMatch(/^text\/plain/);
    expect(body).toMatch(/warren_broker_up 1/);
    expect(body).toMatch(/warren_messages_total\{delivery="queued",outcome="unprovisioned"\} \d+/);
  });

  it('describes itself in valid OpenAPI, every route and every error', async () => {
    const { body } = await request(`${stack.apiUrl}/openapi.json`, 'GET');
    const result = await new Validator().validate({ ...body });
    expect(result.valid, JSON.stringify(result.errors)).toBe(true);
    // A receipt without an error tells of none.
    expect(JSON.stringify(body)).not.toContain('"default":"handler_failed"');
    expect(Object.keys(body.paths).sort()).toEqual([
      '/health/live',
      '/health/ready',
      '/metrics',
      '/openapi.json',
      '/v1/admin/audience',
      '/v1/admin/audit',
      '/v1/admin/dead-letters',
      '/v1/admin/dead-letters/discard',
      '/v1/admin/dead-letters/resend',
      '/v1/admin/dead-letters/{id}',
      '/v1/admin/groups',
      '/v1/admin/groups/{id}',
      '/v1/admin/groups/{id}/members',
      '/v1/admin/groups/{id}/members/{user}',
      '/v1/admin/history',
      '/v1/admin/messages',
      '/v1/admin/messages/{id}',
      '/v1/admin/sessions',
      '/v1/admin/sessions/{id}',
      '/v1/admin/sessions/{id}/feed',
      '/v1/admin/tokens',
      '/v1/admin/users',
      '/v1/admin/users/{id}',
      '/v1/admin/users/{id}/disconnect',
      '/v1/admin/users/{id}/purge',
      '/v1/admin/users/{id}/revoke',
      '/v1/admin/users/{id}/timeline',
      '/v1/groups/{id}',
      '/v1/groups/{id}/members',
      '/v1/groups/{id}/members/{user}',
      '/v1/history',
      '/v1/me/devices',
      '/v1/me/history',
      '/v1/me/messages',
      '/v1/me/push-devices',
      '/v1/me/push-devices/{id}',
      '/v1/me/receipts',
      '/v1/me/recovery',
      '/v1/me/replies/{correlationId}',
      '/v1/messages',
      '/v1/messages/batch',
      '/v1/messages/{id}',
      '/v1/presence',
      '/v1/requests',
      '/v1/sessions',
      '/v1/sessions/{deviceId}',
      '/v1/users/{id}',
      '/v1/users/{id}/disconnect',
      '/v1/users/{id}/export',
      '/v1/users/{id}/revoke',
      '/v1/users/{id}/timeline',
      '/v1/users/{id}/tokens',
    ]);
    expect(body.components.schemas.Problem.properties.code.enum).toEqual(Object.keys(PROBLEMS));
  });

  it('answers an unknown address and a wrong method with problems of their own', async () => {
    expect((await stack.api('GET', '/v1/nothing')).body.code).toBe('not_found');
    const reply = await stack.api('PATCH', '/v1/users/a');
    expect([reply.status, reply.body.code]).toEqual([405, 'method_not_allowed']);
    expect(reply.headers.get('allow')).toBe('PUT, GET, DELETE');
  });

  it('keeps an idle connection longer than load balancers do, which send requests on what they keep', async () => {
    const response = await fetch(`${stack.apiUrl}/health/live`);
    await response.text();
    const seconds = /timeout=(\d+)/.exec(response.headers.get('keep-alive') ?? '')?.[1];
    expect(Number(seconds)).toBeGreaterThan(60);
  });

  it('has no /dev/token outside development', async () => {
    const reply = await request(`${stack.apiUrl}/dev/token`, 'POST', undefined, { userId: 'a' });
    expect([reply.status, reply.body.code]).toEqual([404, 'not_found']);
  });

  it('marks what it answers, so that a page can tell it from what a network answers', async () => {
    const headers = {
      origin: 'https://app.example',
      authorization: `Bearer ${userToken(uniqueUser())}`,
    };
    for (const method of ['GET', 'DELETE']) {
      const path = method === 'GET' ? 'me/devices' : 'me/push-devices/phone';
      const response = await fetch(`${stack.apiUrl}/v1/${path}`, { method, headers });
      expect(response.ok).toBe(true);
      expect(response.headers.get('warren-protocol')).toBe('1');
      const exposed = response.headers.get('access-control-expose-headers');
      expect(exposed).toContain('warren-protocol');
    }
  });

  it('lets pages of the allowed origins in, and no others', async () => {
    const preflight = (origin: string) =>
      fetch(`${stack.apiUrl}/v1/sessions`, {
        method: 'OPTIONS',
        headers: { origin, 'access-control-request-method': 'POST' },
      });
    const allowed = await preflight('https://app.example');
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://app.example');
    const headers = allowed.headers.get('access-control-allow-headers');
    expect(headers).toContain('warren-protocol');
    expect(headers).toContain('warren-user');
    const other = await preflight('https://evil.example');
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
  });

  it('logs no key, no token and no payload', async () => {
    const user = uniqueUser();
    const grant = await stack.session(user, { deviceId: 'phone' });
    await stack.send({ user }, 'a payload that nobody else may read');
    await request(
      `${stack.apiUrl}/v1/messages?key=in-the-query`,
      'POST',
      SERVICE_KEY,
      'broken payload {',
    );
    const text = log.join('');
    expect(text).toContain('/v1/messages');
    for (const secret of [
      SERVICE_KEY,
      grant.token,
      userToken(user).slice(-40),
      'a payload',
      'broken payload',
      'in-the-query',
    ]) {
      expect(text).not.toContain(secret);
    }
  });
});
