import { AMQPConnectionError, Connection } from 'rabbitmq-client';
import { BROKER_AUDIENCE, signToken } from '../sessions/client-tokens.js';
import type { KeyRing } from '../sessions/key-ring.js';

/** Names no queue, and does not begin as the names of queues do. */
const NOBODY = 'warren.key-check';
const TIMEOUT_MS = 5000;

/** - `unreachable`: the broker did not answer, so that nothing is known. */
export type KeyVerdict = 'accepted' | 'refused' | 'unreachable';

/**
 * Whether the broker accepts tokens that are signed with the newest key: logs in with one that may read
 * nothing that exists. A cluster is asked by the node that the address leads to.
 */
export async function probeKey(amqpUrl: string, keys: KeyRing): Promise<KeyVerdict> {
  const url = new URL(amqpUrl);
  const vhost = url.pathname.slice(1) || 'warren';
  const scope = [`${BROKER_AUDIENCE}.read:${vhost}/${NOBODY}`];
  const { token } = signToken(keys, { sub: NOBODY, aud: BROKER_AUDIENCE, scope }, 60);
  url.username = NOBODY;
  url.password = token;
  const connection = new Connection({
    url: url.toString(),
    connectionName: 'warren key check',
    connectionTimeout: TIMEOUT_MS,
  });
  try {
    return await new Promise<KeyVerdict>((resolve) => {
      const timer = setTimeout(resolve, TIMEOUT_MS, 'unreachable');
      connection.once('connection', () => {
        clearTimeout(timer);
        resolve('accepted');
      });
      connection.on('error', (error: unknown) => {
        clearTimeout(timer);
        const refused = error instanceof AMQPConnectionError && error.code === 'ACCESS_REFUSED';
        resolve(refused ? 'refused' : 'unreachable');
      });
    });
  } finally {
    connection.unsafeDestroy();
  }
}
