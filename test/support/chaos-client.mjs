// A process with some users' clients, to be killed. Whatever their handlers do is written to a file at
// once, and so is what the SDK keeps.
import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as wait } from 'node:timers/promises';
import { getClient, stomp } from '@warren/client';
import { amqp } from '@warren/client/amqp';
import WebSocket from 'ws';

const { apiUrl, dir, log, users } = JSON.parse(process.env.CHAOS_CLIENT);
mkdirSync(dir, { recursive: true });

const fileOf = (key) => join(dir, Buffer.from(key).toString('base64url').slice(-100));
const storage = {
  getItem: (key) => {
    try {
      return readFileSync(fileOf(key), 'utf8');
    } catch {
      return null;
    }
  },
  setItem: (key, value) => {
    // Either the old or the new one is there, whenever this process dies.
    writeFileSync(`${fileOf(key)}.new`, value);
    renameSync(`${fileOf(key)}.new`, fileOf(key));
  },
  removeItem: (key) => {
    rmSync(fileOf(key), { force: true });
  },
};

const createWebSocket = (url, protocols) => new WebSocket(url, protocols);
const note = (...parts) => {
  appendFileSync(log, `${JSON.stringify([process.pid, ...parts])}\n`);
};

for (const [index, { user, token }] of users.entries()) {
  const client = getClient({
    apiUrl,
    userId: user,
    deviceId: 'chaos',
    storage,
    getToken: () => token,
    transport: index % 2 === 0 ? amqp() : stomp({ createWebSocket }),
    backoffBaseMs: 50,
    backoffMaxMs: 1000,
  });
  client.handle('chaos', async ({ id, data, delivery, recovered }) => {
    note('begun', user, id, data);
    if (data.n % 20 === 0) await wait(2);
    note('ended', user, id, data, delivery, recovered);
  });
  client.on('state', ({ current, reason }) => {
    note('state', user, current, reason?.code);
  });
  client.on('gap', (gap) => {
    note('gap', user, gap);
  });
  client.on('error', ({ error }) => {
    note('error', user, error.code);
  });
  client.start();
}
