import type { Browser, CDPSession, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Client } from '@warren/client';
import type * as WebPush from '@warren/client/web-push';
import { launchChromium } from '../support/chromium.js';
import { PushBed, TEXT } from '../support/push-bed.js';
import { bundle } from '../support/sdk-page.js';
import { uniqueUser, userToken } from '../support/stack.js';
import { until } from '../support/until.js';

const PAGE = `
export { getClient } from './index.js';
export * from './web-push.js';
`;
const WORKER = `
import { showPushes } from './service-worker.js';
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
// Whoever asks Chromium what is shown while something is about to be, makes it forget that.
const { registration } = self;
const show = registration.showNotification.bind(registration);
registration.showNotification = async (...notification) => {
  await show(...notification);
  for (const page of await self.clients.matchAll()) page.postMessage('shown');
};
showPushes(self, { urlOf: ({ data }) => '/page?room=' + data.room });
`;

interface PageWindow {
  sdk: { getClient: (options: object) => Client } & typeof WebPush;
  client: Client;
  registration: ServiceWorkerRegistration;
  /** What the page asked its push service for. */
  asked: { applicationServerKey: string }[];
  /** How many notifications the worker has shown. */
  shown: number;
}
declare const window: PageWindow;

let bed: PushBed;
let browser: Browser;
beforeAll(async () => {
  const [sdk, worker] = await Promise.all([bundle(PAGE), bundle(WORKER)]);
  bed = await PushBed.start({
    extras: {
      mount: (app) => {
        const script = (path: string, code: string) =>
          app.get(path, (_request, response) => {
            response.type('text/javascript').send(code);
          });
        script('/sdk.js', sdk);
        script('/worker.js', worker);
        script('/page.js', "import * as sdk from '/sdk.js'; window.sdk = sdk;");
        app.get('/page', (_request, response) => {
          response
            .type('html')
            .send(
              '<!doctype html><title>page</title><script type="module" src="/page.js"></script>',
            );
        });
      },
    },
  });
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await bed.close();
});

/** A page with a client and a service worker; its browser's push service is the test's own. */
async function open(
  user: string,
): Promise<{ page: Page; deliver: (payload: object) => Promise<void> }> {
  const context = await browser.newContext({ permissions: ['notifications'] });
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  const registrationId = watchRegistration(cdp);
  await page.goto(`${bed.stack.apiUrl}/page`);
  await page.waitForFunction(() => 'sdk' in window);
  const subscription = bed.browsers.subscribe(user);
  await page.evaluate(
    async ({ user: userId, token, subscription: given }) => {
      const { getClient } = window.sdk;
      window.client = getClient({ apiUrl: location.origin, userId, getToken: () => token });
      window.client.handle('*', () => undefined);
      await navigator.serviceWorker.register('/worker.js', { type: 'module' });
      window.registration = await navigator.serviceWorker.ready;
      window.shown = 0;
      navigator.serviceWorker.addEventListener('message', () => window.shown++);
      navigator.serviceWorker.startMessages();
      window.asked = [];
      // Chromium's own service is somewhere else; all behind the subscription is real.
      const { pushManager } = window.registration;
      pushManager.getSubscription = () => Promise.resolve(null);
      pushManager.subscribe = (options) => {
        window.asked.push(options as { applicationServerKey: string });
        return Promise.resolve({ toJSON: () => given } as unknown as PushSubscription);
      };
    },
    { user, token: userToken(user), subscription },
  );
  return {
    page,
    deliver: async (payload) => {
      const before = await page.evaluate(() => window.shown);
      await cdp.send('ServiceWorker.deliverPushMessage', {
        origin: bed.stack.apiUrl,
        registrationId: await registrationId,
        data: JSON.stringify(payload),
      });
      if (!('id' in payload)) return;
      await page.waitForFunction((count) => window.shown > count, before);
    },
  };
}

async function watchRegistration(cdp: CDPSession): Promise<string> {
  const found = new Promise<string>((resolve) => {
    cdp.on('ServiceWorker.workerRegistrationUpdated', ({ registrations }) => {
      const [first] = registrations;
      if (first !== undefined) resolve(first.registrationId);
    });
  });
  await cdp.send('ServiceWorker.enable');
  return found;
}

const shown = (page: Page) =>
  page.evaluate(async () =>
    (await window.registration.getNotifications()).map(({ title, body, tag }) => ({
      title,
      body,
      tag,
    })),
  );

describe('a page with a service worker', () => {
  it('subscribes, shows each push once, and takes away what was read elsewhere', async () => {
    const user = uniqueUser();
    const { page, deliver } = await open(user);
    await page.evaluate(async () => {
      const { client, registration: serviceWorker, sdk } = window;
      await sdk.subscribeToPush(client, { serviceWorker, language: 'de' });
    });
    const { body } = await bed.asUser(user, 'GET', '/v1/me/push-devices');
    expect(body.devices).toMatchObject([{ provider: 'webpush', language: 'de' }]);
    expect(await page.evaluate(() => window.asked)).toEqual([
      { userVisibleOnly: true, applicationServerKey: body.vapidPublicKey },
    ]);

    const first = await bed.push({ user }, { afterMs: 0, data: { room: 7 } });
    const second = await bed.push({ user }, { afterMs: 0, data: { room: 8 }, title: 'Ben' });
    await until(() => bed.browsers.of(user).length === 2, 'two pushes');
    for (const payload of bed.browsers.of(user)) await deliver(payload);
    const both = [
      { ...TEXT, tag: first },
      { ...TEXT, title: 'Ben', tag: second },
    ];
    expect((await shown(page)).map(({ tag }) => tag).sort()).toEqual([first, second].sort());
    for (const payload of bed.browsers.of(user)) await deliver(payload);
    // What is no push of Warren's is not shown, and breaks nothing.
    await deliver({ title: 'from somebody else' });
    const last = await bed.push({ user }, { afterMs: 0, collapseId: 'last', data: {} });
    await until(() => bed.browsers.of(user).length === 3, 'the third');
    await deliver(bed.browsers.of(user)[2]!);
    const all = [...both, { ...TEXT, tag: 'last' }];
    const byTag = (list: { tag: string }[]) => list.map(({ tag }) => tag).sort();
    expect(byTag(await shown(page))).toEqual(byTag(all));
    expect(await shown(page)).toEqual(expect.arrayContaining(both));

    await page.evaluate(async () => {
      window.sdk.dismissRead(window.client, window.registration);
      window.client.start();
      await window.client.ready();
    });
    await bed.asUser(user, 'POST', '/v1/me/receipts', { read: [first, last] });
    await until(async () => (await shown(page)).length === 1, 'one notification');
    expect(await shown(page)).toEqual([both[1]]);
    await page.context().close();
  });

  it('is told when the user does not want notifications, and nothing is registered', async () => {
    const user = uniqueUser();
    const { page } = await open(user);
    await page.context().clearPermissions();
    const code = await page.evaluate(async () => {
      Notification.requestPermission = () => Promise.resolve('denied');
      const { client, registration: serviceWorker, sdk } = window;
      return sdk.subscribeToPush(client, { serviceWorker }).then(
        () => 'subscribed',
        (error: unknown) => (error as { code: string }).code,
      );
    });
    expect(code).toBe('push_refused');
    expect(await bed.registered(user)).toEqual([]);
    await page.context().close();
  });
});
