import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type * as Sdk from '@warren/client';
import { QueueWatch } from '../support/queue-watch.js';
import { RawChromium, type Profile, type RawPage } from '../support/raw-chromium.js';
import { bundleSdk, mountSdkPage } from '../support/sdk-page.js';
import { startStack, uniqueUser, userToken, type Stack } from '../support/stack.js';
import { Tab, type TabOptions } from '../support/tabs.js';
import { until } from '../support/until.js';

let stack: Stack;
let browser: RawChromium;
let profile: Profile;
let watch: QueueWatch;
let user: string;
beforeAll(async () => {
  const sdk = await bundleSdk();
  stack = await startStack({
    extras: {
      corsOrigins: [/^http:\/\/localhost:/],
      mount: (app) => {
        app.get('/page', (_request, response, next) => {
          // A page of another origin has a policy of its own.
          response.removeHeader('content-security-policy');
          next();
        });
        mountSdkPage(app, sdk);
        app.get('/elsewhere', (_request, response) => {
          response.type('html').send('<!doctype html><title>elsewhere</title>');
        });
        app.get('/worker.js', (request, response) => {
          response
            .type('text/javascript')
            .send(workerCode(request.query as unknown as WorkerQuery));
        });
      },
    },
  });
  browser = await RawChromium.launch();
  watch = await QueueWatch.open();
});
afterAll(async () => {
  await watch.close();
  await browser.close();
  await stack.close();
});
beforeEach(async () => {
  user = uniqueUser();
  profile = await browser.newProfile();
});
afterEach(() => profile.close());

interface WorkerQuery {
  lacking: string;
  userId: string;
  token: string;
}

const workerCode = ({ lacking, userId, token }: WorkerQuery): string => `
  for (const name of '${lacking}'.split(' '))
    Object.defineProperty(globalThis, name, { value: undefined, configurable: true, writable: true });
  const { getClient } = await import('/sdk.js');
  const client = getClient({
    apiUrl: location.origin, userId: '${userId}', getToken: () => '${token}', deviceId: 'worker',
  });
  client.handle('note', ({ data }) => { postMessage(data); });
  client.on('error', ({ error }) => { postMessage(String(error)); });
  client.start();
  await client.ready();
  postMessage('ready');`;

const options = (more: Partial<TabOptions> = {}): TabOptions => ({
  apiUrl: stack.apiUrl,
  userId: user,
  token: userToken(user),
  ...more,
});

/** Counts the sockets and sessions that a page asks for; runs in the page, before anything else. */
function countDials(): void {
  const counts = { sockets: 0, sessions: 0, open: 0 };
  Object.assign(window, { counts });
  const fetch = window.fetch.bind(window);
  window.fetch = (...request) => {
    counts.sessions++;
    return fetch(...request);
  };
  window.WebSocket = class extends WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      counts.sockets++;
      counts.open++;
      this.addEventListener('close', () => counts.open--);
    }
  };
}
const countsOf = (page: RawPage): Promise<{ sockets: number; sessions: number; open: number }> =>
  page.evaluate(() => (window as unknown as { counts: ReturnType<typeof countsOf> }).counts);

describe('a page', () => {
  it.each([
    ['is left', (page: RawPage) => page.send('Page.navigate', { url: 'about:blank' })],
    ['is closed', (page: RawPage) => page.close()],
  ])(
    'tells what it has handled when it %s in that moment, from another origin too',
    async (_how, leave) => {
      const pageOrigin = stack.apiUrl.replace('127.0.0.1', 'localhost');
      const tab = await Tab.open(profile, options({ pageOrigin }));
      await tab.ready();
      const { id } = (await stack.send({ user }, 'first', { track: true })).body;
      const outcomeOf = async (which: string) =>
        (await stack.api('GET', `/v1/messages/${which}`)).body.counts;
      await until(async () => (await outcomeOf(id)).delivered === 1);
      const last = (await stack.send({ user }, 'last', { track: true })).body.id;
      await until(async () => (await tab.handled()).length === 2);
      await leave(tab.page);
      await until(async () => (await outcomeOf(last)).delivered === 1);
    },
  );

  it('that is frozen holds no connection, and dials once when it thaws', async () => {
    const tab = await Tab.open(profile, options({ before: countDials }));
    await tab.ready();
    const queue = (await stack.user(user)).devices[0]!.queue;
    await tab.page.setFrozen(true);
    await until(async () => (await watch.consumers(queue)) === 0);
    await stack.send({ user }, 'meanwhile');
    await tab.page.setFrozen(false);
    await until(async () => (await tab.handled()).length === 1);
    expect(await countsOf(tab.page)).toEqual({ sockets: 2, sessions: 2, open: 1 });
    expect(await tab.states()).toContain('paused: frozen');
  });

  it('in the back/forward cache holds nothing, and dials once when it is shown again', async () => {
    const tab = await Tab.open(profile, options({ before: countDials }));
    await tab.ready();
    await tab.page.evaluate(() => {
      addEventListener('pageshow', ({ persisted }) => {
        Object.assign(window, { persisted });
      });
    });
    const queue = (await stack.user(user)).devices[0]!.queue;
    await tab.page.goto(`${stack.apiUrl}/elsewhere`, () => document.title === 'elsewhere');
    await until(async () => (await watch.consumers(queue)) === 0);
    await stack.send({ user }, 'meanwhile');
    await tab.page.go(-1, () => 'tab' in window);
    await until(async () => (await tab.handled()).length === 1);
    expect(
      await tab.page.evaluate(() => (window as unknown as { persisted: boolean }).persisted),
    ).toBe(true);
    expect(await countsOf(tab.page)).toEqual({ sockets: 2, sessions: 2, open: 1 });
  });

  it('goes through every order of hidden, freeze, resume, pagehide and pageshow with one dial', async () => {
    const tab = await Tab.open(profile, options({ before: countDials }));
    await tab.ready();
    const names = ['hidden', 'freeze', 'resume', 'pagehide', 'pageshow'];
    const orders = permutations(names);
    expect(orders).toHaveLength(120);
    let dials = 1;
    for (const order of orders) {
      // All of them in one turn, then the page is shown, as every sequence ends.
      await tab.page.evaluate((events) => {
        const tell = (name: string): void => {
          const type = name === 'hidden' || name === 'visible' ? 'visibilitychange' : name;
          const state = name === 'visible' ? 'visible' : 'hidden';
          Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
          const target = type.startsWith('page') ? window : document;
          target.dispatchEvent(new Event(type, { bubbles: true }));
        };
        for (const name of [...events, 'visible', 'visible']) tell(name);
        dispatchEvent(new Event('focus'));
        dispatchEvent(new Event('online'));
      }, order);
      await until(async () => {
        const { state } = await tab.snapshot();
        const { open } = await countsOf(tab.page);
        return state === 'connected' && open === 1;
      }, order.join(' '));
      const { sockets } = await countsOf(tab.page);
      // Whatever froze it closed the socket: one new one.
      expect(sockets - dials, order.join(' ')).toBe(1);
      dials = sockets;
    }
    await stack.send({ user }, 'still here');
    await until(async () => (await tab.handled()).length === 1);
  });

  it('that was reloaded does not handle again what it had handled', async () => {
    const tab = await Tab.open(profile, options());
    await tab.ready();
    await stack.send({ user }, 'once', { id: `once-${user}` });
    await until(async () => (await tab.handled()).length === 1);
    await tab.page.send('Page.reload');
    await until(() =>
      tab.page.evaluate(() => 'warren' in window && !('tab' in window)).catch(() => false),
    );
    await stack.send({ user }, 'once', { id: `once-${user}` });
    await stack.send({ user }, 'new');
    await tab.start(options());
    await until(async () => (await tab.handled()).length === 1);
    expect(await tab.handled()).toEqual(['new']);
  });

  it('in the background lets go when it is told to, and a visible tab takes over', async () => {
    const background = { background: 'disconnect' } as const;
    const first = await Tab.open(profile, options({ options: background }));
    await first.ready();
    const second = await Tab.open(profile, options({ options: background }));
    await second.ready();
    expect((await first.snapshot()).role).toBe('leader');
    await hide(first.page);
    await until(() => second.isLeader());
    expect(await first.snapshot()).toMatchObject({ state: 'paused', reason: 'background' });
    await stack.send({ user }, 'seen in both');
    await until(async () => (await first.observed()).length === 1);
    await hide(second.page);
    const queue = (await stack.user(user)).devices[0]!.queue;
    await until(async () => (await watch.consumers(queue)) === 0);
    await stack.send({ user }, 'later');
    await show(first.page);
    await until(async () => (await first.handled()).length === 1);
    expect(await second.handled()).toEqual(['seen in both']);
  });
});

describe('offline', () => {
  it('is told as a pause, and ends as soon as the browser is online', async () => {
    const tab = await Tab.open(profile, options({ options: { backoffMaxMs: 60_000 } }));
    await tab.ready();
    await tab.page.setOffline(true);
    // The browser lets what is open live; a new connection it refuses.
    await tab.page.evaluate(() => dispatchEvent(new Event('freeze')));
    await tab.page.evaluate(() => dispatchEvent(new Event('resume')));
    await until(async () => (await tab.snapshot()).reason === 'offline');
    await stack.send({ user }, 'meanwhile');
    await tab.page.setOffline(false);
    await until(async () => (await tab.handled()).length === 1);
    // What waited is handled from the first consumer on, a moment before both queues are consumed.
    await until(async () => (await tab.snapshot()).state === 'connected');
  });
});

describe('a worker', () => {
  it.each([
    ['has everything a worker has', 'nothing'],
    [
      'lacks navigator, TextEncoder, TextDecoder and BroadcastChannel',
      'navigator TextEncoder TextDecoder BroadcastChannel',
    ],
  ])('that %s runs the SDK', async (_what, lacking) => {
    const page = await profile.newPage(`${stack.apiUrl}/page`, () => 'warren' in window);
    const query = new URLSearchParams({ lacking, userId: user, token: userToken(user) });
    await page.evaluate((url) => {
      const worker = new Worker(url, { type: 'module' });
      const said: unknown[] = [];
      Object.assign(window, { said, worker });
      worker.onmessage = ({ data }) => said.push(data);
      worker.onerror = ({ message }) => said.push(message);
    }, `/worker.js?${query.toString()}`);
    const said = () => page.evaluate(() => (window as unknown as { said: unknown[] }).said);
    await until(async () => (await said()).length > 0);
    await stack.send({ user }, { text: 'to a wörker ✓' });
    await until(async () => (await said()).length > 1);
    expect(await said()).toEqual(['ready', { text: 'to a wörker ✓' }]);
  });
});

describe('two copies of the module', () => {
  it('in one page share the client and its connection', async () => {
    const tab = await Tab.open(profile, options({ before: countDials }));
    await tab.ready();
    const isSame = await tab.page.evaluate(
      async ({ userId, token }) => {
        const {
          load,
          warren,
          tab: mine,
        } = window as unknown as {
          load: (url: string) => Promise<typeof Sdk>;
          warren: typeof Sdk;
          tab: { client: Sdk.Client };
        };
        const copy = await load('/sdk.js?another-copy');
        const client = copy.getClient({ apiUrl: location.origin, userId, getToken: () => token });
        client.start();
        await client.ready();
        return { client: client === mine.client, module: copy.getClient === warren.getClient };
      },
      { userId: user, token: userToken(user) },
    );
    expect(isSame).toEqual({ client: true, module: false });
    expect(await countsOf(tab.page)).toMatchObject({ sockets: 1, sessions: 1 });
  });
});

const setVisibility = (page: RawPage, state: 'visible' | 'hidden'): Promise<void> =>
  page.evaluate((value) => {
    Object.defineProperty(document, 'visibilityState', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
  }, state);
const hide = (page: RawPage): Promise<void> => setVisibility(page, 'hidden');
const show = (page: RawPage): Promise<void> => setVisibility(page, 'visible');

function permutations<Item>(items: Item[]): Item[][] {
  if (items.length <= 1) return [items];
  return items.flatMap((item, index) =>
    permutations(items.filter((_, other) => other !== index)).map((rest) => [item, ...rest]),
  );
}
