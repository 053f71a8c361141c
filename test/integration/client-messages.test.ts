import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Application } from '../support/application.js';
import {
  collect,
  request,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let application: Application;
let stack: Stack;
beforeAll(async () => {
  application = await Application.start();
  const { url, secret } = application;
  stack = await startStack({
    config: {
      policyUrl: { url, secret },
      webhooks: { url, secret, patterns: ['message.#'] },
    },
  });
});
afterAll(async () => {
  await stack.close();
  await application.close();
});

const allow = { status: 200, body: { allow: true } };

async function connected(user: string) {
  const client = stack.client(user, TRANSPORTS.stomp());
  const got = collect(client);
  client.start();
  await client.ready();
  return { client, got };
}

const codeOf = async (sending: Promise<unknown>): Promise<string> =>
  sending.then(
    () => 'resolved',
    (error: unknown) => (error as Error).message,
  );

describe('a message from a client', () => {
  it('is refused when the application has said nothing about it', async () => {
    const plain = await startStack();
    try {
      const user = uniqueUser();
      const body = { to: { user }, type: 'hello', data: 1 };
      const path = `${plain.apiUrl}/v1/me/messages`;
      const reply = await request(path, 'POST', userToken(user), body);
      expect([reply.status, reply.body.code]).toEqual([403, 'not_allowed']);
    } finally {
      await plain.close();
    }
  });

  it('reaches the user it is for when the policy allows it, and says who has sent it', async () => {
    const [alice, bob] = [await connected(uniqueUser()), await connected('bob/ü:\\ 🐇')];
    application.answers.push(allow);
    const { id } = await alice.client.send({ user: bob.client.userId }, 'hello', { text: 'hi' });
    await until(() => bob.got.length === 1);
    expect(bob.got[0]).toMatchObject({
      id,
      from: alice.client.userId,
      type: 'hello',
      data: { text: 'hi' },
    });
    expect(application.received.at(-1)!.body).toEqual({
      from: alice.client.userId,
      to: { user: bob.client.userId },
      type: 'hello',
      data: { text: 'hi' },
      delivery: 'queued',
    });
    application.answers.push(allow);
    await bob.client.send({ user: alice.client.userId }, 'hello', 2, { delivery: 'live' });
    await until(() => alice.got.length === 1);
    expect(alice.got[0]).toMatchObject({ from: bob.client.userId, delivery: 'live' });
    expect(application.forged).toBe(0);
  });

  it('goes to groups that the sender is in, and to no others, whatever the policy says', async () => {
    const [member, other] = [await connected(uniqueUser()), await connected(uniqueUser())];
    const group = `room-${member.client.userId}`;
    const users = [member.client.userId, other.client.userId];
    await stack.api('POST', `/v1/groups/${group}/members`, { add: users });
    application.answers.push(allow);
    await member.client.send({ group }, 'hello', 1);
    await until(() => other.got.length === 1 && member.got.length === 1);
    const stranger = await connected(uniqueUser());
    const asked = application.received.length;
    expect(await codeOf(stranger.client.send({ group }, 'hello', 1))).toMatch(/not_a_member/);
    expect(await codeOf(stranger.client.send({ group: 'none' }, 'hello', 1))).toMatch(
      /not_a_member/,
    );
    expect(application.received).toHaveLength(asked);
  });

  it.each([
    ['answers false', { status: 200, body: { allow: false } }, 403, 'not_allowed'],
    ['answers with something else', { status: 200, body: { allow: 'true' } }, 403, 'not_allowed'],
    ['answers with nothing', { status: 204 }, 403, 'not_allowed'],
    ['refuses with 403', { status: 403, body: { allow: true } }, 403, 'not_allowed'],
    ['fails', { status: 500, body: { allow: true } }, 503, 'policy_unavailable'],
  ])('is not sent when the policy %s', async (_how, answer, status, code) => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    application.answers.push(answer);
    const body = { to: { user }, type: 'hello', data: 1 };
    const path = `${stack.apiUrl}/v1/me/messages`;
    const reply = await request(path, 'POST', userToken('somebody'), body);
    expect([reply.status, reply.body.code]).toEqual([status, code]);
    expect((await stack.user(user)).devices[0]!.depth).toBe(0);
  });

  it('is handled once when it is sent twice, and cannot take the id of another one', async () => {
    const [alice, bob] = [await connected(uniqueUser()), await connected(uniqueUser())];
    const to = { user: bob.client.userId };
    application.answers.push(allow, allow);
    await alice.client.send(to, 'hello', 'one', { id: 'mine' });
    await alice.client.send(to, 'hello', 'two', { id: 'mine' });
    await stack.send(to, 'of the server', { id: 'mine' });
    await until(() => bob.got.some(({ data }) => data === 'of the server'));
    expect(bob.got.map(({ data }) => data)).toEqual(['one', 'of the server']);
  });

  it('tells its sender nothing of the recipient', async () => {
    application.answers.push(allow);
    const body = { to: { user: uniqueUser() }, type: 'hello', data: 1 };
    const path = `${stack.apiUrl}/v1/me/messages`;
    const reply = await request(path, 'POST', userToken('somebody'), body);
    expect(reply.status).toBe(202);
    expect(Object.keys(reply.body)).toEqual(['id']);
  });

  it.each([{ type: 'warren.read' }, { to: { broadcast: true } }, { ttlMs: 0 }, { id: 'ü' }])(
    'is refused with %j before anybody is asked',
    async (more) => {
      const asked = application.received.length;
      const body = { to: { user: 'a' }, type: 'hello', data: 1, ...more };
      const path = `${stack.apiUrl}/v1/me/messages`;
      const reply = await request(path, 'POST', userToken('somebody'), body);
      expect(reply.body.code).toBe('invalid_request');
      expect(application.received).toHaveLength(asked);
    },
  );
});

describe('the webhook', () => {
  it('tells of outcomes, signed, again and again until it was heard, under one id', async () => {
    const { client } = await connected(uniqueUser());
    // Events of other tests have their answers behind them.
    await until(() => application.answers.length === 0);
    application.usual = { status: 500 };
    const { id } = (await stack.send({ user: client.userId }, 1, { track: true })).body;
    const told = () =>
      application.received.filter(({ body }) => (body as { messageId?: string }).messageId === id);
    await until(() => told().length === 1);
    application.usual = { status: 200 };
    await until(() => told().length === 2);
    expect(new Set(told().map(({ id: eventId }) => eventId)).size).toBe(1);
    expect(told()[0]!.body).toMatchObject({
      event: 'message.delivered',
      user: client.userId,
      outcome: 'delivered',
      type: 'note',
    });
    expect(application.forged).toBe(0);
  });
});
