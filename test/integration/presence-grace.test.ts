import { afterAll, beforeAll, expect, it } from 'vitest';
import { EventLog } from '../support/events.js';
import { startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

// The only server on its database: another one with less patience would tell of them.
let stack: Stack;
let log: EventLog;
beforeAll(async () => {
  stack = await startStack({ extras: { timing: { offlineGraceMs: 30_000 } } });
  log = await EventLog.open('user.#');
});
afterAll(async () => {
  await log.close();
  await stack.close();
});

async function open(user: string) {
  const client = stack.client(user, TRANSPORTS.stomp());
  client.handle('*', () => undefined);
  client.start();
  await client.ready();
  return client;
}

it('nobody is told of somebody who is back in a moment', async () => {
  const user = uniqueUser();
  const client = await open(user);
  await until(() => log.of(user).includes('user.online'));
  await client.stop();
  // Each is told of after what happened before it has been looked at.
  for (const round of [1, 2]) {
    const marker = uniqueUser();
    await open(marker);
    await until(() => log.of(marker).includes('user.online'));
    expect([round, ...log.of(user)]).toEqual([round, 'user.online']);
    await open(user);
  }
});
