import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import type * as Sdk from '@warren/client';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { launchChromium } from '../support/chromium.js';
import { bundleSdk, mountSdkPage } from '../support/sdk-page.js';
import { collect, startStack, TRANSPORTS, userToken, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/** As a back end in Python would publish: one line, no properties. Debian's python3-pika, not our code. */
const PUBLISH = `
import pika, sys
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
connection.channel().basic_publish("warren.direct", "user.0001", b"hello, client!")
connection.close()
`;

let stack: Stack;
let browser: Browser;
beforeAll(async () => {
  const sdk = await bundleSdk();
  stack = await startStack({
    extras: {
      mount: (app) => {
        mountSdkPage(app, sdk);
      },
    },
  });
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await stack.close();
});

it('a bare message by pika reaches the SDK by STOMP in Chromium and by AMQP in Node', async () => {
  const inNode = stack.client('0001', TRANSPORTS.amqp());
  const messages = collect(inNode);
  inNode.start();
  await inNode.ready();

  const page = await browser.newPage();
  const problems: string[] = [];
  page.on('console', (line) => problems.push(line.text()));
  page.on('pageerror', (error) => problems.push(String(error)));
  await page.goto(`${stack.apiUrl}/page`);
  await page.evaluate(
    async ({ token }) => {
      const { getClient } = (window as unknown as { warren: typeof Sdk }).warren;
      const client = getClient({ apiUrl: location.origin, userId: '0001', getToken: () => token });
      const seen: unknown[] = [];
      Object.assign(window, { seen, client });
      client.handle('*', (message) => {
        seen.push(message);
      });
      client.start();
      await client.ready();
    },
    { token: userToken('0001') },
  );

  await promisify(execFile)('/usr/bin/python3', [
    '-c',
    PUBLISH,
    inject('broker').endpoints.backendAmqpUrl,
  ]);

  await page.waitForFunction(() => (window as unknown as { seen: unknown[] }).seen.length === 1);
  const seen = await page.evaluate(() => (window as unknown as { seen: unknown[] }).seen);
  await until(() => messages.length === 1);
  for (const message of [seen[0], messages[0]]) {
    expect(message).toMatchObject({ type: 'message', data: 'hello, client!', delivery: 'queued' });
  }
  expect(problems).toEqual([]);
  const { devices } = await stack.user('0001');
  // The page's device has an id that the SDK made and keeps.
  const kept = await page.evaluate(() =>
    Object.entries(localStorage)
      .filter(([key]) => key.startsWith('warren:device:'))
      .map(([, id]) => String(id)),
  );
  expect(devices.map(({ deviceId }) => deviceId)).toEqual(
    expect.arrayContaining(['amqp', ...kept]),
  );
  await until(async () => (await stack.user('0001')).devices.every(({ depth }) => depth === 0));
});
