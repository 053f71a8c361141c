import { randomUUID } from 'node:crypto';
import amqp from 'amqplib';
import type { PassingEvent, SessionGrant, WarrenEvent } from '@warren/protocol';
import { askAdmin, type AdminAccess } from './admin-api.js';
import { printableLine } from './printable.js';

export interface TailOptions {
  /** Whom to watch. Default: events of everybody. */
  user: string | undefined;
  isJson: boolean;
  print: (line: string) => void;
  /** Ends it. */
  signal: AbortSignal;
}

type Told = WarrenEvent | PassingEvent;

const EVERYTHING = ['user.#', 'session.#', 'message.#'];
/** The server forgets whoever is silent for a minute, in milliseconds. */
const FEED_EVERY_MS = 15_000;
/** The broker's login lasts ten minutes. */
const RENEW_EVERY_MS = 5 * 60_000;

/** Prints what happens, as it happens, until the signal aborts; rejected when the connection breaks. */
export async function tail(access: AdminAccess, options: TailOptions): Promise<void> {
  const { user, print, signal } = options;
  const deviceId = `tail-${randomUUID()}`;
  const open = (sessionId?: string): Promise<SessionGrant> =>
    askAdmin(access, 'POST', 'sessions', { deviceId, sessionId });
  const grant = await open();
  const path = `sessions/${grant.sessionId}`;
  const body = user === undefined ? { events: EVERYTHING } : { watch: [user] };
  const feed = (): Promise<unknown> => askAdmin(access, 'PUT', `${path}/feed`, body);
  const connection = await amqp.connect(addressOf(grant));
  const broken = new Promise<never>((_, reject) => {
    connection.on('error', reject);
    connection.on('close', () => {
      reject(new Error('The connection to the broker has ended.'));
    });
  });
  broken.catch(() => undefined);
  const ended = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => {
      resolve();
    });
  });
  const timers = [
    setInterval(() => void feed().catch(() => undefined), FEED_EVERY_MS),
    setInterval(() => {
      void open(grant.sessionId)
        .then(({ token }) => connection.updateSecret(Buffer.from(token), 'renewed'))
        .catch(() => undefined);
    }, RENEW_EVERY_MS),
  ];
  try {
    const channel = await connection.createChannel();
    const onMessage = (message: amqp.ConsumeMessage | null): void => {
      if (message === null) return;
      const text = message.content.toString('utf8');
      print(options.isJson ? text : lineOf(JSON.parse(text) as Told));
    };
    await channel.consume(grant.queue, onMessage, { noAck: true });
    await feed();
    await Promise.race([ended, broken]);
  } finally {
    for (const timer of timers) clearInterval(timer);
    await connection.close().catch(() => undefined);
    await askAdmin(access, 'DELETE', path).catch(() => undefined);
  }
}

function addressOf({ endpoints, queue, token }: SessionGrant): string {
  const [address] = endpoints.amqp;
  if (address === undefined)
    throw new Error('The server names no AMQP address (WARREN_PUBLIC_AMQP_URL).');
  const url = new URL(address);
  url.username = encodeURIComponent(queue);
  url.password = encodeURIComponent(token);
  return url.toString();
}

/** Time, what, whom, and the rest as it is. */
function lineOf(event: Told): string {
  const { at, event: name, ...rest } = event;
  const { id: _id, user = '', step, ...more } = rest as Record<string, unknown> & { user?: string };
  const details = Object.entries(more)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const what = typeof step === 'string' ? step : name;
  return printableLine([at, what.padEnd(18), user, ...details].join('  '));
}
