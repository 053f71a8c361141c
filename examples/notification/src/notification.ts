import { fileURLToPath } from 'node:url';
import express, { type Router } from 'express';
import { logins, userOf, type Example } from '@warren/example-common';
import type { NotificationEvents, Sent } from './events.js';

/** Who may ship orders. */
const STAFF = 'office';
const CUSTOMERS = ['anna', 'ben'];
const DAY_MS = 24 * 60 * 60 * 1000;
const MOST_SHOWN = 8;

function create({ api, secret }: Parameters<Example['create']>[0]): Router {
  const router = express.Router();
  const back = express.Router();
  router.use('/api', back);
  router.use(express.static(fileURLToPath(new URL('web/', import.meta.url))));

  back.use(logins(api, secret));
  back.use((request, response, next) => {
    if (userOf(request) === STAFF) next();
    else response.status(403).json({ error: 'Only the office may do that.' });
  });

  const sent: Sent[] = [];
  back.post('/orders/:customer/ship', async (request, response) => {
    const user = request.params.customer;
    if (!CUSTOMERS.includes(user)) {
      response.status(404).json({ error: 'There is no such customer.' });
      return;
    }
    // At sign-up, in a real shop: a mailbox from the first moment, also for who has never opened the page.
    await api.call('PUT', `users/${user}`);
    const text = `Order ${String(1000 + Math.floor(Math.random() * 9000))} is on its way.`;
    const data: NotificationEvents['notification'] = { title: 'Shipped', text };
    const { id, recipients } = await api.call<{ id: string; recipients: [{ outcome: string }] }>(
      'POST',
      'messages',
      {
        to: { user },
        type: 'notification',
        data,
        // Tomorrow it is no news any more.
        ttlMs: DAY_MS,
        // Warren follows it: queued, delivered, read.
        track: true,
      },
    );
    sent.unshift({ id, user, text, outcome: recipients[0].outcome });
    sent.splice(MOST_SHOWN);
    response.status(202).json({ id });
  });

  back.get('/sent', async (_request, response) => {
    await Promise.all(
      sent.map(async (entry) => {
        const { recipients } = await api.call<{ recipients: [{ outcome: string }] }>(
          'GET',
          `messages/${entry.id}`,
        );
        entry.outcome = recipients[0].outcome;
      }),
    );
    response.json(sent);
  });
  return router;
}

export const notification: Example = { name: 'notification', title: 'Notification', create };
