import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { TimelineReply } from '@warren/protocol';
import { DeadLetterLog, reasonOf } from '../support/dead-letter-log.js';
import { EventLog } from '../support/events.js';
import { fcmError } from '../support/fcm-service.js';
import { PushBed, TEXT } from '../support/push-bed.js';
import { collect, TRANSPORTS, uniqueUser } from '../support/stack.js';
import { until } from '../support/until.js';

let bed: PushBed;
let log: EventLog;
let dead: DeadLetterLog;

beforeAll(async () => {
  bed = await PushBed.start();
  log = await EventLog.open('message.#');
  dead = await DeadLetterLog.open();
});
afterEach(() => {
  bed.beKind();
});
afterAll(async () => {
  await Promise.all([log.close(), dead.close(), bed.close()]);
});

/** All that was told of a user's messages, the first first. */
async function expectEvents(user: string, ...names: string[]): Promise<void> {
  await until(
    () => log.of(user).join() === names.join(),
    () => `${names.join()}: ${log.of(user).join()}`,
  );
}

/** What the timeline has of a message, the first first. */
async function stepsOf(id: string, user: string): Promise<string[]> {
  const { body } = await bed.stack.api('GET', `/v1/users/${user}/timeline`);
  const { entries } = body as unknown as TimelineReply;
  return entries
    .filter(({ messageId }) => messageId === id)
    .map(({ kind }) => kind)
    .reverse();
}

async function deadLetter(id: string) {
  await until(() => dead.of(id) !== undefined, 'the dead letter');
  const letter = dead.of(id)!;
  const body: unknown = JSON.parse(letter.content.toString('utf8'));
  return { reason: reasonOf(letter), body };
}

describe('a message with a push', () => {
  it('is pushed when nobody has handled it in time, and is delivered when somebody does later', async () => {
    const user = await bed.provisioned();
    await bed.register(user);
    const id = await bed.push({ user }, { afterMs: 150, data: { room: 7 } });
    expect(await bed.recipientOf(id, user)).toMatchObject({ outcome: 'queued' });
    await bed.expectOutcome(id, user, 'pushed');
    expect(bed.proxy.of(user)).toEqual([
      expect.objectContaining({ id, ...TEXT, user, device: 'phone', tag: id, data: { room: 7 } }),
    ]);
    const client = bed.stack.client(user, TRANSPORTS.stomp(), { deviceId: 'phone' });
    collect(client);
    client.start();
    await bed.expectOutcome(id, user, 'delivered');
    expect(await bed.recipientOf(id, user)).toMatchObject({
      pushedAt: expect.any(String) as string,
      deliveredAt: expect.any(String) as string,
    });
    await until(
      () => log.of(user).join() === 'message.pushed pushed,message.delivered delivered',
      () => log.of(user).join(),
    );
  });

  it('is not pushed when a device has handled it in time, and nobody is told that it could not be', async () => {
    const users = [await bed.provisioned(), await bed.provisioned()];
    await bed.register(users[0]!);
    const clients = users.map((user) =>
      bed.stack.client(user, TRANSPORTS.amqp(), { deviceId: 'phone' }),
    );
    for (const client of clients) {
      collect(client);
      client.start();
    }
    await Promise.all(clients.map((client) => client.ready()));
    const id = await bed.push({ users }, { afterMs: 1500 });
    for (const user of users) await bed.expectOutcome(id, user, 'delivered');
    await bed.afterOthers(1500);
    expect(bed.pushesOf(id)).toEqual([]);
    expect((await bed.stateOf(id)).counts).toEqual({ delivered: 2 });
    for (const user of users) expect(log.of(user)).toEqual(['message.delivered delivered']);
  });

  it('is pushed to the thirty of a room of fifty who are away, and to nobody else', async () => {
    const room = uniqueUser();
    const members = Array.from({ length: 50 }, () => uniqueUser());
    const online = members.slice(0, 20);
    await bed.stack.api('POST', `/v1/groups/${room}/members`, { add: members });
    await Promise.all(
      members.map((user) => bed.stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] })),
    );
    await Promise.all(members.map((user) => bed.register(user)));
    const clients = online.map((user, index) =>
      bed.stack.client(user, TRANSPORTS[index % 2 === 0 ? 'stomp' : 'amqp'](), {
        deviceId: 'phone',
      }),
    );
    for (const client of clients) {
      collect(client);
      client.start();
    }
    await Promise.all(clients.map((client) => client.ready()));
    const id = await bed.push({ group: room }, { afterMs: 3000 });
    await until(
      async () => (await bed.stateOf(id)).counts.pushed === 30,
      async () => JSON.stringify((await bed.stateOf(id)).counts),
    );
    await bed.afterOthers(0);
    expect((await bed.stateOf(id)).counts).toEqual({ pushed: 30, delivered: 20 });
    const pushed = bed.pushesOf(id).map(({ user }) => user);
    expect(pushed.sort()).toEqual(members.slice(20).sort());
    expect(
      bed.proxy.keys.filter((key) => bed.pushesOf(id).some((taken) => taken.key === key)),
    ).toHaveLength(30);
  });

  it('is pushed at once to whom no mailbox waits for, whatever time it may take', async () => {
    const nobody = uniqueUser();
    const known = await bed.provisioned();
    await bed.register(nobody);
    await bed.register(known);
    const afterMs = 60 * 60 * 1000;
    const id = await bed.push({ users: [nobody, known] }, { afterMs });
    await bed.expectOutcome(id, nobody, 'pushed');
    expect(await bed.recipientOf(id, known)).toMatchObject({ outcome: 'queued' });
    const live = await bed.push({ user: known }, { afterMs }, { delivery: 'live' });
    await bed.expectOutcome(live, known, 'pushed');
  });

  it('says who could not be reached by push, and why', async () => {
    const [user, nobody] = [await bed.provisioned(), uniqueUser()];
    const id = await bed.push({ users: [user, nobody] }, { afterMs: 100 });
    await bed.expectOutcome(id, user, 'no_push_device', 'no_device');
    await bed.expectOutcome(id, nobody, 'no_push_device', 'no_device');
    const common = { messageId: id, type: 'note', outcome: 'no_push_device', reason: 'no_device' };
    await until(() => log.of(user).length > 0 && log.of(nobody).length > 0, 'the events');
    const told = log.events.filter((event) => 'messageId' in event && event.messageId === id);
    expect(told).toHaveLength(2);
    expect(told).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ ...common, event: 'message.push_failed', user }),
        expect.objectContaining({ ...common, event: 'message.failed', user: nobody }),
      ]),
    );
  });

  it('that no device wants is delivered when a device comes for it', async () => {
    const user = await bed.provisioned();
    const id = await bed.push({ user }, { afterMs: 0 });
    await bed.expectOutcome(id, user, 'no_push_device', 'no_device');
    const client = bed.stack.client(user, TRANSPORTS.amqp(), { deviceId: 'phone' });
    const got = collect(client);
    client.start();
    await bed.expectOutcome(id, user, 'delivered');
    expect(got.map((message) => message.id)).toEqual([id]);
    client.markRead(id);
    await bed.expectOutcome(id, user, 'read');
    await expectEvents(
      user,
      'message.push_failed no_push_device',
      'message.delivered delivered',
      'message.read read',
    );
    expect(await stepsOf(id, user)).toEqual(['sent', 'push_failed', 'delivered', 'read']);
  });

  it('that no device wants still expires, or is lost with its mailbox', async () => {
    const [late, gone] = [await bed.provisioned(), await bed.provisioned()];
    const short = await bed.push({ user: late }, { afterMs: 0 }, { ttlMs: 3000 });
    const long = await bed.push({ user: gone }, { afterMs: 0 });
    await expectEvents(late, 'message.push_failed no_push_device');
    await bed.expectOutcome(long, gone, 'no_push_device', 'no_device');
    await bed.asUser(gone, 'DELETE', '/v1/sessions/phone');
    await bed.expectOutcome(long, gone, 'dropped');
    await bed.expectOutcome(short, late, 'expired');
    await expectEvents(late, 'message.push_failed no_push_device', 'message.failed expired');
    await expectEvents(gone, 'message.push_failed no_push_device', 'message.failed dropped');
    expect(await stepsOf(short, late)).toEqual(['sent', 'push_failed', 'failed']);
  });

  it('that no device wants has ended where nothing waits: without a mailbox, or live', async () => {
    const [nobody, away] = [uniqueUser(), await bed.provisioned()];
    const id = await bed.push({ user: nobody }, { afterMs: 0 });
    const live = await bed.push({ user: away }, { afterMs: 0 }, { delivery: 'live' });
    for (const [message, user] of [
      [id, nobody],
      [live, away],
    ] as const) {
      await bed.expectOutcome(message, user, 'no_push_device', 'no_device');
      await bed.asUser(user, 'POST', '/v1/me/receipts', { delivered: [message] });
      const state = await bed.recipientOf(message, user);
      expect(state).toMatchObject({ outcome: 'no_push_device', reason: 'no_device' });
      expect(state).toHaveProperty('deliveredAt');
      await expectEvents(user, 'message.failed no_push_device');
    }
  });

  it('is pushed to the one device that it is for', async () => {
    const user = await bed.provisioned();
    await bed.register(user, 'phone');
    await bed.register(user, 'tablet');
    const to = (device: string) => ({ device: { user, device } });
    const id = await bed.push(to('phone'), { afterMs: 0 });
    await bed.expectOutcome(id, user, 'pushed');
    await bed.afterOthers(0);
    expect(bed.pushesOf(id).map(({ device }) => device)).toEqual(['phone']);
    const elsewhere = await bed.push(to('watch'), { afterMs: 0 });
    await bed.expectOutcome(elsewhere, user, 'no_push_device', 'no_device');
    await expectEvents(user, 'message.pushed pushed', 'message.failed no_push_device');
  });

  it('is pushed once, however often it is sent with one id', async () => {
    const user = await bed.provisioned();
    await bed.register(user);
    const id = uniqueUser();
    await Promise.all([1, 2, 3].map(() => bed.push({ user }, { afterMs: 100 }, { id })));
    await bed.expectOutcome(id, user, 'pushed');
    await bed.push({ user }, { afterMs: 100 }, { id });
    await bed.afterOthers(300);
    expect(bed.proxy.keys.filter((key) => key === bed.proxy.of(user)[0]!.key)).toHaveLength(1);
  });

  it('is not pushed to the user who has sent it', async () => {
    const room = uniqueUser();
    const [anna, ben] = [await bed.provisioned(), await bed.provisioned()];
    await bed.stack.api('POST', `/v1/groups/${room}/members`, { add: [anna, ben] });
    await bed.register(anna);
    await bed.register(ben);
    const id = await bed.push({ group: room }, { afterMs: 100 }, { from: anna });
    await bed.expectOutcome(id, ben, 'pushed');
    await bed.afterOthers(0);
    expect(bed.pushesOf(id).map(({ user }) => user)).toEqual([ben]);
    expect(await bed.recipientOf(id, anna)).toMatchObject({ outcome: 'queued' });
  });

  it('reaches the proxy in batches, when it goes to many', async () => {
    const users = Array.from({ length: 250 }, () => uniqueUser());
    await Promise.all(users.map((user) => bed.register(user)));
    bed.proxy.sizes.length = 0;
    const id = await bed.push({ users }, { afterMs: 0 });
    await until(async () => (await bed.stateOf(id)).counts.pushed === 250, 'all pushes');
    expect(bed.proxy.sizes.sort((a, b) => b - a)).toEqual([100, 100, 50]);
    expect(new Set(bed.pushesOf(id).map(({ user }) => user)).size).toBe(250);
  });

  it('can be refused before anything is sent', async () => {
    const long = { ...TEXT, data: 'x'.repeat(3000) };
    const many = Object.fromEntries(
      Array.from({ length: 51 }, (_, i) => [
        `a${String.fromCharCode(97 + (i % 26))}-${String(i + 10)}`,
        TEXT,
      ]),
    );
    for (const bad of [
      { title: 'without a body' },
      { ...TEXT, afterMs: -1 },
      { ...TEXT, ttlMs: 0 },
      { ...TEXT, sounds: 'a misspelt field' },
      { ...TEXT, collapseId: 'two words' },
      { ...TEXT, localized: { 'not a language': TEXT } },
      { ...TEXT, localized: many },
      long,
    ]) {
      const reply = await bed.stack.send({ user: uniqueUser() }, 1, { push: bad });
      expect(reply).toMatchObject({ status: 400 });
      expect(JSON.stringify(reply.body)).toContain('push');
    }
  });
});

describe('a push', () => {
  it('reaches a browser encrypted, for as long as it was said, in place of the one before', async () => {
    const user = await bed.provisioned();
    const name = `browser of ${user}`;
    const subscription = bed.browsers.subscribe(name);
    await bed.register(user, 'phone', { provider: 'webpush', subscription });
    const more = { afterMs: 0, ttlMs: 90_000, badge: 3, sound: 'ping', collapseId: 'score' };
    const id = await bed.push({ user }, { ...more, data: { a: 'ü' } });
    await bed.expectOutcome(id, user, 'pushed');
    const [got] = bed.browsers.received.filter((received) => received.name === name);
    expect(got).toMatchObject({
      subject: 'mailto:ops@app.example',
      urgency: 'high',
      payload: {
        id,
        type: 'note',
        user,
        ...TEXT,
        badge: 3,
        sound: 'ping',
        tag: 'score',
        data: { a: 'ü' },
      },
    });
    expect(got!.ttlSeconds).toBeGreaterThan(80);
    expect(got!.ttlSeconds).toBeLessThanOrEqual(90);
    const again = await bed.push({ user }, { afterMs: 0, collapseId: 'score' });
    const other = await bed.push({ user }, { afterMs: 0 });
    await bed.expectOutcome(again, user, 'pushed');
    await bed.expectOutcome(other, user, 'pushed');
    const topics = Object.fromEntries(
      bed.browsers.received
        .filter((received) => received.name === name)
        .map(({ payload, topic }) => [payload.id, topic]),
    );
    expect(topics[again]).toBe(topics[id]);
    expect(topics[other]).not.toBe(topics[id]);
  });

  it('reaches Android and iOS as FCM wants it, with one login for many', async () => {
    const user = await bed.provisioned();
    const token = `fcm:${user}`;
    await bed.register(user, 'phone', { provider: 'fcm', token });
    const more = {
      badge: 3,
      sound: 'ping.caf',
      collapseId: 'score',
      ttlMs: 60_000,
      data: { a: 1 },
    };
    const ids = [
      await bed.push({ user }, { ...more, afterMs: 0 }),
      await bed.push({ user }, { afterMs: 0 }),
      await bed.push(
        { user },
        { afterMs: 0 },
        { id: 'x'.repeat(128 - 40) + uniqueUser().padEnd(40, 'y') },
      ),
    ];
    for (const id of ids) await bed.expectOutcome(id, user, 'pushed');
    const [first, second] = ids.map((id) =>
      bed.fcm.received.find((message) => message.data?.['warrenId'] === id),
    );
    expect(first).toMatchObject({
      token,
      notification: TEXT,
      data: { warrenType: 'note', warrenUser: user, warrenData: '{"a":1}' },
      android: {
        priority: 'HIGH',
        collapse_key: 'score',
        notification: { tag: 'score', sound: 'ping.caf', notification_count: 3 },
      },
      apns: {
        headers: { 'apns-collapse-id': 'score', 'apns-priority': '10' },
        payload: { aps: { badge: 3, sound: 'ping.caf' } },
      },
    });
    // FCM keeps four of these keys for a device.
    expect(second?.android).not.toHaveProperty('collapse_key');
    expect(second?.android?.notification?.tag).toBe(ids[1]);
    expect(bed.fcm.logins).toBe(1);
  });

  it('has the language that the device was registered with', async () => {
    const localized = {
      de: { title: 'Hallo', body: 'Bist du da?' },
      'pt-BR': { title: 'Olá', body: 'Você está aí?' },
    };
    const users = new Map<string, string>();
    for (const language of ['de-AT', 'pt-br', 'fr', undefined]) {
      const user = await bed.provisioned();
      await bed.register(user, 'phone', language === undefined ? {} : { language });
      users.set(user, language ?? 'none');
    }
    const id = await bed.push({ users: [...users.keys()] }, { afterMs: 0, localized });
    await until(() => bed.pushesOf(id).length === 4, 'four pushes');
    const titles = Object.fromEntries(
      bed.pushesOf(id).map(({ user, title }) => [users.get(user)!, title]),
    );
    expect(titles).toEqual({ 'de-AT': 'Hallo', 'pt-br': 'Olá', fr: 'Anna', none: 'Anna' });
  });

  it('is given up when the token is dead, which is removed; other devices get theirs', async () => {
    const [user, lonely, renewed] = [
      await bed.provisioned(),
      await bed.provisioned(),
      await bed.provisioned(),
    ];
    const dead = new Set([`fcm:${user}`, `fcm:${lonely}`, `fcm:${renewed}`]);
    bed.fcm.behave = (token) =>
      dead.has(token) ? fcmError(404, 'NOT_FOUND', 'UNREGISTERED') : undefined;
    await bed.register(user, 'phone', { provider: 'fcm', token: `fcm:${user}` });
    await bed.register(user, 'tablet');
    await bed.register(lonely, 'phone', { provider: 'fcm', token: `fcm:${lonely}` });
    await bed.register(renewed, 'phone', { provider: 'fcm', token: `fcm:${renewed}` });
    // It has another token before the answer comes.
    const asked = bed.fcm.behave;
    bed.fcm.behave = (token, message) => {
      if (token === `fcm:${renewed}`)
        void bed.register(renewed, 'phone', { provider: 'fcm', token: 'fcm:new' });
      return asked(token, message);
    };
    const id = await bed.push({ users: [user, lonely, renewed] }, { afterMs: 0 });
    await bed.expectOutcome(id, user, 'pushed');
    await bed.expectOutcome(id, lonely, 'push_failed', 'unregistered');
    await bed.expectOutcome(id, renewed, 'push_failed', 'unregistered');
    const devicesOf = async (of: string) => (await bed.registered(of)).map((device) => device.id);
    expect(await devicesOf(user)).toEqual(['tablet']);
    expect(await devicesOf(lonely)).toEqual([]);
    expect(await devicesOf(renewed)).toEqual(['phone']);
    const gone = `browser of ${user}`;
    await bed.register(user, 'web', {
      provider: 'webpush',
      subscription: {
        ...bed.browsers.subscribe(gone),
        endpoint: `http://${bed.browsers.host}/push/gone`,
      },
    });
    const next = await bed.push({ user }, { afterMs: 0 });
    await until(
      async () => (await devicesOf(user)).join() === 'tablet',
      'the browser to be removed',
    );
    await bed.expectOutcome(next, user, 'pushed');
  });

  it('that will not be taken is a dead letter with its reason, without what it says', async () => {
    const user = await bed.provisioned();
    await bed.register(user);
    bed.proxy.behave = (pushes) =>
      pushes.some((each) => each.user === user) ? { status: 400 } : undefined;
    const id = await bed.push({ user }, { afterMs: 0 });
    await bed.expectOutcome(id, user, 'push_failed', 'refused');
    await expectEvents(user, 'message.push_failed push_failed');
    const letter = await deadLetter(id);
    expect(letter.reason).toBe('refused: it answered 400');
    const owner = expect.any(String) as string;
    expect(letter.body).toEqual({ id, to: [{ user, device: 'phone' }], owner, failures: 0 });
    await bed.asUser(user, 'POST', '/v1/me/receipts', { delivered: [id] });
    await bed.expectOutcome(id, user, 'delivered');
  });

  it('that will not be taken ends the message for whom nothing waits', async () => {
    const nobody = uniqueUser();
    await bed.register(nobody);
    bed.proxy.behave = (pushes) =>
      pushes.some((each) => each.user === nobody) ? { status: 400 } : undefined;
    const id = await bed.push({ user: nobody }, { afterMs: 0 });
    await bed.expectOutcome(id, nobody, 'push_failed', 'refused');
    await expectEvents(nobody, 'message.failed push_failed');
  });

  it('is tried again when its provider could not take it, not before it asks for that', async () => {
    const user = await bed.provisioned();
    await bed.register(user);
    const at: number[] = [];
    bed.proxy.behave = (pushes) => {
      if (!pushes.some((each) => each.user === user)) return undefined;
      at.push(performance.now());
      return at.length === 1 ? { status: 429, headers: { 'retry-after': '2' } } : undefined;
    };
    const id = await bed.push({ user }, { afterMs: 0 });
    await bed.expectOutcome(id, user, 'pushed');
    expect(at).toHaveLength(2);
    expect(at[1]! - at[0]!).toBeGreaterThanOrEqual(1990);
  });

  it('is not tried again when a device has handled the message meanwhile', async () => {
    const user = await bed.provisioned();
    await bed.register(user);
    let tries = 0;
    bed.proxy.behave = async (pushes) => {
      const own = pushes.find((each) => each.user === user);
      if (own === undefined) return undefined;
      tries++;
      await bed.asUser(user, 'POST', '/v1/me/receipts', { delivered: [own.id] });
      return { status: 503 };
    };
    const id = await bed.push({ user }, { afterMs: 0 });
    await bed.expectOutcome(id, user, 'delivered');
    await bed.afterOthers(1200);
    expect(tries).toBe(1);
  });

  it('ends when no attempt is left, with the last reason', async () => {
    const user = await bed.provisioned();
    await bed.register(user);
    bed.proxy.behave = (pushes) =>
      pushes.some((each) => each.user === user) ? { status: 500 } : undefined;
    const id = await bed.push({ user }, { afterMs: 0 });
    await bed.expectOutcome(id, user, 'push_failed', 'provider_error');
    expect((await deadLetter(id)).reason).toBe('provider_error: it answered 500');
  });

  it('of a batch is taken, refused, dead or tried again, each as the proxy says', async () => {
    const users = [
      await bed.provisioned(),
      await bed.provisioned(),
      await bed.provisioned(),
      await bed.provisioned(),
    ];
    for (const user of users) await bed.register(user);
    const statuses = ['sent', 'refused', 'unregistered', 'retry'];
    let calls = 0;
    bed.proxy.behave = (pushes) => {
      const own = pushes.filter(({ user }) => users.includes(user));
      if (own.length === 0 || ++calls > 1) return undefined;
      const results = own.map(({ key, user }) => ({ key, status: statuses[users.indexOf(user)] }));
      return { status: 200, body: { results } };
    };
    const id = await bed.push({ users }, { afterMs: 0 });
    await bed.expectOutcome(id, users[0]!, 'pushed');
    await bed.expectOutcome(id, users[1]!, 'push_failed', 'refused');
    await bed.expectOutcome(id, users[2]!, 'push_failed', 'unregistered');
    await bed.expectOutcome(id, users[3]!, 'pushed');
    expect(bed.pushesOf(id).map(({ user }) => user)).toEqual([users[0], users[3]]);
  });

  it('is counted', async () => {
    const metrics = await (await fetch(`${bed.stack.apiUrl}/metrics`)).text();
    expect(metrics).toMatch(/warren_pushes_total{provider="webhook",result="sent"} [1-9]/);
    expect(metrics).toMatch(/warren_pushes_total{provider="webhook",result="failed"} [1-9]/);
    expect(metrics).toMatch(/warren_pushes_total{provider="webhook",result="given_up"} [1-9]/);
    expect(metrics).toMatch(/warren_push_decisions_total{decision="no_push_device"} [1-9]/);
    expect(metrics).toMatch(/warren_push_seconds_count{provider="fcm"} [1-9]/);
  });
});
