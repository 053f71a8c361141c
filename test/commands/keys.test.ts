import { copyFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { getClient, type Client } from '@warren/client';
import { freePorts, type Broker } from '@warren/rabbitmq';
import { readConfig } from '@warren/server';
import { brokerDefaults, createBroker } from '../support/broker.js';
import { Program } from '../support/program.js';
import { collect, request, TRANSPORTS, USER_SECRET, userToken } from '../support/stack.js';
import { until } from '../support/until.js';

const WARREN = 'server/bin/warren.js';
const OLD_KEY = 'the-old-service-key';
const NEW_KEY = 'the-new-service-key';

let dir: string;
let broker: Broker;
let remove: () => Promise<void>;
let server: Program;
let url: string;
const at = (name: string) => join(dir, name);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'warren-keys-'));
  ({ broker, remove } = await createBroker());
  await broker.start();
  await writeFile(at('signing.pem'), broker.signingKey.privateKey);
  await writeFile(at('service-keys'), OLD_KEY);
  const [port = 0] = await freePorts(1);
  url = `http://127.0.0.1:${String(port)}`;
  server = new Program(process.execPath, [WARREN, 'server'], {
    WARREN_AMQP_URL: broker.endpoints.amqpUrl,
    WARREN_MANAGEMENT_URL: broker.endpoints.managementUrl,
    WARREN_PUBLIC_STOMP_URL: broker.endpoints.stompUrl,
    WARREN_PUBLIC_AMQP_URL: broker.endpoints.clientAmqpUrl,
    WARREN_SIGNING_KEY_FILE: at('signing.pem'),
    WARREN_SERVICE_KEYS_FILE: at('service-keys'),
    WARREN_USER_JWT_SECRET: USER_SECRET,
    WARREN_SESSION_TTL_SECONDS: '10',
    WARREN_RATE_PER_USER: '0',
    WARREN_PORT: String(port),
    WARREN_DATA_DIR: dir,
  });
  await until(async () => (await fetch(`${url}/health/ready`).catch(() => undefined))?.ok === true);
});
afterAll(async () => {
  server.interrupt();
  await server.exited;
  await remove();
  await rm(dir, { recursive: true, force: true });
});

async function warren(...args: string[]) {
  const program = new Program(process.execPath, [WARREN, ...args], {
    WARREN_AMQP_URL: broker.endpoints.amqpUrl,
    WARREN_MANAGEMENT_URL: broker.endpoints.managementUrl,
  });
  return { code: await program.exited, output: program.output };
}

/** As the broker's operator does it. */
async function addToBroker(kid: string, publicFile: string): Promise<void> {
  const copy = join(broker.dataDir, 'keys', 'second.pub.pem');
  await copyFile(publicFile, copy);
  const { chroot } = brokerDefaults;
  if (chroot === undefined) {
    await broker.control('add_uaa_key', kid, `--pem-file=${copy}`);
    return;
  }
  // What the command does: Debian's 4.0 does not find its plugins' commands in a root of its own.
  const path = `/${relative(chroot, copy)}`;
  await broker.control('eval', `uaa_jwt:add_signing_key(<<"${kid}">>, pem_file, <<"${path}">>).`);
}

const kidOf = async (): Promise<string | undefined> => {
  const reply = await request(`${url}/v1/sessions`, 'POST', userToken('probe'), { deviceId: 'p' });
  const { token } = reply.body;
  return jwt.decode(token, { complete: true })?.header.kid;
};
const send = (key: string, data: unknown) =>
  request(`${url}/v1/messages`, 'POST', key, { to: { user: 'anna' }, type: 'note', data });
const tellOf = async (text: string, times = 1) => {
  server.signal('SIGHUP');
  await until(
    () => server.output.split(text).length > times,
    () => server.output,
  );
};

describe('exchanging keys while all goes on', () => {
  it('drops no connection and refuses no login', async () => {
    const clients: Client[] = Object.values(TRANSPORTS).map((transport, index) =>
      getClient({
        apiUrl: url,
        userId: 'anna',
        deviceId: `device-${String(index)}`,
        getToken: () => userToken('anna'),
        transport: transport(),
      }),
    );
    const seen = clients.map((client) => collect(client));
    const troubles: string[] = [];
    for (const client of clients) {
      client.on('state', ({ current, reason }) => {
        if (['waiting', 'failed'].includes(current)) troubles.push(`${current} ${reason!.code}`);
      });
      client.on('error', ({ error }) => troubles.push(error.code));
      client.start();
    }
    await Promise.all(clients.map((client) => client.ready()));

    const made = await warren('keys', 'new', at('second.pem'));
    expect(made.code).toBe(0);
    const kid = /The key (k[0-9a-f]{16})/.exec(made.output)![1]!;
    const old = await readFile(at('signing.pem'), 'utf8');
    expect((await stat(at('second.pem'))).mode & 0o077).toBe(0);
    expect((await warren('keys', 'new', at('second.pem'))).code).toBe(1);

    // The server does not sign with a key that the broker does not know.
    await writeFile(at('signing.pem'), `${await readFile(at('second.pem'), 'utf8')}\n${old}`);
    const before = await kidOf();
    await tellOf('the keys stay as they were');
    expect(await kidOf()).toBe(before);
    expect((await warren('keys', 'check', at('second.pem'))).code).toBe(1);

    await addToBroker(kid, at('second.pub.pem'));
    expect((await warren('keys', 'check', at('second.pem'))).output).toContain('accepts');
    const minted = await request(`${url}/v1/users/anna/tokens`, 'POST', OLD_KEY, {});
    await tellOf('took the keys into use');
    expect(await kidOf()).toBe(kid);
    // A token that was signed before is good until it ends.
    const { token } = minted.body;
    expect((await request(`${url}/v1/sessions`, 'POST', token, {})).status).toBe(201);

    await writeFile(at('service-keys'), `${NEW_KEY}, ${OLD_KEY}`);
    await tellOf('took the keys into use', 2);
    for (const key of [OLD_KEY, NEW_KEY]) expect((await send(key, key)).status).toBe(202);
    await writeFile(at('service-keys'), NEW_KEY);
    await tellOf('took the keys into use', 3);
    expect((await send(OLD_KEY, 'x')).status).toBe(401);
    expect((await send(NEW_KEY, 'last')).status).toBe(202);

    // Both renew with the new key: by update-secret and by a new connection.
    await until(() => seen.every((messages) => messages.length === 3));
    await new Promise<void>((resolve) => {
      let renewals = 0;
      for (const client of clients) {
        client.on('state', ({ current }) => {
          if (current === 'connected') renewals++;
          if (renewals === 1) resolve();
        });
      }
    });
    expect((await send(NEW_KEY, 'after')).status).toBe(202);
    await until(() => seen.every((messages) => messages.length === 4));
    expect(troubles).toEqual([]);
    await Promise.all(clients.map((client) => client.stop()));
    expect(server.output).not.toMatch(/the-(old|new)-service-key|BEGIN/);
  });

  it('keeps what it has when the new ones are no keys', async () => {
    await writeFile(at('service-keys'), 'short');
    await tellOf('the keys stay as they were', 2);
    expect((await send(NEW_KEY, 'x')).status).toBe(202);
    await writeFile(at('service-keys'), NEW_KEY);
  });
});

describe('warren keys vapid', () => {
  it('prints a key that the server takes, with what belongs to it', async () => {
    const { code, output } = await warren('keys', 'vapid');
    expect(code).toBe(0);
    const given: Record<string, string> = Object.fromEntries(
      [...output.matchAll(/^(WARREN_\w+)=(\S+)$/gm)].map(([, name, value]) => [name!, value!]),
    );
    const { push } = readConfig({
      WARREN_AMQP_URL: broker.endpoints.amqpUrl,
      WARREN_MANAGEMENT_URL: broker.endpoints.managementUrl,
      WARREN_PUBLIC_STOMP_URL: broker.endpoints.stompUrl,
      WARREN_SIGNING_KEY_FILE: at('signing.pem'),
      WARREN_SERVICE_KEYS: 'a-service-key-of-a-test',
      ...given,
    });
    expect(push.providers.webpush).toMatchObject({ vapidSubject: 'mailto:you@example.com' });
    expect((await warren('keys', 'vapid')).output).not.toBe(output);
  });
});
