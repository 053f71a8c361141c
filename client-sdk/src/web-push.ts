/**
 * Web Push for pages: {@link subscribeToPush} when the user has said yes, {@link dismissRead} always. The
 * service worker's side is `@warren/client/service-worker`.
 *
 * @module @warren/client/web-push
 */
import type { Client, EventMap } from './client.js';
import { WarrenError } from './errors.js';
import type { PushPreferences } from './push.js';

export type { PushPreferences, QuietHours } from './push.js';

export interface SubscribeOptions {
  /** What `navigator.serviceWorker.register` has given; its script calls `showPushes`. Required. */
  serviceWorker: ServiceWorkerRegistration;
  /** The language that pushes are to have. Default: the browser's. */
  language?: string;
  /** Default: everything, at any time. */
  preferences?: PushPreferences;
}

/**
 * Asks the user, unless that has been done, subscribes at the browser's push service, and registers the
 * device. Call it from a click, as browsers want it, and again at each start of an app whose user has
 * said yes: subscriptions change. One that was made with another key is replaced.
 * @throws {WarrenError} `push_refused` when the user or the server will not have it, `api_unreachable`,
 *   `api_unavailable`, `unauthorized`, `logged_out`.
 * @throws {DOMException} what `PushManager.subscribe` throws when the push service cannot be reached.
 */
export async function subscribeToPush<Events extends EventMap>(
  client: Client<Events>,
  { serviceWorker, language = navigator.language, preferences = {} }: SubscribeOptions,
): Promise<void> {
  const applicationServerKey = await client.pushKey();
  if (applicationServerKey === undefined) {
    throw new WarrenError('push_refused', 'The server is not set up for Web Push.');
  }
  // Before the browser asks by itself, which it does not in each of them.
  if ((await Notification.requestPermission()) !== 'granted') {
    throw new WarrenError('push_refused', 'The user does not want notifications.');
  }
  const { pushManager } = serviceWorker;
  const known = await pushManager.getSubscription();
  if (known !== null && keyOf(known) !== applicationServerKey) await known.unsubscribe();
  const subscription = await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey });
  await client.registerPush({ provider: 'webpush', subscription, language, preferences });
}

function keyOf({ options }: PushSubscription): string {
  const bytes = new Uint8Array(options.applicationServerKey ?? new ArrayBuffer());
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}

/**
 * Takes away the notifications of messages that the user has read, here or on another device.
 * @returns an idempotent function that ends it.
 */
export function dismissRead<Events extends EventMap>(
  client: Client<Events>,
  serviceWorker: ServiceWorkerRegistration,
): () => void {
  return client.on('read', ({ ids }) => {
    void serviceWorker.getNotifications().then((notifications) => {
      for (const notification of notifications) {
        const { warren } = Object(notification.data) as { warren?: { id?: string } };
        if (warren?.id !== undefined && ids.includes(warren.id)) notification.close();
      }
    });
  });
}
