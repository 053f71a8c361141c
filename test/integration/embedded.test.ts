import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import express from 'express';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { getClient } from '@warren/client';
import { generateSigningKey } from '@warren/rabbitmq';
import { createWarren, ConfigError, UnknownKeyError, type EmbeddedWarren } from '@warren/server';
import { request, SERVICE_KEY, TRANSPORTS, uniqueUser } from '../support/stack.js';
import { until } from '../support/until.js';

interface Events {
  greeting: { text: string };
}

let dir: string;
let warren: EmbeddedWarren<Events>;
let url: string;
const app = express();
const server = createServer(app);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'warren-embedded-'));
  const { endpoints, signingKey } = inject('broker');
  warren = await createWarren<Events>({
    amqpUrl: endpoints.amqpUrl,
    managementUrl: endpoints.managementUrl,
    publicAmqpUrl: endpoints.clientAmqpUrl,
    signingKey,
    serviceKeys: [SERVICE_KEY],
    dataDir: dir,
    // The application's own login: here, a header that its middleware has checked.
    authenticate: (incoming) =>
      incoming.get('authorization') === 'Bearer pass-of-the-boss'
        ? { userId: 'boss', issuedAt: Date.now(), role: 'operator' }
        : (incoming.get('x-session')?.replace(/^session-of-/, '') ?? null),
    policy: ({ from, to, type }) => {
      if (type === 'broken') throw new Error('a bug of the application');
      // As it may be in JavaScript.
      if (type === 'truthy') return 'yes' as unknown as boolean;
      return 'user' in to && to.user === `friend-of-${from}`;
    },
  });
  await warren.ready();
  // The application parses bodies by itself, before Warren sees them.
  app.use(express.json());
  app.use('/warren', warren.router);
  app.post('/own', express.text(), (incoming, response) => {
    response.send(`own: ${String(incoming.body)}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
});
afterAll(async () => {
  await warren.close();
  server.close();
  await rm(dir, { recursive: true, force: true });
});

describe('Warren in somebody’s own Express application', () => {
  it('has the console below its router, for whom the application says', async () => {
    const moved = await fetch(`${url}/warren/console`);
    expect([moved.status, moved.url]).toEqual([200, `${url}/warren/console/`]);
    const page = await moved.text();
    const script = /src="\.\/([^"]+)"/.exec(page)?.[1] ?? '';
    const code = await fetch(`${url}/warren/console/${script}`);
    expect(code.headers.get('content-type')).toContain('javascript');
    expect(code.headers.get('cache-control')).toContain('immutable');
    const boss = await request(`${url}/warren/v1/admin/tokens`, 'POST', 'pass-of-the-boss');
    expect(boss.body).toMatchObject({ role: 'operator', actor: 'user:boss' });
    const headers = { 'x-session': 'session-of-alice' };
    const alice = await request(`${url}/warren/v1/admin/users`, 'GET', 'x', undefined, headers);
    expect([alice.status, alice.body.code]).toEqual([403, 'role_required']);
  });

  it('asks its policy what clients may send', async () => {
    const user = uniqueUser();
    const send = async (to: string, type = 'greeting') => {
      const response = await fetch(`${url}/warren/v1/me/messages`, {
        method: 'POST',
        headers: { 'x-session': `session-of-${user}`, 'content-type': 'application/json' },
        body: JSON.stringify({ to: { user: to }, type, data: { text: 'hi' } }),
      });
      const body = (await response.json()) as { code?: string };
      return body.code ?? response.status;
    };
    expect(await send(`friend-of-${user}`)).toBe(202);
    expect(await send('a stranger')).toBe('not_allowed');
    expect(await send(`friend-of-${user}`, 'truthy')).toBe('not_allowed');
    expect(await send(`friend-of-${user}`, 'broken')).toBe('policy_unavailable');
  });

  it('takes the application’s login, and hands the publisher to it', async () => {
    const user = uniqueUser();
    const client = getClient<Events>({
      apiUrl: `${url}/warren`,
      userId: user,
      deviceId: 'node',
      getToken: () => 'not looked at',
      transport: TRANSPORTS.amqp(),
      platform: {
        fetch: (target, init) =>
          fetch(target, {
            ...init,
            headers: { ...(init?.headers as object), 'x-session': `session-of-${user}` },
          }),
      },
    });
    const seen: string[] = [];
    client.handle('greeting', ({ data }) => {
      seen.push(data.text);
    });
    client.start();
    await client.ready();
    expect(await warren.publisher.toUser(user, 'greeting', { text: 'hello' })).toMatchObject({
      outcome: 'queued',
    });
    await until(() => seen.length === 1);
    await client.stop();
  });

  it('reads bodies that the application has parsed', async () => {
    const body = { to: { user: uniqueUser() }, type: 'greeting', data: { text: 'x' } };
    const sent = await request(`${url}/warren/v1/messages`, 'POST', SERVICE_KEY, body);
    expect(sent.body.recipients).toMatchObject([{ outcome: 'unprovisioned' }]);
    const deep = JSON.parse('['.repeat(200) + ']'.repeat(200)) as unknown;
    const refused = await request(`${url}/warren/v1/messages`, 'POST', SERVICE_KEY, {
      ...body,
      data: deep,
    });
    expect([refused.status, refused.body.detail]).toEqual([
      400,
      expect.stringContaining('128 deep'),
    ]);
  });

  it('refuses who is not logged in, and answers errors under its own path alone', async () => {
    const refused = await request(`${url}/warren/v1/sessions`, 'POST', undefined, {});
    expect([refused.status, refused.body.code]).toEqual([401, 'token_invalid']);
    const unknown = await request(`${url}/warren/nothing`, 'GET');
    expect(unknown.headers.get('content-type')).toContain('application/problem+json');
    expect([unknown.status, unknown.body.code]).toEqual([404, 'not_found']);
    const elsewhere = await request(`${url}/nothing`, 'GET');
    expect(elsewhere.headers.get('content-type')).not.toMatch(/problem/);
    const own = await request(`${url}/own`, 'POST', undefined, 'text', {
      'content-type': 'text/plain',
    });
    expect(own.body).toBe('own: text');
    expect(own.headers.get('content-security-policy')).toBeNull();
  });

  it('shows its metrics to nobody, unless it is told to', async () => {
    const hidden = await request(`${url}/warren/metrics`, 'GET');
    expect([hidden.status, hidden.body.code]).toEqual([404, 'not_found']);
    const described = await request(`${url}/warren/openapi.json`, 'GET');
    expect(described.body.paths).not.toHaveProperty('/metrics');
    const { endpoints, signingKey } = inject('broker');
    const open = await createWarren({
      amqpUrl: endpoints.amqpUrl,
      managementUrl: endpoints.managementUrl,
      publicAmqpUrl: endpoints.clientAmqpUrl,
      signingKey,
      serviceKeys: [SERVICE_KEY],
      dataDir: join(dir, 'open'),
      authenticate: () => null,
      metrics: true,
    });
    // Behind a router at the root, an application's own routes are still reached.
    const host = express()
      .use(open.router)
      .get('/own', (_incoming, response) => {
        response.send('own');
      });
    const listening = createServer(host);
    await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
    try {
      const root = `http://127.0.0.1:${String((listening.address() as AddressInfo).port)}`;
      expect(await (await fetch(`${root}/metrics`)).text()).toContain('warren_broker_up');
      expect(await (await fetch(`${root}/own`)).text()).toBe('own');
    } finally {
      listening.close();
      await open.close();
    }
  });

  it('takes other keys into use, and stays as it was with one that the broker does not know', async () => {
    const body = { to: { user: uniqueUser() }, type: 'greeting', data: { text: 'x' } };
    const send = async (key: string) =>
      (await request(`${url}/warren/v1/messages`, 'POST', key, body)).status;
    const { privateKey: unknown } = await generateSigningKey();
    const serviceKeys = ['another-service-key'];
    const refused = warren.reload({ signingKey: unknown, serviceKeys });
    await expect(refused).rejects.toThrow(UnknownKeyError);
    await expect(warren.reload({ signingKey: 'no key' })).rejects.toThrow(ConfigError);
    expect(await send(SERVICE_KEY)).toBe(202);
    await warren.reload({ serviceKeys });
    expect([await send(SERVICE_KEY), await send('another-service-key')]).toEqual([401, 202]);
    await warren.reload({ serviceKeys: [SERVICE_KEY] });
    expect(await send(SERVICE_KEY)).toBe(202);
  });

  it('says all that is missing when it is made without', async () => {
    await expect(createWarren({ authenticate: () => null })).rejects.toThrow(ConfigError);
  });
});
