import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Client, Message } from '@warren/client';
import type { Broker } from '@warren/rabbitmq';
import { createBroker } from '../support/broker.js';
import { collect, startStack, TRANSPORTS, userToken, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/** `npm run bench -- storm` has 2,000, beside bare clients. */
const CLIENTS = 200;

let broker: Broker;
let remove: () => Promise<void>;
let stack: Stack;
beforeAll(async () => {
  ({ broker, remove } = await createBroker());
  await broker.start();
  stack = await startStack({
    endpoints: broker.endpoints,
    signingKey: broker.signingKey.privateKey,
    // As strict as in production.
    config: { rateLimits: { perKey: 2000, perUser: 120, broadcasts: 0 } },
  });
});
afterAll(async () => {
  await stack.close();
  await remove();
});

it('all clients come back after the broker was killed, and none is refused for good', async () => {
  const clients: Client[] = [];
  const seen: Message[][] = [];
  for (let index = 0; index < CLIENTS; index++) {
    const userId = `storm-${String(index)}`;
    const transport = index % 2 === 0 ? TRANSPORTS.stomp() : TRANSPORTS.amqp();
    const client = stack.client(userId, transport, { getToken: () => userToken(userId) });
    seen.push(collect(client));
    client.start();
    clients.push(client);
  }
  const inState = (state: string) =>
    clients.filter((client) => client.getSnapshot().state === state).length;
  await until(() => inState('connected') === CLIENTS, 'the opening', 60_000);
  await broker.kill();
  await until(() => inState('connected') === 0);
  await broker.start();
  await until(
    () => inState('connected') === CLIENTS,
    () => `${String(inState('failed'))} failed`,
    60_000,
  );
  expect(inState('failed')).toBe(0);
  for (let index = 0; index < CLIENTS; index++) {
    const reply = await stack.send({ user: `storm-${String(index)}` }, index);
    expect(reply.body.recipients[0]!.outcome).toBe('queued');
  }
  await until(() => seen.every((messages) => messages.length === 1));
}, 200_000);
