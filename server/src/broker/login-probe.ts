import { AMQPConnectionError, Connection } from 'rabbitmq-client';
import { BROKER_AUDIENCE, signToken } from '../sessions/client-tokens.js';
import type { KeyRing } from '../sessions/key-ring.js';

/** Names no queue, and does not begin as the names of queues do. */
const NOBODY = 'warren.key-check';
const TIMEOUT_MS = 5000;

/** - `unreachable`: the broker did not answer, so that nothing is known. */
export type LoginVerdict = 'accepted' | 'refused' | 'unreachable';

interface LoginResult {
  verdict: LoginVerdict;
  /** Why not, where it was not let in and that is known. */
  error?: unknown;
}

/**
 * Whether the broker accepts tokens that are signed with the newest key: logs in with one that may read
 * nothing that exists. A cluster is asked by the node that the address leads to.
 */
export async function probeKey(amqpUrl: string, keys: KeyRing): Promise<LoginResult> {
  const vhost = new URL(amqpUrl).pathname.slice(1);
  const scope = [`${BROKER_AUDIENCE}.read:${vhost}/${NOBODY}`];
  const { token } = signToken(keys, { sub: NOBODY, aud: BROKER_AUDIENCE, scope }, 60);
  return tryLogin(amqpUrl, NOBODY, token);
}

/** Whether the broker lets somebody in. @param amqpUrl whose account is left aside. */
export async function probeLogin(
  amqpUrl: string,
  login: string,
  password: string,
): Promise<LoginVerdict> {
  return (await tryLogin(amqpUrl, login, password)).verdict;
}

/** As {@link probeLogin}, with why not. */
export async function tryLogin(
  amqpUrl: string,
  login: string,
  password: string,
): Promise<LoginResult> {
  const url = new URL(amqpUrl);
  const secure = url.protocol === 'amqps:';
  const connection = new Connection({
    hostname: url.hostname,
    port: url.port === '' ? (secure ? 5671 : 5672) : Number(url.port),
    vhost: decodeURIComponent(url.pathname.slice(1)),
    username: login,
    password,
    tls: secure,
    connectionName: 'warren check',
    connectionTimeout: TIMEOUT_MS,
  });
  try {
    return await new Promise((resolve) => {
      const timer = setTimeout(resolve, TIMEOUT_MS, { verdict: 'unreachable' });
      const settle = (verdict: LoginVerdict, error?: unknown): void => {
        clearTimeout(timer);
        resolve({ verdict, error });
      };
      connection.once('connection', () => {
        settle('accepted');
      });
      connection.on('error', (error: unknown) => {
        settle(isAccessRefused(error) ? 'refused' : 'unreachable', error);
      });
    });
  } finally {
    connection.unsafeDestroy();
  }
}

/** Whether the broker knows no such account, or no such password of it. */
export const isAccessRefused = (error: unknown): boolean =>
  error instanceof AMQPConnectionError && error.code === 'ACCESS_REFUSED';
