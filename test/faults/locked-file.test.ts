import { join } from 'node:path';
import Libsql from 'libsql';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { Program } from '../support/program.js';
import { SERVICE_KEY, startStack, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let worker: Program;
beforeAll(async () => {
  stack = await startStack({
    config: {
      databaseUrl: undefined,
      history: { limits: { days: 0, count: 0 }, hasWorker: false },
    },
  });
  const { endpoints, signingKey } = inject('broker');
  worker = new Program(process.execPath, ['server/bin/warren.js', 'worker', 'history'], {
    WARREN_AMQP_URL: endpoints.amqpUrl,
    WARREN_MANAGEMENT_URL: endpoints.managementUrl,
    WARREN_SIGNING_KEY: signingKey,
    WARREN_SERVICE_KEYS: SERVICE_KEY,
    WARREN_DATA_DIR: stack.dataDir,
    WARREN_LOG_LEVEL: 'warn',
  });
});
afterAll(async () => {
  worker.kill();
  await stack.close();
});

const isReady = async (): Promise<boolean> => {
  const { status } = await stack.api('GET', '/health/ready');
  return status === 200;
};
/** @returns the statuses of what writes into the database. */
async function use(user: string): Promise<number[]> {
  const replies = [
    await stack.send({ user }, 1, { track: true }),
    await stack.api('PUT', `/v1/users/${uniqueUser()}`),
    await stack.send({ user }, 2, { track: true }),
  ];
  return replies.map(({ status }) => status);
}

it('a file that another process has locked is told to be down, and used again as soon as it is free', async () => {
  const user = uniqueUser();
  await stack.session(user, { deviceId: 'phone' });
  const other = new Libsql(join(stack.dataDir, 'warren.sqlite'));
  for (let round = 0; round < 2; round++) {
    other.exec('BEGIN EXCLUSIVE');
    expect(await isReady()).toBe(false);
    expect(await use(user)).toEqual([503, 503, 503]);
    other.exec('ROLLBACK');
    expect(await isReady()).toBe(true);
    expect(await use(user)).toEqual([202, 200, 202]);
  }
  other.close();
  // The other process of the documentation has come through it, too.
  const { id } = (await stack.send({ user }, 'stored', { delivery: 'stored' })).body;
  await until(async () => {
    const { body } = await stack.api('GET', `/v1/history?user=${user}`);
    return body.items.some((item) => item.id === id);
  }, worker.output);
});
