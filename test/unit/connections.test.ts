import { expect, it } from 'vitest';
import { createLogger } from '@warren/server';
import { Connections, type ConnectionsOptions } from '../../server/dist/broker/connections.js';
import type { ClientConnection } from '../../server/dist/broker/watch.js';
import { until } from '../support/until.js';

/*
 * RabbitMQ 4 closes connections by AMQP 0-9-1 and STOMP when all of a login are to be closed, and those by AMQP 1.0 each by its
 * name alone.
 */

const QUEUE = 'user.ann.phone.1';

/** A broker on which these are open; the one called `modern` is by AMQP 1.0. */
function brokerWith(names: string[], { isWatching }: { isWatching: boolean }) {
  const open = new Set(names);
  const closed: string[] = [];
  const toConnection = (name: string): ClientConnection => ({ name, login: QUEUE, user: QUEUE });
  const known = new Map(names.map((name) => [name, toConnection(name)]));
  const connectionsOf = () =>
    [...open].map((name) => {
      const connection = known.get(name) ?? toConnection(name);
      known.set(name, connection);
      return connection;
    });
  const connections = new Connections({
    management: {
      closeConnections: () => {
        for (const name of [...open]) if (!name.startsWith('modern')) open.delete(name);
        return Promise.resolve();
      },
      closeConnection: (name: string) => {
        closed.push(name);
        return Promise.resolve(open.delete(name));
      },
      connectionsOf: () => Promise.resolve([...open]),
    },
    watch: {
      isWatching,
      on: () => undefined,
      connectionsOf: () => (isWatching ? connectionsOf() : []),
      unverified: () => [],
      listed: () => Promise.resolve(),
    },
    provisioner: { consumers: () => Promise.resolve(0) },
    queuePrefix: 'user.',
    metrics: { connectionsClosed: { inc: () => undefined } },
    logger: createLogger('silent'),
  } as unknown as ConnectionsOptions);
  return { connections, open, closed };
}

it.each([
  ['are watched', true],
  ['cannot be watched', false],
])('closes what the broker has left open, where its events %s', async (_, isWatching) => {
  const { connections, open, closed } = brokerWith(['old', 'modern'], { isWatching });
  await connections.closeAll(QUEUE, 'session_replaced');
  // The device that took over is not to be closed.
  open.add('modern, of the next session').add('of the next session');
  await until(() => closed.length > 0);
  expect(closed).toEqual(['modern']);
  expect([...open]).toEqual(['modern, of the next session', 'of the next session']);
});
