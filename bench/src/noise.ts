// A worker of neighbours.ts: somebody who does the worst that limits allow, until told to stop.
import { connect } from 'amqplib';
import { parentPort, workerData } from 'node:worker_threads';
import WebSocket from 'ws';

export type NoiseKind = 'user' | 'back end by AMQP' | 'back end by HTTP' | 'console';
export interface NoiseOptions {
  kind: NoiseKind;
  apiUrl: string;
  stompUrl: string;
  backendAmqpUrl: string;
  serviceKey: string;
  adminKey: string;
  /** The header that says who a user is. */
  userHeader: string;
}

const options = workerData as NoiseOptions;
const { kind, apiUrl, stompUrl, backendAmqpUrl, serviceKey, adminKey, userHeader } = options;
const USER = 'bench-noisy';
const AT_ONCE = 16;
const CONNECTIONS = 40;
const DEEP = '['.repeat(20_000) + ']'.repeat(20_000);
let isOver = false;
parentPort?.once('message', () => {
  isOver = true;
});

async function ask(
  method: string,
  path: string,
  headers: Record<string, string>,
  body?: unknown,
): Promise<unknown> {
  const response = await fetch(apiUrl + path, {
    method,
    headers: { ...headers, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return response.json().catch(() => undefined);
}

const asUser = { [userHeader]: USER };
const asBackend = { authorization: `Bearer ${serviceKey}` };
const asAdmin = { authorization: `Bearer ${adminKey}` };

/** Consumes the device's queue, and comes back as soon as it is closed. */
async function comeBack(): Promise<void> {
  const grant = await ask('POST', '/v1/sessions', asUser, { deviceId: 'phone' });
  const { queue = '', token = '', vhost = '' } = grant as Partial<Record<string, string>>;
  while (!isOver) {
    await new Promise<void>((resolve) => {
      const socket = new WebSocket(stompUrl, ['v12.stomp']);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        resolve();
      });
      socket.once('open', () => {
        const lines = ['CONNECT', `login:${queue}`, `passcode:${token}`, `host:${vhost}`];
        socket.send(`${lines.join('\n')}\naccept-version:1.2\n\n\0`);
        socket.send(`SUBSCRIBE\nid:s\ndestination:/amq/queue/${queue}\nack:client\n\n\0`);
      });
    });
  }
}

async function floodAsUser(): Promise<void> {
  const read = Array.from(
    { length: 500 },
    (_, index) => `invented-${String(index)}-${'x'.repeat(80)}`,
  );
  await Promise.all([
    ...Array.from({ length: CONNECTIONS }, comeBack),
    repeat(async () => {
      await ask('POST', '/v1/sessions', asUser, { deviceId: 'phone' });
      await ask('POST', '/v1/me/receipts', asUser, { read });
      await ask('GET', '/v1/me/history?limit=200', asUser);
    }),
  ]);
}

async function floodByAmqp(): Promise<void> {
  const model = await connect(backendAmqpUrl);
  const channel = await model.createConfirmChannel();
  const users = Array.from({ length: 200 }, (_, index) => `bench-nobody-${String(index)}`);
  const bodies = [
    { to: { users }, type: 'noise', data: 1, track: true },
    { to: { user: USER }, type: 'noise', data: 1, delivery: 'stored' },
  ].map((body) => JSON.stringify(body));
  while (!isOver) {
    for (const body of [...bodies, DEEP]) {
      channel.publish('warren.send', '', Buffer.from(body), { contentType: 'application/json' });
    }
    await channel.waitForConfirms();
  }
  await model.close();
}

const floodByHttp = (): Promise<void> =>
  repeat(async () => {
    const message = { to: { broadcast: true }, type: 'noise', data: 1, delivery: 'live' };
    await ask('POST', '/v1/messages', asBackend, message);
    const messages = Array.from({ length: 100 }, () => ({
      ...message,
      to: { user: USER },
      track: true,
    }));
    await ask('POST', '/v1/messages/batch', asBackend, { messages });
  });

const floodAsAdmin = (): Promise<void> =>
  repeat(async () => {
    await ask('GET', '/v1/admin/users?search=e&limit=200', asAdmin);
    await ask('POST', '/v1/admin/dead-letters/resend', asAdmin, { all: true });
    await ask('GET', `/v1/users/${USER}/timeline?limit=200`, asAdmin);
  });

async function repeat(work: () => Promise<void>): Promise<void> {
  const loop = async (): Promise<void> => {
    while (!isOver) await work();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, loop));
}

const FLOODS: Record<NoiseKind, () => Promise<void>> = {
  user: floodAsUser,
  'back end by AMQP': floodByAmqp,
  'back end by HTTP': floodByHttp,
  console: floodAsAdmin,
};
await FLOODS[kind]();
