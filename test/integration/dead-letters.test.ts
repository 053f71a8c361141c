import { connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { DeadLetter } from '@warren/protocol';
import { DeadLetterLog } from '../support/dead-letter-log.js';
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

/** Bare messages, as any AMQP library sends them. */
async function publishExpiring(user: string, count: number): Promise<void> {
  const model = await connect(inject('broker').endpoints.amqpUrl);
  const channel = await model.createConfirmChannel();
  const properties = { persistent: true, expiration: '1' };
  for (let number = 0; number < count; number++) {
    channel.publish('warren.direct', `user.${user}`, Buffer.from('hello, client!'), properties);
  }
  await channel.waitForConfirms();
  await model.close();
}

describe('dead letters', () => {
  it('are listed with why and whose, the newest first, and can be looked at', async () => {
    const { user, ids } = await expire(3);
    const letters = await lettersOf(user);
    expect(letters.map(({ reason, type, deviceId }) => [reason, type, deviceId])).toEqual(
      new Array(3).fill(['expired', 'note', 'phone']),
    );
    expect([...ids].sort((a, b) => b - a)).toEqual(ids);
    const { status, body } = await stack.admin('GET', `dead-letters/${String(ids[0])}`);
    expect(status).toBe(200);
    expect(JSON.parse(body.body)).toEqual({ number: 2, big: '12345678901234567890' });
  });

  it('are sent again to their device, under a new id, byte by byte', async () => {
    const { user, ids } = await expire(2);
    const client = stack.client(user, TRANSPORTS.stomp(), { deviceId: 'phone' });
    const messages = collect(client);
    client.start();
    await client.ready();
    const { status, body } = await stack.admin('POST', 'dead-letters/resend', { ids });
    expect([status, body]).toMatchObject([200, { done: 2, unreachable: 0, gone: 0 }]);
    await until(() => messages.length === 2);
    expect(messages.map(({ data }) => (data as { number: number }).number).sort()).toEqual([0, 1]);
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
    const { body } = await stack.admin('POST', 'dead-letters/discard', {
      all: true,
      user,
      reason: 'expired',
    });
    expect(body).toMatchObject({ done: 4, gone: 0 });
    expect(await lettersOf(user)).toEqual([]);
    expect(await lettersOf(other)).toHaveLength(2);
    const { entries } = (await stack.admin('GET', `users/${user}/timeline`)).body;
    expect(entries.filter(({ kind }) => kind === 'discarded')).toHaveLength(4);
  });

  it('are done with once, however many operators ask for it', async () => {
    const { user, ids } = await expire(20);
    const replies = await Promise.all(
      Array.from({ length: 4 }, () => stack.admin('POST', 'dead-letters/discard', { ids })),
    );
    const sum = (key: 'done' | 'gone'): number =>
      replies.reduce((total, { body }) => total + body[key], 0);
    expect([sum('done'), sum('gone')]).toEqual([20, 60]);
    expect(await lettersOf(user)).toEqual([]);
    const again = await stack.admin('GET', `dead-letters/${String(ids[0])}`);
    expect([again.status, again.body.code]).toEqual([404, 'dead_letter_unknown']);
  });

  it('are sent again once, however many operators ask for it', async () => {
    const { user, ids } = await expire(20);
    await Promise.all(
      Array.from({ length: 4 }, () => stack.admin('POST', 'dead-letters/resend', { ids })),
    );
    expect((await stack.user(user)).devices[0]!.depth).toBe(20);
  });

  it('wait in their queue while no server runs, and are kept by the next', async () => {
    const { dataDir } = stack;
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    await stack.send({ user }, 'late', { ttlMs: 1500 });
    const log = await DeadLetterLog.open();
    await stack.server.close();
    await until(() => log.letters.some(({ content }) => content.toString().includes('late')));
    await log.close();
    stack = await startStack({ config: { dataDir } });
    await until(async () => (await lettersOf(user)).length === 1);
    const [letter] = await lettersOf(user);
    const { body } = await stack.admin('GET', `dead-letters/${String(letter!.id)}`);
    expect(JSON.parse(body.body)).toBe('late');
  });

  it('that were published without any properties are all kept', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    await publishExpiring(user, 5);
    await until(async () => (await lettersOf(user)).length === 5);
  });

  it('are kept in such number of each user that nobody pushes out those of others', async () => {
    const { user: quiet } = await expire(1);
    const loud = uniqueUser();
    await stack.api('PUT', `/v1/users/${loud}`, { devices: ['phone'] });
    const count = async (): Promise<number> =>
      (await stack.admin('GET', `dead-letters?user=${loud}&limit=1`)).body.total;
    await publishExpiring(loud, 2000);
    await until(async () => (await count()) === 2000, 'all of them', 60_000);
    const [oldest] = (await stack.admin('GET', `dead-letters?user=${loud}&limit=1`)).body.letters;
    await publishExpiring(loud, 200);
    await until(
      async () => (await lettersOf(loud))[0]!.id === oldest!.id + 200,
      'the newest',
      60_000,
    );
    expect(await count()).toBeLessThan(2050);
    expect(await lettersOf(quiet)).toHaveLength(1);
  });
});
