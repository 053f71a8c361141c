import { createECDH } from 'node:crypto';
import { connect } from 'amqplib';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { Application } from '../support/application.js';
import { PushBed, TEXT, VAPID_KEY } from '../support/push-bed.js';
import { request, startStack, TRANSPORTS, uniqueUser, userToken } from '../support/stack.js';
import { until } from '../support/until.js';

let bed: PushBed;
let application: Application;
beforeAll(async () => {
  application = await Application.start();
  const { url, secret } = application;
  bed = await PushBed.start({ config: { maxDevices: 3, policyUrl: { url, secret } } });
});
afterEach(() => {
  bed.beKind();
});
afterAll(async () => {
  await bed.close();
  await application.close();
});

const put = (user: string, device: string, body: object, claims: object = {}) =>
  bed.asUser(user, 'PUT', `/v1/me/push-devices/${device}`, body, claims);

const devicesOf = async (user: string) => (await bed.registered(user)).map(({ id }) => id);

describe('a registration', () => {
  it('is listed with what the device wants, without its token, and with the key for browsers', async () => {
    const user = uniqueUser();
    const preferences = {
      mutedGroups: ['noise'],
      quietHours: { from: '22:00', to: '07:30', timeZone: 'Europe/Berlin' },
      collapse: 'conversation',
    };
    const secret = `secret-of-${user}`;
    const wanted = { provider: 'fcm', token: secret, language: 'de', preferences };
    const reply = await put(user, 'phone', wanted);
    const state = { id: 'phone', provider: 'fcm', language: 'de', preferences };
    expect(reply).toMatchObject({ status: 200, body: state });
    const list = await bed.asUser(user, 'GET', '/v1/me/push-devices');
    expect(list.body.devices).toEqual([expect.objectContaining(state)]);
    expect(JSON.stringify([reply.body, list.body])).not.toContain(secret);
    const key = createECDH('prime256v1');
    key.setPrivateKey(Buffer.from(VAPID_KEY, 'base64url'));
    expect(list.body.vapidPublicKey).toBe(key.getPublicKey('base64url'));
  });

  it('replaces the one of the same device', async () => {
    const user = await bed.provisioned();
    await bed.register(user, 'phone', { token: 'one' });
    await bed.register(user, 'phone', { provider: 'fcm', token: `two-${user}` });
    const id = await bed.push({ user }, { afterMs: 0 });
    await bed.expectOutcome(id, user, 'pushed');
    expect(bed.pushesOf(id)).toEqual([]);
    expect(bed.fcm.received.map(({ token }) => token)).toContain(`two-${user}`);
  });

  it('takes the token from whoever was logged in on the device before', async () => {
    const [anna, ben] = [await bed.provisioned(), await bed.provisioned()];
    const device = { provider: 'fcm', token: `shared-${anna}` };
    await bed.register(anna, 'phone', device);
    await bed.register(ben, 'phone', device);
    const id = await bed.push({ users: [anna, ben] }, { afterMs: 0 });
    await bed.expectOutcome(id, ben, 'pushed');
    await bed.expectOutcome(id, anna, 'no_push_device', 'no_device');
    expect(bed.fcm.received.filter(({ token }) => token === device.token)).toHaveLength(1);
  });

  it('belongs to one of two who register it in the same moment', async () => {
    for (let round = 0; round < 10; round++) {
      const [anna, ben] = [uniqueUser(), uniqueUser()];
      const device = { provider: 'fcm', token: `same-${anna}` };
      await Promise.all([anna, ben].map((user) => bed.register(user, 'phone', device)));
      const both = [...(await devicesOf(anna)), ...(await devicesOf(ben))];
      expect(both).toEqual(['phone']);
    }
  });

  it('of a push proxy moves with its user to another device', async () => {
    const user = await bed.provisioned();
    for (const device of ['old', 'new']) await bed.register(user, device, { token: `of-${user}` });
    expect(await devicesOf(user)).toEqual(['new']);
  });

  it('is made, renewed and ended by the SDK, and ends with its logout', async () => {
    const user = uniqueUser();
    const client = bed.stack.client(user, TRANSPORTS.stomp(), { deviceId: 'laptop' });
    client.handle('*', () => undefined);
    client.start();
    await client.ready();
    await client.registerPush({ provider: 'webhook', token: `sdk-${user}`, language: 'de' });
    expect(await bed.registered(user)).toMatchObject([{ id: 'laptop', language: 'de' }]);
    await client.unregisterPush();
    expect(await devicesOf(user)).toEqual([]);
    expect(await client.pushKey()).toMatch(/^B[\w-]{86}$/);
    await expect(
      client.registerPush({ provider: 'fcm', token: 'with a space' }),
    ).rejects.toMatchObject({ code: 'push_refused' });
    await client.registerPush({ provider: 'webhook', token: `sdk-${user}` });
    await client.logout();
    expect(await devicesOf(user)).toEqual([]);
  });

  it('ends when the user is revoked, and cannot be made with a token of before', async () => {
    const user = await bed.provisioned();
    await bed.register(user, 'phone');
    await bed.register(user, 'tablet');
    const before = { iat: Math.floor(Date.now() / 1000) };
    await bed.stack.api('POST', `/v1/users/${user}/revoke`, { deviceId: 'tablet' });
    expect(await devicesOf(user)).toEqual(['phone']);
    expect(await put(user, 'tablet', { provider: 'webhook', token: 'x' }, before)).toMatchObject({
      status: 401,
      body: { code: 'token_revoked' },
    });
    await bed.stack.api('POST', `/v1/users/${user}/revoke`, {});
    expect(await devicesOf(user)).toEqual([]);
    const id = await bed.push({ user }, { afterMs: 0 });
    await bed.expectOutcome(id, user, 'no_push_device', 'no_device');
  });

  it('is never left behind by a revocation that comes in the same moment', async () => {
    for (let round = 0; round < 5; round++) {
      const user = await bed.provisioned();
      const before = { iat: Math.floor(Date.now() / 1000) };
      const body = (index: number) => ({ provider: 'webhook', token: `${user}-${String(index)}` });
      await Promise.all([
        ...Array.from({ length: 10 }, (_, index) => put(user, 'phone', body(index), before)),
        bed.stack.api('POST', `/v1/users/${user}/revoke`, {}),
        ...Array.from({ length: 10 }, (_, index) => put(user, 'phone', body(index), before)),
      ]);
      expect(await devicesOf(user)).toEqual([]);
    }
  });

  it('goes with the user, known by nothing else or not', async () => {
    const [known, unknown] = [await bed.provisioned(), uniqueUser()];
    for (const user of [known, unknown]) {
      await bed.register(user);
      expect(await bed.stack.api('DELETE', `/v1/users/${user}`)).toMatchObject({ status: 204 });
      expect(await devicesOf(user)).toEqual([]);
    }
    expect(await bed.stack.api('DELETE', `/v1/users/${unknown}`)).toMatchObject({ status: 404 });
  });

  it('is refused where it could not work, or could be used to reach into the server’s network', async () => {
    const user = uniqueUser();
    const good = bed.browsers.subscribe(user);
    const web = (more: object) => ({ provider: 'webpush', subscription: { ...good, ...more } });
    const at = (endpoint: string) => web({ endpoint });
    const wanting = (preferences: object) => ({ provider: 'fcm', token: 'x', preferences });
    const { p256dh, auth } = good.keys;
    const bad: [object, string][] = [
      [{ provider: 'pigeon', token: 'x' }, 'invalid_request'],
      [{ provider: 'fcm' }, 'invalid_request'],
      [{ provider: 'fcm', token: '' }, 'invalid_request'],
      [{ provider: 'fcm', token: 'x'.repeat(4097) }, 'invalid_request'],
      [{ provider: 'fcm', token: 'x', language: 'German' }, 'invalid_request'],
      [at('https://example.com/push'), 'invalid_request'],
      [at('http://169.254.169.254/latest/meta-data'), 'invalid_request'],
      [at(`http://${bed.browsers.host}@evil.example/`), 'invalid_request'],
      [at(`http://name:word@${bed.browsers.host}/`), 'invalid_request'],
      [at('http://127.0.0.1:1/'), 'invalid_request'],
      [at('file:///etc/passwd'), 'invalid_request'],
      [at('no url'), 'invalid_request'],
      [web({ keys: { p256dh, auth: 'c2hvcnQ' } }), 'invalid_request'],
      [web({ keys: { p256dh: 'BBBB', auth } }), 'invalid_request'],
      [
        web({ keys: { p256dh: Buffer.alloc(65, 4).toString('base64url'), auth } }),
        'invalid_request',
      ],
      [web({ keys: {} }), 'invalid_request'],
      [wanting({ quietHours: { from: '25:00', to: '07:00', timeZone: 'UTC' } }), 'invalid_request'],
      [wanting({ quietHours: { from: '07:00', to: '07:00', timeZone: 'UTC' } }), 'invalid_request'],
      [wanting({ quietHours: { from: '07:00', to: '08:00', timeZone: 'X' } }), 'invalid_request'],
      [wanting({ collapse: 'everything' }), 'invalid_request'],
      [wanting({ mutedGroups: [''] }), 'invalid_id'],
    ];
    for (const [body, code] of bad) {
      expect([body, (await put(user, 'phone', body)).body.code]).toEqual([body, code]);
    }
    expect(await devicesOf(user)).toEqual([]);
    expect(await put(user, 'phone', web({}))).toMatchObject({ status: 200 });
  });

  it('is one of as many as devices are allowed', async () => {
    const user = uniqueUser();
    for (const device of ['a', 'b', 'c', 'c']) await bed.register(user, device);
    const reply = await put(user, 'd', { provider: 'webhook', token: `d-${user}` });
    expect(reply).toMatchObject({ status: 403, body: { code: 'too_many_devices' } });
  });

  it('needs a provider that the server has', async () => {
    const bare = await startStack();
    try {
      const [url, body] = [`${bare.apiUrl}/v1/me/push-devices`, { provider: 'fcm', token: 'x' }];
      const reply = await request(`${url}/phone`, 'PUT', userToken('somebody'), body);
      expect(reply).toMatchObject({ status: 400, body: { code: 'push_not_configured' } });
      const list = await request(url, 'GET', userToken('somebody'));
      expect(list.body).toEqual({ devices: [] });
    } finally {
      await bare.close();
    }
  });
});

describe('what a device wants', () => {
  it('keeps messages of muted groups from it; they wait in the mailbox', async () => {
    const [muted, other, homeless] = [
      await bed.provisioned(),
      await bed.provisioned(),
      uniqueUser(),
    ];
    const room = `room-${muted}`;
    await bed.stack.api('POST', `/v1/groups/${room}/members`, { add: [muted, other, homeless] });
    const preferences = { mutedGroups: [room] };
    await bed.register(muted, 'phone', { preferences });
    await bed.register(other);
    await bed.register(homeless, 'phone', { preferences });
    const id = await bed.push({ group: room }, { afterMs: 0 });
    await bed.expectOutcome(id, other, 'pushed');
    await bed.expectOutcome(id, homeless, 'no_push_device', 'muted');
    expect((await bed.recipientOf(id, muted)).outcome).toBe('queued');
    const direct = await bed.push({ user: muted }, { afterMs: 0 });
    await bed.expectOutcome(direct, muted, 'pushed');
    expect(bed.pushesOf(id).map(({ user }) => user)).toEqual([other]);
  });

  it('keeps pushes from it in its quiet hours that would be over by their end, and others wait', async () => {
    const [user, homeless] = [await bed.provisioned(), uniqueUser()];
    const clock = (minutes: number) =>
      new Date(Date.now() + minutes * 60_000).toISOString().slice(11, 16);
    const quietHours = { from: clock(-60), to: clock(60), timeZone: 'UTC' };
    for (const each of [user, homeless]) {
      await bed.register(each, 'phone', { preferences: { quietHours } });
    }
    const short = await bed.push({ users: [user, homeless] }, { afterMs: 0, ttlMs: 60_000 });
    await bed.expectOutcome(short, homeless, 'no_push_device', 'quiet_hours');
    const long = await bed.push({ user }, { afterMs: 0 });
    await bed.afterOthers(0);
    for (const id of [short, long]) {
      expect((await bed.recipientOf(id, user)).outcome).toBe('queued');
      expect(bed.pushesOf(id)).toEqual([]);
    }
    const over = { from: clock(-60), to: clock(-1), timeZone: 'UTC' };
    await bed.register(user, 'phone', { preferences: { quietHours: over } });
    await bed.expectOutcome(await bed.push({ user }, { afterMs: 0 }), user, 'pushed');
  });

  it('has the newest of a conversation take the place of the one before', async () => {
    const [user, anna, ben] = [await bed.provisioned(), uniqueUser(), uniqueUser()];
    const room = `talk-${user}`;
    await bed.stack.api('PUT', `/v1/groups/${room}/members/${user}`);
    await bed.register(user, 'phone', { preferences: { collapse: 'conversation' } });
    const tagOf = async (to: object, more: object, settings: object = {}) => {
      const id = await bed.push(to, { afterMs: 0, ...more }, settings);
      await bed.expectOutcome(id, user, 'pushed');
      return { id, tag: bed.pushesOf(id)[0]!.tag };
    };
    const tags = [
      await tagOf({ user }, {}, { from: anna }),
      await tagOf({ user }, {}, { from: anna }),
      await tagOf({ user }, {}, { from: ben }),
      await tagOf({ group: room }, {}, { from: anna }),
      await tagOf({ group: room }, {}, { from: ben }),
      await tagOf({ group: room }, { collapseId: 'mine' }, {}),
      await tagOf({ user }, {}, {}),
    ];
    const kinds = tags.map(({ tag }) => tags.findIndex((other) => other.tag === tag));
    expect(kinds).toEqual([0, 0, 2, 3, 3, 5, 6]);
    expect(tags[5]!.tag).toBe('mine');
    expect(tags[6]!.tag).toBe(tags[6]!.id);
  });
});

describe('a back end that only speaks AMQP', () => {
  it('has one, many, a group and everybody pushed', async () => {
    const [one, two, three] = [await bed.provisioned(), await bed.provisioned(), uniqueUser()];
    const room = `megaphone-${one}`;
    await bed.stack.api('POST', `/v1/groups/${room}/members`, { add: [one, three] });
    for (const user of [one, two, three]) await bed.register(user);
    const model = await connect(inject('broker').endpoints.backendAmqpUrl);
    const channel = await model.createConfirmChannel();
    const recipients = [
      [{ user: one }, [one]],
      [{ users: [one, two, three] }, [one, two, three]],
      [{ group: room }, [one, three]],
      [{ broadcast: true }, [one, two]],
    ] as const;
    for (const [index, [to]] of recipients.entries()) {
      const body = { to, type: 'note', data: 1, push: { ...TEXT, afterMs: 0 } };
      const properties = { messageId: `megaphone-${String(index)}-${one}` };
      channel.publish('warren.send', '', Buffer.from(JSON.stringify(body)), properties);
    }
    await channel.waitForConfirms();
    for (const [index, [, users]] of recipients.entries()) {
      const id = `megaphone-${String(index)}-${one}`;
      await until(
        () => users.every((user) => bed.pushesOf(id).some((taken) => taken.user === user)),
        () => `${id}: ${JSON.stringify(bed.pushesOf(id).map(({ user }) => user))}`,
      );
      if (index < 3) expect(bed.pushesOf(id)).toHaveLength(users.length);
    }
    await model.close();
  });
});

describe('a message from a client', () => {
  it('has the push that the application’s policy wants for it, to all but its sender', async () => {
    const [anna, ben, carol] = [await bed.provisioned(), await bed.provisioned(), uniqueUser()];
    const room = `policy-${anna}`;
    await bed.stack.api('POST', `/v1/groups/${room}/members`, { add: [anna, ben, carol] });
    for (const user of [anna, ben, carol]) await bed.register(user);
    const send = (data: unknown) =>
      bed.asUser(anna, 'POST', '/v1/me/messages', { to: { group: room }, type: 'line', data });
    const answer = (said: unknown) => application.answers.push({ status: 200, body: said });
    answer({ allow: true, push: { title: 'Anna', body: 'in the room', afterMs: 0 } });
    const { status, body } = await send('hello');
    expect(status).toBe(202);
    await until(() => bed.pushesOf(body.id).length === 2, 'two pushes');
    expect(bed.pushesOf(body.id).map(({ user }) => user)).toEqual(
      expect.arrayContaining([ben, carol]),
    );
    for (const refusal of [{}, { allow: false, push: TEXT }, { push: TEXT }, null]) {
      answer(refusal);
      expect(await send('no')).toMatchObject({ status: 403, body: { code: 'not_allowed' } });
    }
    answer({ allow: true, push: { title: 'without a body' } });
    expect(await send('odd')).toMatchObject({ status: 503, body: { code: 'policy_unavailable' } });
  });
});

describe('an ack and a deadline in the same moment', () => {
  it('are decided by one of them, a thousand times', { timeout: 120_000 }, async () => {
    const afterMs = 700;
    const users = Array.from({ length: 100 }, () => uniqueUser());
    for (const user of users) {
      await bed.stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
      await bed.register(user);
    }
    const trials: { id: string; user: string; isAcked: boolean }[] = [];
    // How long after its time a message is decided about, so that acks come just then.
    let lagMs = 0;
    for (let round = 0; round < 10; round++) {
      const started = trials.length;
      await Promise.all(
        users.map(async (user, index) => {
          const sentAt = performance.now();
          const id = await bed.push({ user }, { afterMs });
          const isAcked = index % 10 !== 0;
          trials.push({ id, user, isAcked });
          if (!isAcked) return;
          const dueAt = (sentAt + performance.now()) / 2 + afterMs;
          const ackAt = dueAt + lagMs + (Math.random() - 0.5) * 60;
          await new Promise((resolve) => setTimeout(resolve, ackAt - performance.now()));
          await bed.asUser(user, 'POST', '/v1/me/receipts', { delivered: [id] });
        }),
      );
      let late = 0;
      for (const { id, user, isAcked } of trials.slice(started)) {
        await until(async () => (await bed.recipientOf(id, user)).outcome !== 'queued', id);
        if (!isAcked) await bed.expectOutcome(id, user, 'pushed');
        else if (bed.pushesOf(id).length > 0) late++;
      }
      lagMs += late > 45 ? -20 : 20;
    }
    const counts = { acked: 0, pushed: 0, both: 0 };
    await bed.afterOthers(0);
    for (const { id, user, isAcked } of trials) {
      const { createdAt } = await bed.stateOf(id);
      const recipient = await bed.recipientOf(id, user);
      const wasPushed = bed.pushesOf(id).length > 0;
      expect(wasPushed).toBe(recipient.pushedAt !== undefined);
      expect(bed.pushesOf(id).length).toBeLessThanOrEqual(1);
      const wasInTime =
        recipient.deliveredAt !== undefined &&
        Date.parse(recipient.deliveredAt) < Date.parse(createdAt) + afterMs;
      expect(wasInTime && wasPushed).toBe(false);
      expect(recipient.outcome).toBe(isAcked ? 'delivered' : 'pushed');
      if (!wasPushed) counts.acked++;
      else if (isAcked) counts.both++;
      else counts.pushed++;
    }
    process.stdout.write(`  ${JSON.stringify(counts)} (both: pushed, then acked)\n`);
    // Else they were not in the same moment.
    expect(counts.acked).toBeGreaterThan(0);
    expect(counts.both).toBeGreaterThan(0);
  });
});
