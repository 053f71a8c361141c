import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Client } from '@warren/client';
import type { Broker } from '@warren/rabbitmq';
import { createBroker } from '../support/broker.js';
import { Proxy, via } from '../support/proxy.js';
import { QueueWatch } from '../support/queue-watch.js';
import { RawChromium, type Profile, type RawPage } from '../support/raw-chromium.js';
import { bundleSdk, mountSdkPage } from '../support/sdk-page.js';
import { seeded } from '../support/seeded.js';
import { startStack, uniqueUser, userToken, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/** Half as many where they have run on the machine's own broker already. */
const SEQUENCES = process.env['WARREN_TEST_BROKER_ROOT'] === undefined ? 200 : 100;
const MESSAGES = 10 * SEQUENCES;
const RESTARTS = 3;
/** Another run of the dice: `WARREN_TEST_SEED=7 npm test -- test/faults/lifecycle.test.ts`. */
const SEED = Number(process.env['WARREN_TEST_SEED'] ?? 20_261_121);

let broker: Broker;
let removeBroker: () => Promise<void>;
let proxy: Proxy;
let stack: Stack;
let browser: RawChromium;
let profile: Profile;
beforeAll(async () => {
  ({ broker, remove: removeBroker } = await createBroker());
  await broker.start();
  proxy = await Proxy.to(broker.ports.stomp);
  const sdk = await bundleSdk();
  stack = await startStack({
    endpoints: broker.endpoints,
    signingKey: broker.signingKey.privateKey,
    config: { endpoints: { stomp: [via(broker.endpoints.stompUrl, proxy)], amqp: [] } },
    extras: {
      mount: (app) => {
        mountSdkPage(app, sdk);
      },
    },
  });
  browser = await RawChromium.launch();
  profile = await browser.newProfile();
});
afterAll(async () => {
  await profile.close();
  await browser.close();
  await stack.close();
  await proxy.close();
  await removeBroker();
});

/** One of two tabs, and what has been done to it. */
class Subject {
  readonly page: RawPage;
  readonly #start: () => Promise<void>;
  #frozen = false;

  constructor(page: RawPage, start: () => Promise<void>) {
    this.page = page;
    this.#start = start;
  }

  async suffer(what: (typeof FATES)[number]): Promise<void> {
    // Nothing but a thaw happens to a page that is frozen.
    if (this.#frozen || what === 'freeze') {
      this.#frozen = !this.#frozen;
      await this.page.setFrozen(this.#frozen);
    } else if (what === 'reload') {
      await this.page.send('Page.reload');
      await this.#start();
    } else if (what === 'offline') {
      await this.page.setOffline(true);
      await this.page.setOffline(false);
    } else {
      await this.page.evaluate((name) => {
        const hides = name === 'hide' || name === 'pagehide';
        Object.defineProperty(document, 'visibilityState', {
          value: hides ? 'hidden' : 'visible',
          configurable: true,
        });
        const events = {
          hide: ['visibilitychange'],
          show: ['visibilitychange', 'focus'],
          pagehide: ['pagehide', 'visibilitychange', 'freeze'],
          pageshow: ['resume', 'pageshow', 'visibilitychange', 'focus', 'online'],
        }[name];
        for (const type of events) dispatchEvent(new Event(type));
      }, what);
    }
  }

  async restore(): Promise<void> {
    if (this.#frozen) await this.suffer('freeze');
    await this.suffer('pageshow');
  }
}

const FATES = ['freeze', 'hide', 'show', 'pagehide', 'pageshow', 'offline', 'reload'] as const;

/** In the page: a client whose handler notes each message, where a reload does not reach. */
async function openTab(userId: string): Promise<Subject> {
  const ready = (): boolean => 'warren' in window && !('client' in window);
  const page = await profile.newPage(`${stack.apiUrl}/page`, ready);
  const start = async (): Promise<void> => {
    await until(() => page.evaluate(ready).catch(() => false), 'the page');
    await page.evaluate(
      ({ userId, token }) => {
        const { warren } = window as unknown as { warren: typeof import('@warren/client') };
        const client = warren.getClient({
          apiUrl: location.origin,
          userId,
          getToken: () => token,
          background: 'disconnect',
          backoffBaseMs: 50,
          backoffMaxMs: 500,
          drainMs: 500,
        });
        const key = `handled:${String(Math.random())}`;
        const seen: [at: number, number: number][] = [];
        const states: string[] = [];
        Object.assign(window, { client, states });
        client.on('state', ({ current, reason }) => {
          states.push(`${current} ${reason?.code ?? ''}`);
        });
        client.on('error', ({ error }) => states.push(`error ${error.code}`));
        client.handle('note', ({ data }) => {
          seen.push([performance.timeOrigin + performance.now(), data as number]);
          localStorage.setItem(key, JSON.stringify(seen));
        });
        client.start();
      },
      { userId, token: userToken(userId) },
    );
  };
  await start();
  return new Subject(page, start);
}

/** What all loads of all tabs have handled, in its order. */
async function handledIn(page: RawPage): Promise<number[]> {
  const seen = await page.evaluate(() =>
    Object.keys(localStorage)
      .filter((key) => key.startsWith('handled:'))
      .flatMap((key) => JSON.parse(localStorage.getItem(key) ?? '[]') as [number, number][]),
  );
  return seen.sort(([a], [b]) => a - b).map(([, number]) => number);
}

/** What a tab makes of it all, for whoever reads a failure. */
async function inspect(page: RawPage): Promise<string> {
  const looked = page.evaluate(async () => {
    const { client, states } = window as unknown as { client: Client; states: string[] };
    const { state, role, receiving, reason } = client.getSnapshot();
    const { held, pending } = await navigator.locks.query();
    const names = (locks: LockInfo[] = []) => locks.map(({ name }) => (name ?? '').slice(-30));
    return JSON.stringify({
      now: { state, role, receiving, reason: reason?.code },
      visibility: document.visibilityState,
      states: states.slice(-12),
      held: names(held),
      pending: names(pending),
    });
  });
  const late = new Promise<string>((resolve) =>
    setTimeout(() => {
      resolve('the page does not answer');
    }, 2000),
  );
  return Promise.race([looked.catch(String), late]);
}

it(
  `two tabs go through ${String(SEQUENCES)} random sequences of lifecycle events, cuts and broker restarts, and handle ${String(MESSAGES)} messages once, in order, by one consumer`,
  { timeout: 480_000 },
  async () => {
    const random = seeded(SEED);
    const pick = <Item>(items: readonly Item[]): Item =>
      items[Math.floor(random() * items.length)]!;
    const userId = uniqueUser();
    const tabs = [await openTab(userId), await openTab(userId)];
    // Known before its mailbox is bound.
    await until(
      async () => (await stack.user(userId).catch(() => undefined))?.devices[0]?.online === true,
    );
    const { queue } = (await stack.user(userId)).devices[0]!;
    const watch = await QueueWatch.open(broker.endpoints.amqpUrl);
    const most = watch.mostConsumers(queue);

    const history: string[] = [];
    const why = (): string => `seed ${String(SEED)}: ${history.slice(-60).join(', ')}`;
    let sent = 0;
    const send = async (count: number): Promise<void> => {
      for (let index = 0; index < count; index++) {
        const id = `${userId}-${String(sent)}`;
        for (;;) {
          const { status, body } = await stack.send({ user: userId }, sent, { id });
          if (status === 202) {
            expect(body.recipients[0]!.outcome, why()).toBe('queued');
            break;
          }
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        sent++;
      }
    };
    const act = async (): Promise<void> => {
      const dice = random();
      if (dice < 0.15) {
        history.push('cut');
        proxy.cut();
      } else if (dice < 0.25) {
        history.push('block');
        proxy.block();
        await new Promise((resolve) => setTimeout(resolve, random() * 100));
        proxy.open();
      } else {
        const which = random() < 0.5 ? 0 : 1;
        const fate = pick(FATES);
        history.push(`${fate} ${String(which)}`);
        await tabs[which]!.suffer(fate);
      }
    };
    try {
      for (let sequence = 0; sequence < SEQUENCES; sequence++) {
        history.push(`[${String(sequence)}]`);
        const sending = send(MESSAGES / SEQUENCES);
        for (let steps = 1 + Math.floor(random() * 5); steps > 0; steps--) await act();
        const isRestart = sequence % Math.floor(SEQUENCES / RESTARTS) === 30;
        if (isRestart) {
          history.push('restart');
          await broker.restart();
        }
        await sending;
        // Some sequences find the tabs at rest, some do not.
        if (random() < 0.5) {
          await Promise.all(tabs.map((tab) => tab.restore()));
          const count = sent;
          await until(async () => (await handledIn(tabs[0]!.page)).length >= count, why, 60_000);
        }
      }
      await Promise.all(tabs.map((tab) => tab.restore()));
      await until(async () => (await handledIn(tabs[0]!.page)).length >= MESSAGES, why, 60_000);
      expect(await handledIn(tabs[0]!.page), why()).toEqual(
        Array.from({ length: MESSAGES }, (_, index) => index),
      );
      await until(async () => (await stack.user(userId)).devices[0]!.depth === 0, why);
    } catch (error) {
      process.stderr.write(`\n${why()}\n`);
      for (const { page } of tabs) process.stderr.write(`${await inspect(page)}\n`);
      const handled = new Set(await handledIn(tabs[0]!.page));
      const missing = Array.from({ length: sent }, (_, index) => index).filter(
        (number) => !handled.has(number),
      );
      const { devices } = await stack.user(userId);
      process.stderr.write(`missing ${missing.join()}; devices ${JSON.stringify(devices)}\n`);
      throw error;
    }
    const consumers = await most.stop();
    expect(consumers.most).toBe(1);
    // It did look, all the time.
    expect(consumers.samples).toBeGreaterThan(SEQUENCES);
    await watch.close();

    for (const { page } of tabs) {
      await page.evaluate(() =>
        (window as unknown as { client: { stop: () => Promise<void> } }).client.stop(),
      );
    }
    await until(() => proxy.connections === 0, 'the sockets to close');
    // The browser hears of it a moment later.
    const locks = () => tabs[0]!.page.evaluate(async () => (await navigator.locks.query()).held);
    await until(async () => (await locks())?.length === 0, 'the lock to be released');
  },
);
