import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import express from 'express';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '@warren/server';
import { createRouter, type RouterOptions } from '../../server/dist/http/router.js';
import { until } from '../support/until.js';

/* Answers lie in the server's memory until they are read, and nobody has to read. */

const MIB = 1024 * 1024;
const timer = { startTimer: () => () => undefined };

/** Routes with long answers, for whoever names itself. */
function router(): express.Router {
  const answer = (body: object | string) => () => ({ status: 200, body });
  const common = { access: 'user', summary: '', replies: {}, problems: [] } as const;
  const options = {
    routes: [
      { ...common, method: 'get', path: '/long', handle: answer('x'.repeat(12 * MIB)) },
      { ...common, method: 'get', path: '/half', handle: answer('x'.repeat(7.5 * MIB)) },
      { ...common, method: 'get', path: '/huge', handle: answer('x'.repeat(17 * MIB)) },
      { ...common, method: 'get', path: '/short', handle: answer({ ok: true }) },
      { ...common, method: 'post', path: '/long', handle: answer('x'.repeat(12 * MIB)) },
    ],
    console: express.Router(),
    access: {
      check: (_access: string, { headers }: express.Request) =>
        Promise.resolve({ budget: headers.authorization, identity: undefined, admin: undefined }),
    },
    rates: { take: () => Promise.resolve() },
    metrics: { requestSeconds: timer },
    logger: createLogger('silent'),
  } as unknown as RouterOptions;
  return createRouter(options);
}

let server: Server;
let sockets: Socket[];
beforeEach(async () => {
  sockets = [];
  server = createServer(express().use(router()));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const port = () => (server.address() as AddressInfo).port;

/** Asks, and does not read. */
async function ask(caller: string, path = '/long'): Promise<void> {
  const socket = connect(port(), '127.0.0.1');
  sockets.push(socket);
  socket.pause();
  socket.on('error', () => undefined);
  const asked = new Promise((resolve) => server.once('request', resolve));
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${caller}\r\n\r\n`);
  await asked;
}

async function get(caller: string, path = '/long', method = 'GET'): Promise<number> {
  const url = `http://127.0.0.1:${String(port())}${path}`;
  const response = await fetch(url, { method, headers: { authorization: caller } });
  await response.arrayBuffer();
  return response.status;
}

describe('a user that does not read its answers', () => {
  it('gets no more of them, and others do', async () => {
    await ask('user:ann');
    await until(async () => (await get('user:ann')) === 429);
    expect(await get('user:bob')).toBe(200);
    expect(await get('user:ann', '/short')).toBe(200);
  });

  it('has done what it asks for all the same', async () => {
    await ask('user:ann');
    await until(async () => (await get('user:ann')) === 429);
    expect(await get('user:ann', '/long', 'POST')).toBe(200);
  });

  it('is counted all of them, and those that it has read no more', async () => {
    for (let count = 0; count < 2; count++) await ask('user:ann', '/half');
    await until(async () => (await get('user:ann', '/half')) === 429);
    sockets[0]!.resume();
    await until(async () => (await get('user:ann', '/half')) === 200);
    await ask('user:ann', '/half');
    await until(async () => (await get('user:ann', '/half')) === 429);
  });

  it('is served again when it has read them, or has gone', async () => {
    await ask('user:ann');
    await until(async () => (await get('user:ann')) === 429);
    sockets[0]!.resume();
    await until(async () => (await get('user:ann')) === 200);
    await ask('user:ann');
    await until(async () => (await get('user:ann')) === 429);
    sockets[1]!.destroy();
    await until(async () => (await get('user:ann')) === 200);
  });
});

it('one answer alone may be of any length', async () => {
  expect(await get('user:ann', '/huge')).toBe(200);
});

it('a back end may ask for as much as it likes', async () => {
  for (let count = 0; count < 5; count++) await ask('key:of-a-back-end');
  expect(await get('key:of-a-back-end')).toBe(200);
});
