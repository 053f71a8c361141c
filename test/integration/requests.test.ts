import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createPublisher, PublishError } from '@warren/server/publisher';
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

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

const ask = (to: object, more: object = {}) =>
  stack.api('POST', '/v1/requests', { to, type: 'question', data: 6, ...more });

async function connected(user: string, deviceId = 'phone') {
  const client = stack.client(user, TRANSPORTS.stomp(), { deviceId });
  client.answer('question', ({ data }) => (data as number) * 7);
  client.start();
  await client.ready();
  return client;
}

describe('a request', () => {
  it('is answered by the client, over HTTP and by a publisher without it', async () => {
    const user = uniqueUser();
    await connected(user);
    const reply = await ask({ user });
    expect([reply.status, reply.body]).toEqual([200, { reply: 42 }]);
    expect((await ask({ device: { user, device: 'phone' } })).body).toEqual({ reply: 42 });
    const publisher = createPublisher({ amqpUrl: inject('broker').endpoints.backendAmqpUrl });
    try {
      const replies = await Promise.all(
        Array.from({ length: 20 }, (_, index) => publisher.request({ user }, 'question', index)),
      );
      expect(replies).toEqual(replies.map((_, index) => index * 7));
    } finally {
      await publisher.close();
    }
  });

  it('tells a user who is away from one who is not known, and from one who says nothing', async () => {
    expect((await ask({ user: uniqueUser() })).body.code).toBe('user_unknown');
    const user = uniqueUser();
    const client = await connected(user);
    await client.stop();
    await until(async () => {
      const { status, body } = await ask({ user }, { timeoutMs: 50 });
      return status === 404 && body.code === 'user_offline';
    });
    expect((await ask({ device: { user, device: 'other' } })).body.code).toBe('user_offline');
    const silent = uniqueUser();
    const mute = stack.client(silent, TRANSPORTS.amqp());
    collect(mute);
    mute.start();
    await mute.ready();
    const { status, body } = await ask({ user: silent }, { timeoutMs: 100 });
    expect([status, body.code]).toEqual([504, 'request_timeout']);
  });

  it('ends as failed when the answerer throws, which is asked once', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.stomp());
    let asked = 0;
    client.answer('question', () => {
      asked++;
      throw new Error('secret');
    });
    client.start();
    await client.ready();
    const { status, body } = await ask({ user });
    expect([status, body.code]).toEqual([502, 'request_failed']);
    expect(JSON.stringify(body)).not.toContain('secret');
    expect(asked).toBe(1);
  });

  it('is answered by nobody but the user who was asked, and once', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.stomp());
    const seen = collect(client, 'question');
    client.start();
    await client.ready();
    const asking = ask({ user }, { timeoutMs: 5000 });
    await until(() => seen.length === 1);
    const path = `${stack.apiUrl}/v1/me/replies/${seen[0]!.correlationId ?? ''}`;
    const reply = (who: string, text: string) =>
      request(path, 'POST', userToken(who), { reply: text });
    // Told nothing of what it was for.
    expect((await reply('mallory', 'forged')).status).toBe(204);
    expect((await reply(user, 'true')).status).toBe(204);
    expect((await asking).body).toEqual({ reply: 'true' });
    await reply(user, 'second');
    for (const unknown of ['nothing', `${'0'.repeat(32)}.${'0'.repeat(32)}`, 'a.b', '%00']) {
      const late = await request(
        `${stack.apiUrl}/v1/me/replies/${unknown}`,
        'POST',
        userToken(user),
        { reply: 1 },
      );
      expect([late.status, late.body.code]).toEqual([404, 'request_unknown']);
    }
  });

  it.each([
    [{ timeoutMs: 0 }, 'invalid_request'],
    [{ timeoutMs: 60_001 }, 'invalid_request'],
    [{ to: { group: 'g' } }, 'invalid_request'],
    [{ to: {} }, 'invalid_request'],
    [{ data: undefined }, 'invalid_request'],
    [{ type: 'warren.read' }, 'invalid_request'],
  ])('is refused with %j', async (more, code) => {
    expect((await ask({ user: 'somebody' }, more)).body.code).toBe(code);
  });

  it('rejects with a code of its own where there is no HTTP', async () => {
    const publisher = createPublisher({ amqpUrl: inject('broker').endpoints.backendAmqpUrl });
    const codeOf = async (asking: Promise<unknown>): Promise<string> =>
      asking.then(
        () => 'resolved',
        (error: unknown) => (error instanceof PublishError ? error.code : String(error)),
      );
    try {
      const to = { user: uniqueUser() };
      expect(await codeOf(publisher.request(to, 'question', 1))).toBe('recipient_offline');
      const user = uniqueUser();
      const mute = stack.client(user, TRANSPORTS.amqp());
      collect(mute);
      mute.start();
      await mute.ready();
      const options = { timeoutMs: 100 };
      expect(await codeOf(publisher.request({ user }, 'question', 1, options))).toBe(
        'request_timeout',
      );
      const pending = codeOf(publisher.request({ user }, 'question', 1));
      await publisher.close();
      expect(await pending).toBe('publisher_closed');
      expect(await codeOf(publisher.request({ user }, 'question', 1))).toBe('publisher_closed');
    } finally {
      await publisher.close();
    }
  });
});
