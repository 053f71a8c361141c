import { text } from 'express';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { QueueWatch } from '../support/queue-watch.js';
import { RawChromium, type Profile } from '../support/raw-chromium.js';
import { bundleSdk, mountSdkPage } from '../support/sdk-page.js';
import { startStack, uniqueUser, userToken, type Stack } from '../support/stack.js';
import { Tab, type TabOptions } from '../support/tabs.js';
import { until } from '../support/until.js';

let stack: Stack;
let browser: RawChromium;
let profile: Profile;
let watch: QueueWatch;
let user: string;
/** What handlers have noted on the server. */
let notes: number[] = [];
beforeAll(async () => {
  const sdk = await bundleSdk();
  stack = await startStack({
    extras: {
      mount: (app) => {
        mountSdkPage(app, sdk);
        app.post('/note', text(), (request, response) => {
          notes.push(Number(request.body));
          response.end();
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
  notes = [];
  profile = await browser.newProfile();
});
afterEach(() => profile.close());

const optionsOf = (userId: string): TabOptions => ({
  apiUrl: stack.apiUrl,
  userId,
  token: userToken(userId),
});
const open = (options: Partial<TabOptions> = {}): Promise<Tab> =>
  Tab.open(profile, { ...optionsOf(user), ...options });

const queueOf = async (userId: string): Promise<string> => {
  const { devices } = await stack.user(userId);
  return devices[0]!.queue;
};

/** Sends until told to stop; every message is a number. */
function stream(userId: string) {
  let sent = 0;
  const stopped = new AbortController();
  const ended = (async () => {
    while (!stopped.signal.aborted) {
      const { status } = await stack.send({ user: userId }, sent);
      expect(status).toBe(202);
      sent++;
    }
  })();
  return {
    get sent() {
      return sent;
    },
    stop: async () => {
      stopped.abort();
      await ended;
      return sent;
    },
  };
}

/** Keeps a tab's main thread busy; the server is told when that begins. */
const block = (tab: Tab, ms: number): Promise<void> =>
  tab.page.evaluate((ms) => {
    const request = new XMLHttpRequest();
    request.open('POST', '/note', false);
    request.send('0');
    const end = performance.now() + ms;
    while (performance.now() < end);
  }, ms);

const outcomeOf = async (id: string): Promise<string> =>
  (await stack.api('GET', `/v1/messages/${id}`)).body.recipients[0]!.outcome;

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

describe('the tabs of one device', () => {
  it('share one connection: handled once, observed in every tab, in order', async () => {
    const tabs = [await open(), await open(), await open()];
    await Promise.all(tabs.map((tab) => tab.ready()));
    const roles = await Promise.all(tabs.map(async (tab) => (await tab.snapshot()).role));
    expect(roles).toEqual(['leader', 'follower', 'follower']);
    const { devices } = await stack.user(user);
    expect(devices).toHaveLength(1);
    expect(await watch.consumers(devices[0]!.queue)).toBe(1);
    for (const number of numbers(20)) await stack.send({ user }, number);
    await until(async () => (await tabs[2]!.observed()).length === 20);
    await until(async () => (await tabs[1]!.observed()).length === 20);
    const handled = await Promise.all(tabs.map((tab) => tab.handled()));
    expect(handled.flat()).toEqual(numbers(20));
    for (const tab of tabs) expect(await tab.observed()).toEqual(numbers(20));
    expect(await tabs[1]!.states()).toEqual(['paused: follower']);
  });

  it('hand a message to the tab that handles its type, and ack it after that', async () => {
    const leader = await open({ handles: ['note'] });
    await leader.ready();
    const follower = await open({ handles: ['other'], handlerMs: 1500 });
    await follower.ready();
    await stack.send({ user }, 'for the follower', { type: 'other' });
    await until(async () => (await follower.handled()).length === 1);
    expect([1, undefined]).toContain(await watch.unacked(await queueOf(user), stack));
    await until(async () => (await stack.user(user)).devices[0]!.depth === 0, 'the ack');
    expect(await leader.handled()).toEqual([]);
    expect(await leader.observed()).toEqual(['for the follower']);
    await stack.send({ user }, 'for nobody', { type: 'strange' });
    await stack.send({ user }, 'for the leader');
    await until(async () => (await leader.handled()).length === 1);
    await until(async () => (await stack.user(user)).devices[0]!.depth === 0, 'the last ack');
  });

  it('keep for a tab that comes later what nobody handles yet, where the application says so', async () => {
    const options = { unhandled: 'keep' } as const;
    const leader = await open({ handles: ['note'], options });
    await leader.ready();
    await stack.send({ user }, 'for a later tab', { type: 'other' });
    await stack.send({ user }, 'for the leader');
    await until(async () => (await leader.handled()).length === 1);
    const later = await open({ handles: ['other'], options });
    await until(async () => (await later.handled()).length === 1);
    await until(async () => (await stack.user(user)).devices[0]!.depth === 0, 'the ack');
  });

  it('do not lose what a tab was handling when it is killed', async () => {
    const leader = await open({ handles: [] });
    await leader.ready();
    const first = await open({ handles: ['note'], handlerMs: -1 });
    await first.ready();
    await stack.send({ user }, 'half-done');
    await until(async () => (await first.handled()).length === 1);
    const second = await open({ handles: ['note'] });
    await second.ready();
    await first.page.kill();
    await until(async () => (await second.handled()).length === 1);
    expect(await second.handled()).toEqual(['half-done']);
    await until(async () => (await stack.user(user)).devices[0]!.depth === 0);
  });

  it('have exactly one successor when the leader is killed, and lose nothing', async () => {
    const options = { noteAt: '/note' };
    let leader = await open(options);
    await leader.ready();
    let others = [await open(options), await open(options), await open(options)];
    await Promise.all(others.map((tab) => tab.ready()));
    const queue = await queueOf(user);
    const most = watch.mostConsumers(queue);
    const messages = stream(user);
    for (let round = 0; round < 3; round++) {
      const before = messages.sent;
      await until(() => messages.sent > before + 15);
      await leader.page.kill();
      await until(async () =>
        (await Promise.all(others.map((tab) => tab.isLeader()))).includes(true),
      );
      const leads = await Promise.all(others.map((tab) => tab.isLeader()));
      expect(leads.filter(Boolean)).toHaveLength(1);
      leader = others[leads.indexOf(true)]!;
      others = others.filter((tab) => tab !== leader);
    }
    const sent = await messages.stop();
    await until(() => new Set(notes).size === sent, 'all of them');
    // Nothing is lost or out of order; what a killed tab had in hand, one at a time, came again.
    expect([...new Set(notes)]).toEqual(numbers(sent));
    expect(notes.length - sent).toBeLessThanOrEqual(3);
    expect(await most.stop()).toMatchObject({ most: 1 });
  });

  it('pass the lead on when the leader is frozen, and back nothing up behind it', async () => {
    const first = await open();
    await first.ready();
    const second = await open();
    await second.ready();
    await first.page.setFrozen(true);
    await until(() => second.isLeader());
    await stack.send({ user }, 'while frozen');
    await until(async () => (await second.handled()).length === 1);
    await first.page.setFrozen(false);
    await until(async () => (await first.snapshot()).receiving);
    expect((await first.snapshot()).role).toBe('follower');
    await stack.send({ user }, 'after');
    await until(async () => (await first.observed()).includes('after'));
    expect(await second.handled()).toEqual(['while frozen', 'after']);
    expect(await first.handled()).toEqual([]);
    expect(await watch.consumers(await queueOf(user))).toBe(1);
  });

  it(
    'take the lead from a tab that hangs, once somebody looks at them',
    { timeout: 90_000 },
    async () => {
      const first = await open();
      await first.ready();
      const second = await open();
      await second.ready();
      const hanging = first.page.evaluate(() => {
        // The server knows that it hangs before the next message is sent.
        const request = new XMLHttpRequest();
        request.open('POST', '/note', false);
        request.send('0');
        const end = performance.now() + 12_000;
        while (performance.now() < end);
      });
      await until(() => notes.length === 1);
      await stack.send({ user }, 'behind the hanging tab');
      await until(async () => {
        // Looked at every now and then; the first time the other tab may still have answered.
        await second.page.evaluate(
          () =>
            new Promise((resolve) => {
              dispatchEvent(new Event('focus'));
              setTimeout(resolve, 200);
            }),
        );
        return second.isLeader();
      });
      await until(async () => (await second.handled()).length === 1);
      await hanging;
      await until(async () => (await first.snapshot()).role === 'follower');
      await stack.send({ user }, 'after');
      await until(async () => (await first.observed()).includes('after'));
      expect(await second.handled()).toEqual(['behind the hanging tab', 'after']);
      expect(await watch.consumers(await queueOf(user))).toBe(1);
    },
  );

  it.each([
    { leader: 'has no handler', handles: [] },
    { leader: 'handles all types', handles: ['*'] },
  ])(
    'wait for the one that handles a type while it is busy, where the leader $leader',
    async ({ handles }) => {
      const leader = await open({ handles });
      await leader.ready();
      const busy = await open({ handles: ['note'] });
      await busy.ready();
      await stack.send({ user }, 'before');
      await until(async () => (await busy.handled()).length === 1);
      const blocked = block(busy, 6000);
      await until(() => notes.length === 1);
      const ids: string[] = [];
      for (const number of numbers(3)) {
        ids.push((await stack.send({ user }, number, { track: true })).body.id);
      }
      await blocked;
      await until(async () => (await busy.handled()).length === 4);
      expect(await busy.handled()).toEqual(['before', 0, 1, 2]);
      expect(await leader.handled()).toEqual([]);
      for (const id of ids) await until(async () => (await outcomeOf(id)) === 'delivered');
      // It is asked again for all that comes after.
      await stack.send({ user }, 'after');
      await until(async () => (await busy.handled()).includes('after'));
    },
  );

  it('give a type to the tab that is not busy, if two handle it, and none of it twice', async () => {
    const leader = await open({ handles: [] });
    await leader.ready();
    const busy = await open({ handles: ['note'] });
    await busy.ready();
    const idle = await open({ handles: ['note'] });
    await idle.ready();
    const blocked = block(busy, 8000);
    await until(() => notes.length === 1);
    for (const number of numbers(5)) await stack.send({ user }, number);
    await until(async () => (await idle.handled()).length === 5);
    await blocked;
    await until(async () => (await stack.user(user)).devices[0]!.depth === 0);
    expect(await idle.handled()).toEqual(numbers(5));
    expect(await busy.handled()).toEqual([]);
  });

  it('go on when the leader stops, and end when it fails', async () => {
    const first = await open();
    await first.ready();
    const second = await open();
    await second.ready();
    await first.stop();
    await until(() => second.isLeader());
    expect(await first.snapshot()).toMatchObject({ state: 'closed', role: 'alone' });
    const third = await open();
    await third.ready();
    const { devices } = await stack.user(user);
    await stack.session(user, { deviceId: devices[0]!.deviceId! });
    for (const tab of [second, third]) {
      await until(async () => (await tab.snapshot()).state === 'failed');
      expect((await tab.snapshot()).reason).toBe('session_replaced');
    }
  });

  it.each([
    [
      'are missing',
      () => {
        Object.defineProperty(navigator, 'locks', { value: undefined });
      },
    ],
    [
      // As in a frame with `sandbox`.
      'are refused',
      () => {
        navigator.locks.request = () => Promise.reject(new DOMException('denied', 'SecurityError'));
      },
    ],
  ])('fall back to the newest tab where locks %s, and say so', async (_what, before) => {
    const first = await open({ before });
    await first.ready();
    expect(await first.errors()).toEqual(['tabs_unsupported']);
    const second = await open({ before });
    await second.ready();
    await until(async () => (await first.snapshot()).state === 'failed');
    expect((await first.snapshot()).reason).toBe('session_replaced');
    await stack.send({ user }, 1);
    await until(async () => (await second.handled()).length === 1);
  });
});

describe('two accounts', () => {
  it('in two tabs never see each other’s messages', async () => {
    const other = uniqueUser();
    const mine = await open();
    const theirs = await open(optionsOf(other));
    await Promise.all([mine.ready(), theirs.ready()]);
    expect((await mine.snapshot()).role).toBe('leader');
    expect((await theirs.snapshot()).role).toBe('leader');
    for (const number of numbers(10)) {
      await stack.send({ user }, `mine ${String(number)}`);
      await stack.send({ user: other }, `theirs ${String(number)}`);
    }
    await until(async () => (await mine.handled()).length === 10);
    await until(async () => (await theirs.handled()).length === 10);
    for (const [tab, word] of [
      [mine, 'mine'],
      [theirs, 'theirs'],
    ] as const) {
      const seen = [...(await tab.handled()), ...(await tab.observed())] as string[];
      expect(seen.every((text) => text.startsWith(word))).toBe(true);
    }
  });

  it('leave nothing behind when one logs out and the other signs in', async () => {
    const first = await open();
    await first.ready();
    const second = await open();
    await second.ready();
    await stack.send({ user }, 'before');
    await until(async () => (await first.handled()).length === 1);
    const queue = await queueOf(user);
    await second.logout();
    await until(async () => (await first.snapshot()).state === 'failed');
    expect((await first.snapshot()).reason).toBe('logged_out');
    expect((await second.snapshot()).state).toBe('closed');
    expect(await watch.exists(queue)).toBe(false);
    expect((await stack.send({ user }, 'after')).body.recipients[0]!.outcome).toBe('unprovisioned');
    // What one tab lets go of, the other sees a moment later.
    const left = () =>
      first.page.evaluate(async () => {
        const { held = [] } = await navigator.locks.query();
        return [...Object.keys(localStorage), ...held.map(({ name }) => name)];
      });
    await until(
      async () => (await left()).length === 0,
      async () => `left behind: ${(await left()).join(', ')}`,
    );
    const other = uniqueUser();
    await first.start(optionsOf(other));
    await first.ready();
    await stack.send({ user: other }, 'hello');
    await until(async () => (await first.handled()).length === 1);
    expect(await first.handled()).toEqual(['hello']);
    expect((await second.handled()).includes('hello')).toBe(false);
  });
});
