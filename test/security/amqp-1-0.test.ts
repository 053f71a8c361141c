import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { isAtLeast } from '@warren/rabbitmq';
import { Consumer, NATIVE } from '../support/amqp-1-0.js';
import { request, startStack, uniqueUser, userToken, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

describe.runIf(isAtLeast(inject('broker').version, NATIVE))('a client by AMQP 1.0', () => {
  it('is online, and ends when its device is taken over, and when its user is revoked', async () => {
    const user = uniqueUser();
    const first = new Consumer(await stack.session(user, { deviceId: 'phone' }));
    await stack.send({ user }, 'first');
    await first.receives('first');
    await until(async () => {
      const { body } = await stack.api('GET', `/v1/presence?users=${user}`);
      return body.users[0]!.online;
    });
    const second = new Consumer(await stack.session(user, { deviceId: 'phone' }));
    await until(() => !first.isOpen, 'the end of the first');
    await stack.send({ user }, 'second');
    await second.receives('second');
    await stack.api('POST', `/v1/users/${user}/revoke`, {});
    await until(() => !second.isOpen, 'the end of the second');
  });

  it('ends when its device logs out', async () => {
    const user = uniqueUser();
    const client = new Consumer(await stack.session(user, { deviceId: 'phone' }));
    await stack.send({ user }, 'first');
    await client.receives('first');
    const url = `${stack.apiUrl}/v1/sessions/phone`;
    expect((await request(url, 'DELETE', userToken(user))).status).toBe(204);
    await until(() => !client.isOpen, 'its end');
  });

  it('reads no queue of another device', async () => {
    const own = await stack.session(uniqueUser(), { deviceId: 'phone' });
    const other = await stack.session(uniqueUser(), { deviceId: 'phone' });
    const thief = new Consumer(own, other.queue);
    await until(() => thief.refusal !== undefined);
    expect(thief.refusal).toBe('amqp:unauthorized-access');
    thief.close();
  });

  it('has no more connections than one by another protocol', async () => {
    const grant = await stack.session(uniqueUser(), { deviceId: 'phone' });
    const all = Array.from({ length: 10 }, () => new Consumer(grant));
    await until(() => all.filter(({ isOpen }) => isOpen).length <= 4);
    for (const consumer of all) consumer.close();
  });
});
