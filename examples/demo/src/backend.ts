import express, { type Router } from 'express';
import { fileURLToPath } from 'node:url';
import type { DevInfo } from '@warren/server/dev';
import { createPublisher, type Publisher } from '@warren/server/publisher';

/** What the demo's phones handle. */
export interface DemoEvents {
  'chat.message': { number: number; text: string };
}

const USERS = ['alice', 'bob'];

/** Makes the users' mailboxes, so that what is sent before anybody has opened the demo waits there. */
export async function provisionUsers({ apiUrl, serviceKey }: DevInfo): Promise<void> {
  for (const user of USERS) {
    await fetch(`${apiUrl}/v1/users/${user}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${serviceKey}` },
    });
  }
}

/** The demo's own back end: its page, and a sender as any application would write it. */
export function createBackend({ apiUrl, amqpUrl, serviceKey, exchange }: DevInfo): {
  router: Router;
  close: () => Promise<void>;
} {
  const publisher = createPublisher<DemoEvents>({ amqpUrl, exchange, connectionName: 'demo' });
  const router = express.Router();
  router.use(express.json({ limit: '8kb' }));
  router.post('/api/send', send(publisher));
  router.get('/api/waiting', async (_request, response) => {
    const entries = USERS.map(async (user) => [user, await waitingFor(apiUrl, serviceKey, user)]);
    response.json(Object.fromEntries(await Promise.all(entries)));
  });
  router.use(express.static(fileURLToPath(new URL('web/', import.meta.url))));
  return { router, close: () => publisher.close() };
}

function send(publisher: Publisher<DemoEvents>): express.RequestHandler {
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
    const data = { number, text: text.slice(0, 500) };
    const startedAt = performance.now();
    const { id, outcome } = await publisher.toUser(to, 'chat.message', data);
    response.json({ id, outcome, number, confirmedInMs: performance.now() - startedAt });
  };
}

/** How many messages the user's devices have not handled yet, as the API tells it to any back end. */
async function waitingFor(apiUrl: string, serviceKey: string, user: string): Promise<number> {
  const response = await fetch(`${apiUrl}/v1/users/${user}`, {
    headers: { authorization: `Bearer ${serviceKey}` },
  });
  if (!response.ok) return 0;
  const { devices } = (await response.json()) as { devices: { depth: number | null }[] };
  return devices.reduce((sum, { depth }) => sum + (depth ?? 0), 0);
}
