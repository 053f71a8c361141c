import express, { type RequestHandler, type Router } from 'express';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DevInfo } from '@warren/server/dev';
import { PushProxy } from './push-proxy.js';

const USERS = ['alice', 'bob'];

/** Where the demo's push proxy is, below the server's address. */
export const PUSH_PATH = '/demo/api/pushes';

/** The API, as any back end calls it. */
export class Api {
  readonly #info: DevInfo;

  constructor(info: DevInfo) {
    this.#info = info;
  }

  async call(
    method: string,
    path: string,
    body?: object,
    key = this.#info.serviceKey,
  ): Promise<Response> {
    return fetch(`${this.#info.apiUrl}${path}`, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  }
}

/**
 * Makes the users' mailboxes, so that what is sent before anybody has opened the demo waits there, and has
 * their phones get pushes.
 */
export async function provisionUsers(api: Api): Promise<void> {
  for (const user of USERS) {
    await api.call('PUT', `/v1/users/${user}`);
    const reply = await api.call('POST', `/v1/users/${user}/tokens`);
    const { token } = (await reply.json()) as { token: string };
    const device = { provider: 'webhook', token: `phone-of-${user}` };
    await api.call('PUT', '/v1/me/push-devices/phone', device, token);
  }
}

/**
 * The demo's own back end: its page, a sender as any application would write it, and a push proxy.
 * @param secret that pushes are signed with.
 * @param dataDir where all state lives; absolute.
 */
export function createBackend(api: Api, secret: string, dataDir: string): Router {
  const proxy = new PushProxy(secret);
  const router = express.Router();
  router.post('/api/pushes', proxy.handlers);
  router.use(express.json({ limit: '8kb' }));
  router.post('/api/send', send(api));
  router.get('/api/place', (_request, response) => {
    response.json({ dataDir: dataDir === resolve('.warren') ? null : dataDir });
  });
  router.get('/api/phones', async (_request, response) => {
    const entries = USERS.map(async (user) => {
      const phone = { waiting: await waitingFor(api, user), notifications: proxy.of(user) };
      return [user, phone] as const;
    });
    response.json(Object.fromEntries(await Promise.all(entries)));
  });
  router.get('/api/outcomes', async (request, response) => {
    const { ids: list } = request.query;
    const ids = typeof list === 'string' ? list.split(',') : [];
    const entries = ids.map(async (id) => [id, await outcomeOf(api, id)] as const);
    response.json(Object.fromEntries(await Promise.all(entries)));
  });
  router.use(express.static(fileURLToPath(new URL('web/', import.meta.url))));
  return router;
}

function send(api: Api): RequestHandler {
  // For each user, so that one sees on the phone that none is missing and all are in order.
  const numbers = new Map<string, number>();
  return async (request, response) => {
    const { to, text } = request.body as { to?: unknown; text?: unknown };
    if (typeof to !== 'string' || !USERS.includes(to) || typeof text !== 'string') {
      response.status(400).json({ error: 'Say to whom ("alice", "bob") and what.' });
      return;
    }
    const number = (numbers.get(to) ?? 0) + 1;
    numbers.set(to, number);
    const words = text.slice(0, 500);
    const startedAt = performance.now();
    const reply = await api.call('POST', '/v1/messages', {
      to: { user: to },
      type: 'chat.message',
      data: { number, text: words },
      push: { title: 'Your server', body: words || '…' },
    });
    const confirmedInMs = performance.now() - startedAt;
    if (!reply.ok) {
      response.status(reply.status).end();
      return;
    }
    const { id, recipients } = (await reply.json()) as {
      id: string;
      recipients: { outcome: string }[];
    };
    response.json({ id, outcome: recipients[0]?.outcome, number, confirmedInMs });
  };
}

/** How many messages the user's devices have not handled yet. */
async function waitingFor(api: Api, user: string): Promise<number> {
  const reply = await api.call('GET', `/v1/users/${user}`);
  if (!reply.ok) return 0;
  const { devices } = (await reply.json()) as { devices: { depth: number | null }[] };
  return devices.reduce((sum, { depth }) => sum + (depth ?? 0), 0);
}

/** What has become of a message to one user; undefined when it is not known. */
async function outcomeOf(api: Api, id: string): Promise<string | undefined> {
  const reply = await api.call('GET', `/v1/messages/${encodeURIComponent(id)}`);
  if (!reply.ok) return undefined;
  const { recipients } = (await reply.json()) as { recipients: { outcome: string }[] };
  return recipients[0]?.outcome;
}
