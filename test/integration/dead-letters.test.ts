import { connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { DeadLetter } from '@warren/protocol';
import { collect, startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

const lettersOf = async (user: string): Promise<DeadLetter[]> =>
  (await stack.admin('GET', `dead-letters?user=${user}`)).body.letters;

/** Messages that have expired in the mailbox of a device. */
async function expire(
  count: number,
  user = uniqueUser(),
): Promise<{ user: string; ids: number[] }> {
  await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
  for (let number = 0; number < count; number++) {
    await stack.send({ user }, { number, big: 12345678901234567890n.toString() }, { ttlMs: 1 });
  }
  await until(async () => (await lettersOf(user)).length === count);
  return { user, ids: (await lettersOf(user)).map(({ id }) => id) };
}

/** How many lie in the queue itself. */
async function depth(): Promise<number> {
  const model = await connect(inject('broker').endpoints.amqpUrl);
  const channel = await model.createChannel();
  const { messageCount } = await channel.checkQueue('warren.dead');
  await model.close();
  return messageCount;
}

describe('dead letters', () => {
  it('are listed with why and whose, the newest first, and looked at without being moved', async () => {
    const { user, ids } = await expire(3);
    const letters = await lettersOf(user);
    expect(letters.map(({ reason, type, deviceId }) => [reason, type, deviceId])).toEqual(
      new Array(3).fill(['expired', 'note', 'phone']),
    );
    expect([...ids].sort((a, b) => b - a)).toEqual(ids);
    const before = await depth();
    const { status, body } = await stack.admin('GET', `dead-letters/${String(ids[0])}`);
    expect(status).toBe(200);
    expect(JSON.parse(body.body)).toEqual({ number: 2, big: '12345678901234567890' });
    expect(await depth()).toBe(before);
  });

  it('are sent again to their device, under a new id, byte by byte', async () => {
    const { user, ids } = await expire(2);
    const client = stack.client(user, TRANSPORTS.stomp(), { deviceId: 'phone' });
    const messages = collect(client);
    client.start();
    await client.ready();
    const before = await depth();
    const { status, body } = await stack.admin('POST', 'dead-letters/resend', { ids });
    expect([status, body]).toMatchObject([200, { done: 2, unreachable: 0, gone: 0 }]);
    await until(() => messages.length === 2);
    expect(messages.map(({ data }) => (data as { number: number }).number).sort()).toEqual([0, 1]);
    expect(await depth()).toBe(before - 2);
    expect(await lettersOf(user)).toEqual([]);
  });

  it('reach a device that has rejected them, when it has mended itself', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.amqp(), { handlerAttempts: 1 });
    let isBroken = true;
    const handled: unknown[] = [];
    client.handle('note', ({ data }) => {
      if (isBroken) throw new Error('broken');
      handled.push(data);
    });
    client.start();
    await client.ready();
    await stack.send({ user }, 'again');
    await until(async () => (await lettersOf(user)).length === 1);
    isBroken = false;
    await stack.admin('POST', 'dead-letters/resend', { all: true, user });
    await until(() => handled.length === 1);
    expect(handled).toEqual(['again']);
  });

  it('go to the mailbox that the device has now, and stay when it has none', async () => {
    const { user } = await expire(1);
    await stack.api('POST', `/v1/users/${user}/revoke`, {});
    const first = await stack.admin('POST', 'dead-letters/resend', { all: true, user });
    expect(first.body).toMatchObject({ done: 0, unreachable: 1 });
    expect(await lettersOf(user)).toHaveLength(1);
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    const second = await stack.admin('POST', 'dead-letters/resend', { all: true, user });
    expect(second.body).toMatchObject({ done: 1, unreachable: 0 });
    expect((await stack.user(user)).devices[0]!.depth).toBe(1);
  });

  it('are discarded by a filter, and no others', async () => {
    const { user } = await expire(4);
    const { user: other } = await expire(2);
    const before = await depth();
    const { body } = await stack.admin('POST', 'dead-letters/discard', {
      all: true,
      user,
      reason: 'expired',
    });
    expect(body).toMatchObject({ done: 4, gone: 0 });
    expect(await depth()).toBe(before - 4);
    expect(await lettersOf(user)).toEqual([]);
    expect(await lettersOf(other)).toHaveLength(2);
    const { entries } = (await stack.admin('GET', `users/${user}/timeline`)).body;
    expect(entries.filter(({ kind }) => kind === 'discarded')).toHaveLength(4);
  });

  it('are told to be gone when somebody else has taken them out of the queue', async () => {
    const { user, ids } = await expire(1);
    const model = await connect(inject('broker').endpoints.amqpUrl);
    const channel = await model.createChannel();
    await channel.purgeQueue('warren.dead');
    await model.close();
    const { body } = await stack.admin('POST', 'dead-letters/discard', { ids });
    expect(body).toMatchObject({ done: 0, gone: 1 });
    expect(await lettersOf(user)).toEqual([]);
    const again = await stack.admin('GET', `dead-letters/${String(ids[0])}`);
    expect([again.status, again.body.code]).toEqual([404, 'dead_letter_unknown']);
  });

  it('are not touched while somebody else has them in hand', async () => {
    const { ids, user } = await expire(1);
    const model = await connect(inject('broker').endpoints.amqpUrl);
    const channel = await model.createChannel();
    await channel.prefetch(1);
    await channel.consume('warren.dead', () => undefined, { exclusive: true });
    const { status, body } = await stack.admin('POST', 'dead-letters/discard', { ids });
    expect([status, body.code]).toEqual([409, 'dead_letters_busy']);
    await model.close();
    await until(async () => {
      const reply = await stack.admin('POST', 'dead-letters/discard', { all: true, user });
      return reply.status === 200 && reply.body.done === 1;
    });
  });
});
