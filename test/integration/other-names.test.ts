import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Broker } from '@warren/rabbitmq';
import { createPublisher } from '@warren/server/publisher';
import { createBroker } from '../support/broker.js';
import { collect, startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

const names = { vhost: 'my app', exchange: 'exchange_001', userPrefix: 'inbox', livePrefix: 'now' };

let broker: Broker;
let remove: () => Promise<void>;
let stack: Stack;
beforeAll(async () => {
  ({ broker, remove } = await createBroker({ names }));
  await broker.start();
  const { vhost: _vhost, ...config } = names;
  stack = await startStack({
    endpoints: broker.endpoints,
    signingKey: broker.signingKey.privateKey,
    config: { names: config },
  });
});
afterAll(async () => {
  await stack.close();
  await remove();
});

it('fits a broker with a vhost, an exchange and prefixes of its own, by both transports', async () => {
  const user = uniqueUser();
  const clients = [stack.client(user, TRANSPORTS.stomp()), stack.client(user, TRANSPORTS.amqp())];
  const seen = clients.map((client) => collect(client));
  for (const client of clients) client.start();
  await Promise.all(clients.map((client) => client.ready()));
  const publisher = createPublisher({
    amqpUrl: broker.endpoints.backendAmqpUrl,
    exchange: names.exchange,
    prefixes: { user: names.userPrefix, live: names.livePrefix },
  });
  await publisher.toUser(user, 'note', 'queued');
  await publisher.toUser(user, 'note', 'live', { delivery: 'live' });
  await publisher.close();
  for (const messages of seen) {
    await until(
      () => messages.length === 2,
      () => JSON.stringify(messages),
    );
    expect(messages.map(({ delivery }) => delivery).sort()).toEqual(['live', 'queued']);
  }
  expect((await stack.user(user)).devices[0]!.queue).toMatch(/^inbox\./);
  expect((await stack.user(user)).online).toBe(true);
});
