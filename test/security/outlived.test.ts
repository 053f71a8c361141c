import { afterEach, describe, expect, inject, it } from 'vitest';
import type { SessionGrant } from '@warren/protocol';
import { isAtLeast } from '@warren/rabbitmq';
import { Consumer, NATIVE } from '../support/amqp-1-0.js';
import { consumeByAmqp, consumeByStomp } from '../support/liar.js';
import { startStack, uniqueUser, type Stack, type StackOptions } from '../support/stack.js';
import { until } from '../support/until.js';

/*
 * Somebody has got hold of a device's token, and connects with it. It lasts for so long and no longer, also while its
 * device goes on and renews its session.
 */

const SHORT = { sessionTtlSeconds: 4, expiryGraceMs: 500 };

let stack: Stack | undefined;
afterEach(() => stack?.close());

const start = async (config: StackOptions['config'] = {}): Promise<Stack> =>
  (stack = await startStack({ config: { ...SHORT, ...config } }));

/** What the device does, until something is so. */
async function renewUntil(
  server: Stack,
  user: string,
  { deviceId, sessionId }: SessionGrant,
  isSo: () => boolean,
  use: (grant: SessionGrant) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  await until(async () => {
    await use(await server.session(user, { deviceId, sessionId }));
    return isSo();
  });
}

describe('a connection by STOMP', () => {
  it('ends with the token that it was opened with, while the device goes on', async () => {
    const server = await start();
    const user = uniqueUser();
    const grant = await server.session(user, { deviceId: 'phone' });
    const device = await consumeByAmqp(grant);
    const thief = await consumeByStomp(grant);
    await renewUntil(server, user, grant, thief.isGone, (next) => device.renew(next));
    expect(device.isGone()).toBe(false);
    await server.send({ user }, 'for the device');
    await until(() => device.bodies.length > 0);
    expect(thief.bodies).toEqual([]);
    await device.close();
  });

  it('ends so, too, when another server has begun meanwhile', async () => {
    const first = await start();
    const user = uniqueUser();
    const grant = await first.session(user, { deviceId: 'phone' });
    const thief = await consumeByStomp(grant);
    await first.server.close();
    const second = await start({ dataDir: first.dataDir });
    await renewUntil(second, user, grant, thief.isGone);
  });
});

describe.runIf(isAtLeast(inject('broker').version, NATIVE))('a connection by AMQP 1.0', () => {
  it('ends so, too', async () => {
    const server = await start();
    const user = uniqueUser();
    const grant = await server.session(user, { deviceId: 'phone' });
    const thief = new Consumer(grant);
    await renewUntil(server, user, grant, () => !thief.isOpen);
  });
});
