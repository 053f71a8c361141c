import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { MessageState } from '@warren/protocol';
import { isAtLeast, parseVersion } from '@warren/rabbitmq';
import { RawStomp } from '../support/raw-stomp.js';
import {
  request,
  startStack,
  uniqueUser,
  untilDepths,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

/* What fills the broker's memory and disk, by calls that everybody may make. */

let stack: Stack;
beforeAll(async () => {
  stack = await startStack({ config: { rateLimits: { perKey: 0, perUser: 120, broadcasts: 0 } } });
});
afterAll(() => stack.close());

async function provisioned(): Promise<string> {
  const user = uniqueUser();
  await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
  return user;
}

const outcomeOf = async (id: string): Promise<string | undefined> => {
  const { body } = await stack.api('GET', `/v1/messages/${id}`);
  return (body as unknown as MessageState).recipients[0]?.outcome;
};

describe('what a user has read', () => {
  const tell = (user: string, body: object) =>
    request(`${stack.apiUrl}/v1/me/receipts`, 'POST', userToken(user), body);
  /** As many and as long as a request may have; there is no such message. */
  const invented = (round: number): string[] =>
    Array.from({ length: 500 }, (_, index) =>
      `${String(round)}-${String(index)}-`.padEnd(128, 'x'),
    );

  it('is told to its devices up to a size, then refused for a while, and all else is noted', async () => {
    const user = await provisioned();
    const { body: message } = await stack.send({ user }, 1, { track: true });
    const statuses: number[] = [];
    for (let round = 0; round < 10; round++) {
      statuses.push((await tell(user, { read: invented(round) })).status);
    }
    const taken = statuses.filter((status) => status === 204).length;
    expect(statuses.slice(0, 2)).toEqual([204, 429]);
    // Once more, should a minute have ended meanwhile.
    expect(taken).toBeLessThanOrEqual(2);
    const refused = await tell(user, { read: invented(10), delivered: [message.id] });
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await outcomeOf(message.id)).toBe('delivered');
    await untilDepths(stack, user, 1 + taken);
    // Others are not held up.
    expect((await tell(await provisioned(), { read: ['a'] })).status).toBe(204);
  });

  it('is told of any message, once for each, however often it stands in the request', async () => {
    const user = await provisioned();
    const read = Array.from({ length: 200 }, () => crypto.randomUUID());
    expect((await tell(user, { read })).status).toBe(204);
    // Taken together these would be more than the limit.
    for (let round = 0; round < 5; round++) {
      const repeated = Array.from({ length: 500 }, () => String(round).padEnd(128, 'x'));
      expect((await tell(user, { read: repeated })).status).toBe(204);
    }
    await untilDepths(stack, user, 6);
  });
});

describe('a mailbox', () => {
  const MIB = 1024 * 1024;

  it('ends at 64 MB, the oldest going first, and their senders are told', async () => {
    const user = await provisioned();
    const data = 'x'.repeat(240 * 1024);
    const { body: first } = await stack.send({ user }, data, { track: true });
    const others = Math.ceil((70 * MIB) / data.length);
    for (let count = 0; count < others; count++) {
      expect((await stack.send({ user }, data)).status).toBe(202);
    }
    await until(
      async () => (await outcomeOf(first.id)) === 'overflowed',
      async () => String(await outcomeOf(first.id)),
    );
    const [device] = (await stack.user(user)).devices;
    expect((device?.depth ?? Infinity) * data.length).toBeLessThanOrEqual(64 * MIB);
    expect(device?.depth).toBeGreaterThan(200);
    // With all that lies in the dead letters.
    await stack.api('DELETE', `/v1/users/${user}`);
  });
});

describe('a frame', () => {
  const { endpoints } = inject('broker');

  /** Web-STOMP counts the parts of a frame together from there on. */
  async function countsParts(): Promise<boolean> {
    const { origin, username, password } = new URL(endpoints.managementUrl);
    const response = await fetch(`${origin}/api/overview`, {
      headers: { authorization: `Basic ${btoa(`${username}:${password}`)}` },
    });
    const { rabbitmq_version: text } = (await response.json()) as { rabbitmq_version: string };
    return isAtLeast(parseVersion(text), [4, 3, 5]);
  }

  it('that comes in parts without end is cut off at 64 KiB, where the broker can do that', async () => {
    if (!(await countsParts())) return;
    const { queue, token } = await stack.session(uniqueUser(), { deviceId: 'phone' });
    const client = await RawStomp.open(endpoints.stompUrl);
    expect(await client.login({ login: queue, passcode: token, host: 'warren' })).toBe(true);
    client.sendPart('SEND\ndestination:/topic/x\n\n');
    // Less than the 4 MiB that RabbitMQ takes of its own accord.
    for (let part = 0; part < 64; part++) client.sendPart('x'.repeat(16 * 1024));
    await client.closed;
  });
});
