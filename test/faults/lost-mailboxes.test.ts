import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { limitMailboxes } from '../support/queue-policy.js';
import { QueueWatch } from '../support/queue-watch.js';
import { seeded } from '../support/seeded.js';
import { startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

const SEED = Number(process.env['WARREN_TEST_SEED'] ?? 20_261_121);
const USERS = 20;
const EACH = 150;
const LOSSES = 30;

const random = seeded(SEED);
let stack: Stack;
let watch: QueueWatch;
beforeAll(async () => {
  stack = await startStack();
  watch = await QueueWatch.open();
});
afterAll(async () => {
  await watch.close();
  await stack.close();
});

/** A client with a handler that now and then takes its time. */
async function receiver(user: string, index: number) {
  const client = stack.client(user, TRANSPORTS[index % 2 === 0 ? 'amqp' : 'stomp'](), {
    deviceId: 'd',
    prefetch: 5,
  });
  const seen: number[] = [];
  let gaps = 0;
  client.handle('note', async ({ data }) => {
    if (random() < 0.05) await wait(5);
    seen.push(data as number);
  });
  client.on('gap', () => gaps++);
  client.start();
  await client.ready();
  return { user, seen, gaps: () => gaps };
}

async function send(user: string, numbers: number[]): Promise<void> {
  for (const number of numbers) {
    const { status } = await stack.send({ user }, number, { delivery: 'stored' });
    expect(status).toBe(202);
  }
}

it(`mailboxes that are lost while messages flow cost nothing that was stored (seed ${String(SEED)})`, async () => {
  const users = Array.from({ length: USERS }, () => uniqueUser());
  const receivers = await Promise.all(users.map(receiver));
  // Some mailboxes are small, so that they overflow besides.
  const small = users.filter((_, index) => index % 5 === 0);
  const policies = await Promise.all(
    small.map((user) => limitMailboxes(user, { 'max-length': 8 })),
  );
  const all = Array.from({ length: EACH }, (_, index) => index);
  const sending = Promise.all(users.map((user) => send(user, all)));
  for (let loss = 0; loss < LOSSES; loss++) {
    await wait(random() * 150);
    const user = users[Math.floor(random() * USERS)]!;
    const { body } = await stack.api('GET', `/v1/users/${user}`);
    const queue = (body as { devices?: { queue: string }[] }).devices?.[0]?.queue;
    if (queue !== undefined) await watch.remove(queue);
  }
  await sending;
  await until(
    () => receivers.every(({ seen }) => new Set(seen).size === EACH),
    () => {
      const short = receivers.filter(({ seen }) => new Set(seen).size < EACH);
      return short.map(({ user, seen }) => `${user}: ${seen.slice(-8).join()}`).join('; ');
    },
    60_000,
  );
  // Once each, and in order.
  for (const { seen } of receivers) expect(seen).toEqual(all);
  // Whether something else was lost with a mailbox, nobody can know.
  expect(receivers.reduce((sum, { gaps }) => sum + gaps(), 0)).toBeGreaterThan(0);
  await Promise.all(policies.map((policy) => policy.remove()));
});
