import { EventEmitter } from 'node:events';
import { expect, it, onTestFinished, vi } from 'vitest';
import { createLogger } from '@warren/server';
import type { ClientConnection } from '../../server/dist/broker/watch.js';
import {
  ConnectionQuota,
  type ConnectionQuotaOptions,
} from '../../server/dist/sessions/connection-quota.js';

/* What it costs the server to count connections, and whose word it takes, do not show outside. */

const QUEUE = 'user.ann.phone.1';

function start() {
  const open: ClientConnection[] = [];
  const watch = Object.assign(new EventEmitter(), {
    connectionsOf: () => [...open],
    users: () => [QUEUE],
  });
  const close = vi.fn<ConnectionQuotaOptions['connections']['close']>((connection) => {
    open.splice(open.indexOf(connection), 1);
    return Promise.resolve();
  });
  const findByQueue = vi.fn(() => Promise.resolve(undefined));
  const quota = new ConnectionQuota({
    watch,
    connections: { close },
    devices: { findByQueue },
    timeline: { note: () => undefined },
    queuePrefixes: ['user.'],
    logger: createLogger('silent'),
  } as unknown as ConnectionQuotaOptions);
  onTestFinished(() => {
    quota.close();
  });
  const connect = (name: string, user: string | undefined): void => {
    const connection = { name, login: QUEUE, user };
    open.push(connection);
    if (user !== undefined) watch.emit('authenticated', connection, Date.now());
  };
  const closed = (): string[] => close.mock.calls.map(([{ name }]) => name);
  return { connect, closed, findByQueue, watch };
}

it('looks a device up once a minute, however many connections it opens', async () => {
  const { connect, closed, findByQueue } = start();
  for (let count = 0; count < 50; count++) connect(`own ${String(count)}`, QUEUE);
  await expect.poll(() => closed().length).toBe(46);
  expect(findByQueue).toHaveBeenCalledTimes(1);
});

it('closes none of whoever has proved to be a device for those who only say that they are', async () => {
  const { connect, closed, watch } = start();
  for (const name of ['first', 'second']) connect(name, QUEUE);
  for (let count = 0; count < 10; count++) connect(`liar ${String(count)}`, undefined);
  watch.emit('listed');
  for (const name of ['third', 'fourth', 'fifth']) connect(name, QUEUE);
  await expect.poll(closed).toEqual(['first']);
});
