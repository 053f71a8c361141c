import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import {
  ADMIN_KEY,
  collect,
  request,
  SERVICE_KEY,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  VIEWER_KEY,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

const signIn = async (secret: string) =>
  (await stack.admin('POST', 'tokens', undefined, secret)).body;

describe('signing in', () => {
  it('gives a token in place of an admin key, with the role of that key', async () => {
    const operator = await signIn(ADMIN_KEY);
    expect(operator).toMatchObject({ role: 'operator' });
    expect(operator.actor).toMatch(/^admin:[\w-]{8}$/);
    expect((await stack.admin('GET', 'users', undefined, operator.token)).status).toBe(200);
    expect(await signIn(VIEWER_KEY)).toMatchObject({ role: 'viewer' });
  });

  it('takes the JWT of a user whose role it names, and no other', async () => {
    const user = uniqueUser();
    const viewer = await signIn(userToken(user, { warren_role: 'viewer' }));
    expect(viewer).toMatchObject({ role: 'viewer', actor: `user:${user}` });
    expect(await signIn(userToken(user, { warren_role: ['staff', 'operator'] }))).toMatchObject({
      role: 'operator',
    });
    for (const claims of [{}, { warren_role: 'root' }, { role: 'operator' }]) {
      const { status, body } = await stack.admin(
        'GET',
        'users',
        undefined,
        userToken(user, claims),
      );
      expect([status, body.code]).toEqual([403, 'role_required']);
    }
  });

  it('ends with its user', async () => {
    const user = uniqueUser();
    const jwt = userToken(user, { warren_role: 'viewer' });
    const { token } = await signIn(jwt);
    await stack.api('POST', `/v1/users/${user}/revoke`, {});
    for (const secret of [jwt, token]) {
      const { status, body } = await stack.admin('GET', 'users', undefined, secret);
      expect([status, body.code]).toEqual([401, 'token_revoked']);
    }
  });

  it('ends when the admin key is taken away', async () => {
    const { token } = await signIn(VIEWER_KEY);
    const signingKey = inject('broker').signingKey;
    await stack.server.warren.reload({
      signingKey,
      serviceKeys: [SERVICE_KEY],
      adminKeys: [{ key: ADMIN_KEY, role: 'operator' }],
    });
    try {
      for (const secret of [token, VIEWER_KEY]) {
        const { status, body } = await stack.admin('GET', 'users', undefined, secret);
        expect([status, body.code]).toEqual([401, 'token_invalid']);
      }
    } finally {
      await stack.server.warren.reload({
        signingKey,
        serviceKeys: [SERVICE_KEY],
        adminKeys: [
          { key: ADMIN_KEY, role: 'operator' },
          { key: VIEWER_KEY, role: 'viewer' },
        ],
      });
    }
  });

  it('takes no service key, no token of users, and no token of its own elsewhere', async () => {
    const user = uniqueUser();
    const { body: own } = await stack.api('POST', `/v1/users/${user}/tokens`, {});
    const { token } = await signIn(ADMIN_KEY);
    for (const secret of [SERVICE_KEY, own.token, 'nonsense']) {
      expect((await stack.admin('GET', 'users', undefined, secret)).status).toBeGreaterThan(400);
    }
    const url = `${stack.apiUrl}/v1/users/${user}`;
    for (const secret of [token, ADMIN_KEY]) {
      expect((await request(url, 'GET', secret)).status).toBe(401);
      const session = await request(`${stack.apiUrl}/v1/sessions`, 'POST', secret, {});
      expect(session.status).toBe(401);
    }
  });
});

describe('the audit log', () => {
  it('has every action before it is done, by whom, to whom, and how it ended', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    await stack.admin('POST', `users/${user}/purge`, {});
    await stack.admin('POST', `users/${uniqueUser()}/purge`, {});
    await stack.admin('POST', 'messages', { to: { user }, type: 'note', data: 'a secret' });
    const { body } = await stack.admin('GET', 'audit?limit=3');
    const entries = body.entries.map(({ action, result }) => [action, result]);
    expect(entries).toEqual([
      ['message.send', 'done'],
      ['user.purge', 'user_unknown'],
      ['user.purge', 'done'],
    ]);
    expect(body.entries[0]).toMatchObject({ target: `user:${user}` });
    expect(JSON.stringify(body)).not.toContain('a secret');
    expect(body.next).toBeDefined();
  });

  it('has what a viewer was refused nowhere: it was not done', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    const { status } = await stack.admin('POST', `users/${user}/revoke`, {}, VIEWER_KEY);
    expect(status).toBe(403);
    expect((await stack.user(user)).devices).toHaveLength(1);
  });
});

describe('looking for users and groups', () => {
  it('finds a part of an id in any case, page by page, and takes signs for what they are', async () => {
    const mark = uniqueUser();
    const ids = ['b', 'A', 'c', '%', '_', "'"].map((name) => `Seek-${mark}-${name}`);
    for (const id of ids) await stack.api('PUT', `/v1/users/${encodeURIComponent(id)}`, {});
    const find = async (query: string) => (await stack.admin('GET', `users?${query}`)).body;
    const all = await find(`search=${encodeURIComponent(`SEEK-${mark}`)}`);
    expect(all.users.map(({ user }) => user).sort()).toEqual([...ids].sort());
    for (const sign of ['%', '_', "'"]) {
      const { users } = await find(`search=${encodeURIComponent(`${mark}-${sign}`)}`);
      expect(users.map(({ user }) => user)).toEqual([`Seek-${mark}-${sign}`]);
    }
    const seen: string[] = [];
    let after = '';
    do {
      const { users, next } = await find(
        `search=${mark}&limit=4${after === '' ? '' : `&after=${encodeURIComponent(after)}`}`,
      );
      seen.push(...users.map(({ user }) => user));
      after = next ?? '';
    } while (after !== '');
    expect(seen.sort()).toEqual([...ids].sort());
  });

  it('shows groups with their members, and lets an operator change them', async () => {
    const [group, user] = [`room-${uniqueUser()}`, uniqueUser()];
    await stack.admin('PUT', `groups/${group}`, {});
    await stack.admin('PUT', `groups/${group}/members/${user}`, {});
    const { body } = await stack.admin('GET', `groups?search=${group.toUpperCase()}`);
    expect(body.groups).toMatchObject([{ groupId: group, members: 1 }]);
    expect((await stack.admin('GET', `groups/${group}/members`)).body.members[0]!.user).toBe(user);
    await stack.admin('DELETE', `groups/${group}/members/${user}`);
    await stack.admin('DELETE', `groups/${group}`);
    expect((await stack.admin('GET', `groups?search=${group}`)).body.groups).toEqual([]);
  });
});

describe('a user', () => {
  it('is shown with devices, groups and push devices, but not with a token of them', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    await stack.send({ user }, 1);
    const { body } = await stack.admin('GET', `users/${user}`);
    expect(body).toMatchObject({ userId: user, groups: [], pushDevices: [] });
    const unknown = await stack.admin('GET', `users/${uniqueUser()}`);
    expect([unknown.status, unknown.body.code]).toEqual([404, 'user_unknown']);
  });

  it('loses what waits by a purge, and whoever follows it is told', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone', 'tablet'] });
    const { body } = await stack.send({ user }, 1, { track: true });
    await stack.send({ device: { user, device: 'phone' } }, 2);
    const phone = await stack.admin('POST', `users/${user}/purge`, { deviceId: 'phone' });
    expect(phone.body.purged).toBe(2);
    const outcome = async () =>
      (await stack.api('GET', `/v1/messages/${body.id}`)).body.counts as Record<string, number>;
    expect(await outcome()).toEqual({ queued: 1 });
    const rest = await stack.admin('POST', `users/${user}/purge`, {});
    expect(rest.body.purged).toBe(1);
    expect(await outcome()).toEqual({ dropped: 1 });
    const client = stack.client(user, TRANSPORTS.amqp(), { deviceId: 'phone' });
    const messages = collect(client);
    client.start();
    await client.ready();
    await stack.send({ user }, 'after');
    await until(() => messages.length > 0);
    expect(messages.map(({ data }) => data)).toEqual(['after']);
  });
});

describe('the life of a message', () => {
  it('is known of a tracked one for each recipient, step by step', async () => {
    const [here, away] = [uniqueUser(), uniqueUser()];
    const client = stack.client(here, TRANSPORTS.stomp());
    client.handle('note', () => undefined);
    client.start();
    await client.ready();
    const { body: sent } = await stack.send({ users: [here, away] }, 1, { track: true });
    await until(async () => {
      const { body } = await stack.admin('GET', `messages/${sent.id}`);
      return body.counts.delivered === 1;
    });
    const { body } = await stack.admin('GET', `messages/${sent.id}`);
    expect(body).toMatchObject({ tracked: true, stored: false, confirmed: true, to: { users: 2 } });
    const steps = (user: string) =>
      body.recipients.find((recipient) => recipient.user === user)!.steps.map(({ kind }) => kind);
    expect(steps(here)).toEqual(['sent', 'delivered']);
    expect(steps(away)).toEqual(['sent', 'failed']);
  });

  it('is known of others by what went wrong, and by the history', async () => {
    const user = uniqueUser();
    const { body: lost } = await stack.send({ user }, 1);
    await until(async () => (await stack.admin('GET', `messages/${lost.id}`)).status === 200);
    const { body } = await stack.admin('GET', `messages/${lost.id}`);
    expect(body).toMatchObject({ tracked: false, stored: false });
    expect(body.events.map(({ kind }) => kind)).toEqual(['unreachable']);
    await stack.api('PUT', `/v1/users/${user}`, {});
    const { body: kept } = await stack.send({ user }, 1, { delivery: 'stored' });
    await until(async () => (await stack.admin('GET', `messages/${kept.id}`)).body.stored);
    const unknown = await stack.admin('GET', 'messages/nothing-of-the-kind');
    expect([unknown.status, unknown.body.code]).toEqual([404, 'message_unknown']);
  });
});

describe('a broadcast', () => {
  it('is preceded by how many it would reach', async () => {
    const before = (await stack.admin('GET', 'audience')).body;
    await stack.api('PUT', `/v1/users/${uniqueUser()}`, { devices: ['a', 'b'] });
    const { users, devices } = (await stack.admin('GET', 'audience')).body as unknown as {
      users: number;
      devices: number;
    };
    const { users: usersBefore, devices: devicesBefore } = before as unknown as {
      users: number;
      devices: number;
    };
    expect([users - usersBefore, devices - devicesBefore]).toEqual([1, 2]);
  });
});
