import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'amqplib';
import express from 'express';
import WebSocket from 'ws';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type * as Sdk from '@warren/client';
import { freePorts, type Broker } from '@warren/rabbitmq';
import { createBroker } from '../support/broker.js';
import { makeCertificates, type Certificates } from '../support/certificates.js';
import { launchChromium } from '../support/chromium.js';
import { Program, ROOT } from '../support/program.js';
import { bundleSdk, mountSdkPage } from '../support/sdk-page.js';
import { SERVICE_KEY, USER_SECRET, userToken } from '../support/stack.js';
import { until } from '../support/until.js';

let certificates: Certificates;
let broker: Broker;
let server: Program;
let page: Server;
let apiUrl: string;
let pageUrl: string;
const cleanups: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  certificates = await makeCertificates();
  cleanups.push(() => certificates.remove());
  const made = await createBroker({ tls: certificates.files });
  broker = made.broker;
  cleanups.push(made.remove);
  await broker.start();

  const app = express();
  mountSdkPage(app, await bundleSdk());
  page = createServer({ cert: certificates.cert, key: certificates.key }, app);
  await new Promise<void>((resolve) => page.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => page.close(resolve)));
  pageUrl = `https://localhost:${String((page.address() as AddressInfo).port)}`;

  const dataDir = await mkdtemp(join(tmpdir(), 'warren-tls-server-'));
  cleanups.push(() => rm(dataDir, { recursive: true, force: true }));
  const [port = 0] = await freePorts(1);
  apiUrl = `https://localhost:${String(port)}`;
  const { amqpUrl, managementUrl, stompUrl, clientAmqpUrl } = broker.endpoints;
  server = new Program(process.execPath, ['server/bin/warren.js', 'server'], {
    NODE_EXTRA_CA_CERTS: certificates.files.ca,
    WARREN_AMQP_URL: amqpUrl,
    WARREN_MANAGEMENT_URL: managementUrl,
    WARREN_PUBLIC_STOMP_URL: stompUrl,
    WARREN_PUBLIC_AMQP_URL: clientAmqpUrl,
    WARREN_SIGNING_KEY: broker.signingKey.privateKey,
    WARREN_SERVICE_KEYS: SERVICE_KEY,
    WARREN_USER_JWT_SECRET: USER_SECRET,
    WARREN_TLS_CERT_FILE: certificates.files.cert,
    WARREN_TLS_KEY_FILE: certificates.files.key,
    WARREN_HOST: 'localhost',
    WARREN_PORT: String(port),
    WARREN_CORS_ORIGINS: pageUrl,
    WARREN_DATA_DIR: dataDir,
  });
  cleanups.push(async () => {
    server.interrupt();
    await server.exited;
  });
  await until(
    () => server.output.includes('listening'),
    () => server.output,
  );
});
afterAll(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

/** Runs a program that trusts the CA or not, with what it needs in its environment. */
async function run(code: string, { trusts = true } = {}): Promise<string> {
  const program = new Program(
    process.execPath,
    ['--input-type=module', '--eval', `process.chdir(${JSON.stringify(ROOT)});${code}`],
    {
      ...(trusts && { NODE_EXTRA_CA_CERTS: certificates.files.ca }),
      API: apiUrl,
      KEY: SERVICE_KEY,
      USER_TOKEN: userToken('tls-user'),
    },
  );
  await program.exited;
  return program.output.trim();
}

const SEND = `
const send = (data) => fetch(process.env.API + '/v1/messages', {
  method: 'POST',
  headers: { authorization: 'Bearer ' + process.env.KEY, 'content-type': 'application/json' },
  body: JSON.stringify({ to: { user: 'tls-user' }, type: 'note', data }),
}).then((response) => response.status);
`;

const CLIENT = `
import { getClient } from '@warren/client';
import { amqp } from '@warren/client/amqp';
const client = getClient({
  apiUrl: process.env.API, userId: 'tls-user', deviceId: 'node', transport: amqp(),
  getToken: () => process.env.USER_TOKEN,
});
`;

describe('encrypted from end to end', () => {
  it('a message goes from https by amqps to a client by amqps', async () => {
    const output = await run(`${CLIENT}${SEND}
      client.handle('note', async ({ data }) => { console.log(data); setTimeout(() => client.stop(), 10); });
      client.start();
      await client.ready();
      await send('by amqps');
    `);
    expect(output).toBe('by amqps');
  });

  it('and to a page by wss, which trusts this one certificate', async () => {
    const browser = await launchChromium([
      `--ignore-certificate-errors-spki-list=${certificates.spki}`,
    ]);
    const tab = await browser.newPage();
    await tab.goto(`${pageUrl}/page`);
    await tab.waitForFunction('window.warren');
    await tab.evaluate(
      async ({ token, apiUrl }) => {
        const { getClient } = (window as unknown as { warren: typeof Sdk }).warren;
        const client = getClient({ apiUrl, userId: 'tls-user', getToken: () => token });
        const seen: unknown[] = [];
        Object.assign(window, { seen });
        client.handle('note', ({ data }) => {
          seen.push(data);
        });
        client.start();
        await client.ready();
      },
      { token: userToken('tls-user'), apiUrl },
    );
    expect(await run(`${SEND} console.log(await send('by wss'));`)).toBe('202');
    await until(() => tab.evaluate('seen.includes("by wss")'));
    await browser.close();
  });

  it('a page that does not trust it is not even shown', async () => {
    const browser = await launchChromium();
    const tab = await browser.newPage();
    await expect(tab.goto(`${pageUrl}/page`)).rejects.toThrow(/ERR_CERT/);
    await browser.close();
  });

  it('a client that does not trust it sends its token nowhere', async () => {
    const output = await run(
      `${CLIENT}
      client.on('state', ({ current, reason }) => {
        if (current === 'waiting') { console.log(reason.code); void client.stop(); }
      });
      client.start();`,
      { trusts: false },
    );
    expect(output).toBe('api_unreachable');
  });

  it('neither amqps nor wss nor the server’s own account is spoken with a stranger', async () => {
    const { amqpUrl, stompUrl, managementUrl } = broker.endpoints;
    await expect(connect(amqpUrl)).rejects.toThrow(/certificate/);
    await expect(fetch(new URL(managementUrl).origin)).rejects.toThrow();
    await expect(
      new Promise((_, reject) => new WebSocket(stompUrl).once('error', reject)),
    ).rejects.toThrow(/certificate/);
    // The right CA, but another host than the certificate names.
    const elsewhere = amqpUrl.replace('localhost', '127.0.0.1');
    await expect(connect(elsewhere, { ca: [certificates.ca] })).rejects.toThrow(/altnames/);
    const fine = await connect(amqpUrl, { ca: [certificates.ca] });
    await fine.close();
  });

  it('plain text gets no answer on any port', async () => {
    const { amqpUrl, stompUrl, managementUrl } = broker.endpoints;
    await expect(connect(amqpUrl.replace('amqps:', 'amqp:'))).rejects.toThrow();
    for (const url of [apiUrl, managementUrl.replace(/\/\/.*@/, '//')]) {
      const plain = await fetch(url.replace('https:', 'http:')).catch(() => undefined);
      expect(plain?.ok ?? false).toBe(false);
    }
    await expect(
      new Promise((_, reject) =>
        new WebSocket(stompUrl.replace('wss:', 'ws:')).once('error', reject),
      ),
    ).rejects.toThrow();
  });

  it('the server tells browsers to come back by https', async () => {
    const headers = await run(
      `console.log((await fetch(process.env.API + '/health/live')).headers.get('strict-transport-security'));`,
    );
    expect(headers).toContain('max-age=');
  });
});
