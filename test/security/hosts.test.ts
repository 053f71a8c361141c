import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { freePorts } from '@warren/rabbitmq';
import { Program } from '../support/program.js';
import { until } from '../support/until.js';
import { statusWithHost } from '../support/with-host.js';

/*
 * DNS rebinding: a page of another site has its own name lead to 127.0.0.1, and the browser then lets it read what
 * answers there. Only the host that the request names tells.
 */

let stop: (() => Promise<void>) | undefined;
afterEach(async () => {
  await stop?.();
  stop = undefined;
});

/** @returns the address of an example that runs. */
async function start(program: string, ready: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'warren-hosts-'));
  const [port = 0] = await freePorts(1);
  const args = ['--port', String(port), '--data-dir', dir];
  const running = new Program(process.execPath, [`examples/${program}/dist/start.js`, ...args]);
  stop = async () => {
    running.interrupt();
    await running.exited;
    await rm(dir, { recursive: true, force: true });
  };
  await until(
    () => running.output.includes(ready),
    () => running.output,
    60_000,
  );
  return `http://127.0.0.1:${String(port)}`;
}

type Door = [method: string, path: string, body?: object];

async function expectOwnHostsOnly(url: string, doors: Door[]): Promise<void> {
  const { port } = new URL(url);
  for (const [method, path, body] of doors) {
    const options = { method, ...(body !== undefined && { body }) };
    const statusUnder = (host: string) => statusWithHost(`${url}${path}`, host, options);
    for (const host of ['evil.example', `evil.example:${port}`, '127.0.0.1.evil.example']) {
      expect(await statusUnder(host), `${path} under "${host}"`).toBe(403);
    }
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`]) {
      expect(await statusUnder(host), `${path} under ${host}`).toBeLessThan(400);
    }
  }
}

it('no part of the demo answers a page of another site', async () => {
  const url = await start('demo', 'Warren is ready.');
  const login: Door[] = ['chat', 'notification', 'progress', 'call'].flatMap((name): Door[] => [
    ['GET', `/${name}/`],
    ['POST', `/${name}/api/login`, { user: 'anna' }],
  ]);
  await expectOwnHostsOnly(url, [
    ['POST', '/dev/token', { userId: 'anna' }],
    ['POST', '/demo/api/send', { to: 'bob', text: 'hello' }],
    ['GET', '/demo/api/phones'],
    ['GET', '/demo/api/place'],
    ['GET', '/demo/'],
    ['GET', '/'],
    ...login,
  ]);
  // Who calls the API under another name has a token: without one, it says so.
  expect(await statusWithHost(`${url}/v1/users/anna`, 'warren.internal')).toBe(401);
});

it('nor does the application that Warren was added to', async () => {
  const url = await start('express', 'The list is ready');
  await expectOwnHostsOnly(url, [
    ['POST', '/login', { user: 'anna', password: 'anna' }],
    ['GET', '/'],
  ]);
});
