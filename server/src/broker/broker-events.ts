/** What the broker says has happened. Times are its own, in milliseconds since 1970. */
export type BrokerEvent =
  | ConnectionOpened
  | { kind: 'authenticated'; name: string; user: string; at: number }
  | { kind: 'closed'; name: string; at: number }
  | { kind: 'queueDeleted'; queue: string };

export interface ConnectionOpened {
  kind: 'opened';
  name: string;
  login: string;
  /** Undefined where the broker tells only what the client called itself. */
  user: string | undefined;
  /** Whether it is by STOMP or AMQP 1.0, where no token can take the place of the one that it was opened with. */
  keepsToken: boolean;
  /** The node that has it, and which of its runs: all of a run's connections end with it, without events. */
  run: string | undefined;
  /** Of a connection that a server has made to see its own event come by. */
  mark: string | undefined;
  at: number;
}

/** What such a connection is called. */
export const markOf = (uuid: string): string => `warren mark ${uuid}`;
/** Any client may name its connection, and PostgreSQL does not take every text. */
const MARK = new RegExp(`^${markOf('[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')}$`);

/** STOMP in its kinds, and AMQP 1.0, which can exchange a token from RabbitMQ 4.1 on alone. */
const KEEPS_TOKEN = /STOMP|^\{1,0\}$/;

/** A client may call itself anything. */
const MAX_LOGIN_LENGTH = 512;

/** The routing keys of what {@link readEvent} understands of connections. */
export const CONNECTION_KEYS = ['connection.created', 'connection.closed', 'channel.created'];
export const QUEUE_KEYS = ['queue.deleted'];

/**
 * Reads an event of rabbitmq_event_exchange; undefined for one that is of no interest, or of another vhost.
 *
 * Who a client is, its channel tells, and its connection unless that is `direct`: STOMP up to 4.3 runs on
 * such, under whatever login the client has sent (measured on 3.10.8, 4.0.5 and 4.3.6). From 4.4 on STOMP has
 * no channel, and no type, and its connection tells who has proved to be whom (rabbitmq-server, PR 9141).
 */
export function readEvent(
  routingKey: string,
  headers: Record<string, unknown>,
  vhost: string,
): BrokerEvent | undefined {
  const text = (key: string): string => {
    const value = headers[key];
    return typeof value === 'string' ? value : '';
  };
  const name = text('name');
  const at = timeOf(headers);
  // It does not say where it was.
  if (routingKey === 'connection.closed') return { kind: 'closed', name, at };
  if (text('vhost') !== vhost) return undefined;
  const user = text('user').slice(0, MAX_LOGIN_LENGTH);
  switch (routingKey) {
    case 'connection.created':
      return {
        kind: 'opened',
        name,
        login: user,
        user: text('type') === 'direct' ? undefined : user,
        keepsToken: KEEPS_TOKEN.test(text('protocol')),
        run: runOf(text('pid')),
        mark: MARK.exec(text('user_provided_name'))?.[0],
        at,
      };
    case 'channel.created':
      // "<connection> (<number>)"
      return { kind: 'authenticated', name: name.replace(/ \(\d+\)$/, ''), user, at };
    case 'queue.deleted':
      return { kind: 'queueDeleted', queue: name };
    default:
      return undefined;
  }
}

/** Of "<node.creation.id.serial>", a process: the creation is another one each time that the node starts. */
const runOf = (pid: string): string | undefined => /^<(.+\.\d+)\.\d+\.\d+>$/.exec(pid)?.[1];

function timeOf(headers: Record<string, unknown>): number {
  const told = Number(headers['timestamp_in_ms']);
  return Number.isSafeInteger(told) && told > 0 ? told : Date.now();
}
