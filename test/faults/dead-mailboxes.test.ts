import { connect } from 'amqplib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { TimelineEntry } from '@warren/protocol';
import { isAtLeast, SURVIVES_HEADERS, type Broker } from '@warren/rabbitmq';
import { createBroker } from '../support/broker.js';
import { killForGood } from '../support/dead-queue.js';
import { collect, startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

// Not the shared one: queues that were killed cannot be deleted everywhere.
let broker: Broker;
let remove: () => Promise<void>;
let stack: Stack;
beforeAll(async () => {
  ({ broker, remove } = await createBroker());
  await broker.start();
  stack = await startStack({
    endpoints: broker.endpoints,
    signingKey: broker.signingKey.privateKey,
    config: { mailboxType: 'classic' },
  });
});
afterAll(async () => {
  await stack.close();
  await remove();
});

let counted = 0;
beforeEach(async () => {
  counted = await replaced();
});

async function replaced(): Promise<number> {
  const text = await (await fetch(`${stack.apiUrl}/metrics`)).text();
  return Number(/^warren_mailboxes_dead_total (\d+)$/m.exec(text)?.[1] ?? NaN);
}

const kindsOf = async (user: string): Promise<string[]> => {
  const { body } = await stack.api('GET', `/v1/users/${user}/timeline`);
  return (body as unknown as { entries: TimelineEntry[] }).entries.map(({ kind }) => kind);
};

/** A broadcast is confirmed when all mailboxes have it. */
const broadcast = async (data: unknown): Promise<number> =>
  (await stack.send({ broadcast: true }, data)).status;

/** Messages to all are confirmed, and nothing is left to replace. */
async function untilWell(): Promise<void> {
  await until(async () => (await broadcast('well')) === 202, 'a broadcast', 90_000);
  const well = JSON.stringify({ status: 'ok', checks: { broker: 'up', database: 'up' } });
  const told = async () => JSON.stringify((await stack.api('GET', '/health/ready')).body);
  await until(async () => (await told()) === well, told, 30_000);
}

describe('a mailbox whose queue the broker cannot bring back', () => {
  it.each(Object.keys(TRANSPORTS) as (keyof typeof TRANSPORTS)[])(
    'is replaced while its client is connected by %s',
    async (transport) => {
      const user = uniqueUser();
      const client = stack.client(user, TRANSPORTS[transport]());
      const messages = collect(client, 'note');
      client.start();
      await client.ready();
      const { queue } = (await stack.user(user)).devices[0]!;
      await killForGood(broker, queue);
      await until(
        async () => {
          // Goes unconfirmed, by which it is noticed; the client is not told for a minute.
          await stack.send({ user }, 'lost');
          return (await stack.user(user)).devices[0]!.queue !== queue;
        },
        'another mailbox',
        90_000,
      );
      await stack.send({ user }, 'after');
      await until(() => messages.some(({ data }) => data === 'after'));
      await until(async () => (await kindsOf(user)).includes('mailbox_lost'));
      expect((await replaced()) - counted).toBe(1);
      await untilWell();
      await client.stop();
    },
    180_000,
  );

  it('is replaced while nobody is there; what was stored is recovered, who followed the rest is told', async () => {
    const user = uniqueUser();
    const { queue, sessionId } = await stack.session(user, { deviceId: 'amqp' });
    expect((await stack.send({ user }, 'stored', { delivery: 'stored' })).status).toBe(202);
    const { body: tracked } = await stack.send({ user }, 'tracked', { track: true });
    await killForGood(broker, queue);
    await untilWell();
    await until(async () => {
      const { counts } = (await stack.api('GET', `/v1/messages/${tracked.id}`)).body;
      return counts.dropped === 1;
    });
    await until(async () => (await kindsOf(user)).includes('mailbox_lost'));
    expect((await stack.send({ user }, 'after')).status).toBe(202);
    const grant = await stack.session(user, { deviceId: 'amqp', sessionId });
    expect(grant).toMatchObject({ missed: true });
    expect(grant.queue).not.toBe(queue);
    const client = stack.client(user, TRANSPORTS.amqp(), { deviceId: 'amqp' });
    const messages = collect(client, 'note');
    client.start();
    await until(() => messages.some(({ data }) => data === 'after'));
    expect(messages.map(({ data }) => data)).toContain('stored');
    expect(messages.map(({ data }) => data)).not.toContain('tracked');
    await client.stop();
  }, 180_000);

  it('does not keep its device from being logged out, nor its user from being removed', async () => {
    const user = uniqueUser();
    const [first, second] = [
      await stack.session(user, { deviceId: 'first' }),
      await stack.session(user, { deviceId: 'second' }),
    ];
    await killForGood(broker, first.queue);
    await killForGood(broker, second.queue);
    await until(
      async () => (await stack.api('DELETE', `/v1/users/${user}`)).status === 204,
      'the removal',
      90_000,
    );
    await untilWell();
    expect((await stack.api('GET', `/v1/users/${user}`)).status).toBe(404);
  }, 180_000);
});

it('one message by which every mailbox would die costs nobody more than what waited there', async () => {
  const users = [uniqueUser(), uniqueUser(), uniqueUser()];
  for (const user of users) await stack.session(user, { deviceId: 'd' });
  const model = await connect(broker.endpoints.backendAmqpUrl);
  const channel = await model.createConfirmChannel();
  const headers = { 'x-death': ['a'] };
  const options = { headers, expiration: '100', persistent: true };
  channel.publish('warren.direct', 'broadcast', Buffer.from('{}'), options);
  await channel.waitForConfirms();
  await model.close();
  if (isAtLeast(broker.version, SURVIVES_HEADERS)) {
    await untilWell();
    expect((await replaced()) - counted).toBe(0);
    return;
  }
  await until(async () => (await replaced()) - counted >= users.length, 'new mailboxes', 120_000);
  await untilWell();
  for (const user of users) {
    const client = stack.client(user, TRANSPORTS.amqp(), { deviceId: 'd' });
    const messages = collect(client, 'note');
    client.start();
    await client.ready();
    await stack.send({ user }, 'after');
    await until(() => messages.some(({ data }) => data === 'after'));
    await client.stop();
  }
}, 300_000);

it('none is left dead by a restart of the broker', async () => {
  await broker.restart();
  await untilWell();
}, 180_000);
