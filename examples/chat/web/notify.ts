import type { Client } from '@warren/client';
import { dismissRead, subscribeToPush } from '@warren/client/web-push';
import type { ChatEvents } from '../src/events.js';

/**
 * Pushes to this browser for what its user has not handled in time; those of what was read elsewhere go.
 * @throws what `subscribeToPush` throws.
 */
export async function notifyMe(client: Client<ChatEvents>): Promise<void> {
  const serviceWorker = await navigator.serviceWorker.register('service-worker.js', {
    type: 'module',
  });
  await subscribeToPush(client, { serviceWorker });
  dismissRead(client, serviceWorker);
}
