import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Page, WebSocketRoute } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { getClient, type Client, type Message } from '@warren/client';
import { launchChromium } from '../support/chromium.js';
import { openPage, startExample, type RunningExample } from '../support/example.js';
import { PushProxy } from '../support/push-proxy.js';
import { WebPushService } from '../support/web-push-service.js';
import { request, TRANSPORTS } from '../support/stack.js';
import { until } from '../support/until.js';

/** `WARREN_CHAT_SECONDS=60`: everybody in the room writes once a second for so long. */
const SECONDS = Number(process.env['WARREN_CHAT_SECONDS'] ?? 3);
const MEMBERS = 200;

let proxy: PushProxy;
let pushService: WebPushService;
let example: RunningExample;
let browser: Browser;
beforeAll(async () => {
  proxy = await PushProxy.start();
  pushService = await WebPushService.start();
  example = await startExample('chat', {
    WARREN_PUSH_WEBHOOK_URL: proxy.url,
    WARREN_WEBHOOK_SECRET: proxy.secret,
    WARREN_WEBPUSH_HOSTS: pushService.host,
  });
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await example.stop();
  await proxy.close();
  await pushService.close();
});

const open = (user: string) => openPage(browser, `${example.url}?as=${user}`);

/** The example's back end, for whoever has that name. */
async function logIn(user: string) {
  const { body } = await request(`${example.url}api/login`, 'POST', undefined, { user });
  const { session } = body as unknown as { session: string };
  const call = (method: string, path: string, data?: object) =>
    request(`${example.url}api/${path}`, method, session, data);
  return { call, getToken: async () => (await call('POST', 'token')).body.token };
}

async function befriend(one: string, other: string): Promise<void> {
  await (await logIn(one)).call('POST', `friends/${other}`);
  await (await logIn(other)).call('POST', `friends/${one}`);
}

const write = async (page: Page, text: string): Promise<void> => {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
};
const openTalk = (page: Page, name: string) =>
  page.getByRole('button', { name: new RegExp(`^${name}`) }).click();
const lines = (page: Page) => page.locator('.lines li > span').allTextContents();

describe('the chat', () => {
  it('makes two users friends, live, and shows what they write, that they write, and that it was read', async () => {
    const anna = await open('anna');
    const ben = await open('ben');
    await anna.page.getByLabel('A friend’s name').fill('ben');
    await anna.page.getByRole('button', { name: 'Ask' }).click();
    await ben.page.getByText('anna wants to be your friend').waitFor();
    await ben.page.getByRole('button', { name: 'Accept' }).click();
    await openTalk(anna.page, 'ben');
    await write(anna.page, 'Hello Ben');
    await write(anna.page, '<img src=x onerror=alert(1)>');
    await ben.page.getByLabel('2 unread').waitFor();
    await anna.page.getByText(/sent$/).nth(1).waitFor();
    expect(await anna.page.getByText(/read$/).count()).toBe(0);

    await openTalk(ben.page, 'anna');
    await anna.page.getByText(/read$/).nth(1).waitFor();
    expect(await ben.page.getByLabel(/unread/).count()).toBe(0);
    await ben.page.getByLabel('Message', { exact: true }).pressSequentially('Hi');
    await anna.page.locator('.typing', { hasText: 'ben writes' }).waitFor();
    await ben.page.getByRole('button', { name: 'Send' }).click();
    await until(async () => (await lines(anna.page)).length === 3);
    expect(await anna.page.locator('.typing').textContent()).toBe('');

    const all = ['Hello Ben', '<img src=x onerror=alert(1)>', 'Hi'];
    expect(await lines(anna.page)).toEqual(all);
    expect(await lines(ben.page)).toEqual(all);
    // On another device of hers all of it is there, and nothing is unread.
    const elsewhere = await open('anna');
    await openTalk(elsewhere.page, 'ben');
    await until(async () => (await lines(elsewhere.page)).length === 3);
    expect(await lines(elsewhere.page)).toEqual(all);
    expect([anna, ben, elsewhere].flatMap(({ problems }) => problems)).toEqual([]);
  });

  it('shows on each of a user’s devices what was written on one, and counts what was read there', async () => {
    await befriend('carol', 'dave');
    const [phone, laptop, dave] = [await open('carol'), await open('carol'), await open('dave')];
    for (const { page } of [phone, laptop]) await openTalk(page, 'dave');
    await write(phone.page, 'from the phone');
    await until(async () => (await lines(laptop.page)).includes('from the phone'));
    await dave.page.getByLabel('1 unread').waitFor();
    await openTalk(dave.page, 'carol');
    await laptop.page.getByText(/read$/).waitFor();
  });

  it('sends what was written without a network once, when it is tried again', async () => {
    await befriend('erin', 'finn');
    const [erin, finn] = [await open('erin'), await open('finn')];
    await openTalk(erin.page, 'finn');
    await openTalk(finn.page, 'erin');
    await erin.page.context().setOffline(true);
    await write(erin.page, 'is anybody there?');
    await erin.page.getByText('not sent').waitFor();
    await erin.page.context().setOffline(false);
    await erin.page.getByRole('button', { name: 'Try again' }).click();
    await until(async () => (await lines(finn.page)).length === 1);
    await erin.page.getByText(/sent$|read$/).waitFor();
    expect(await lines(erin.page)).toEqual(['is anybody there?']);
  });

  it('pages back through what was written before', async () => {
    await befriend('gail', 'hugo');
    const gail = await logIn('gail');
    const texts = Array.from({ length: 70 }, (_, index) => `line ${String(index)}`);
    for (const text of texts)
      await gail.call('POST', 'messages', { to: { user: 'hugo' }, text, id: crypto.randomUUID() });
    const { page } = await open('hugo');
    await openTalk(page, 'gail');
    // Those that have waited, and a page of the history.
    await until(async () => (await lines(page)).includes('line 69'));
    await page.getByRole('button', { name: 'Older' }).click();
    await until(async () => (await lines(page)).length === 70);
    expect(await lines(page)).toEqual(texts);
  });

  it('pages back to what a long stream has pushed out of the view', async () => {
    await befriend('olga', 'pete');
    const { page } = await open('pete');
    await openTalk(page, 'olga');
    const olga = await logIn('olga');
    const texts = Array.from({ length: 420 }, (_, index) => `line ${String(index)}`);
    for (const text of texts)
      await olga.call('POST', 'messages', { to: { user: 'pete' }, text, id: crypto.randomUUID() });
    await page.getByText('line 419').last().waitFor();
    expect((await lines(page)).length).toBe(400);
    await page.getByRole('button', { name: 'Older' }).click();
    await until(async () => (await lines(page)).length === 420);
    expect(await lines(page)).toEqual(texts);
  });

  it('goes on paging back where it was after its connection was lost', async () => {
    await befriend('quin', 'rose');
    await (await open('rose')).page.close();
    const quin = await logIn('quin');
    const texts = Array.from({ length: 160 }, (_, index) => `line ${String(index)}`);
    for (const text of texts)
      await quin.call('POST', 'messages', { to: { user: 'rose' }, text, id: crypto.randomUUID() });
    // A device that has nothing but the history.
    const { page } = await open('rose');
    const sockets: WebSocketRoute[] = [];
    await page.routeWebSocket(/./, (socket) => {
      socket.connectToServer();
      sockets.push(socket);
    });
    await page.reload();
    await openTalk(page, 'quin');
    const older = page.getByRole('button', { name: 'Older' });
    await until(async () => (await lines(page)).length === 50);
    await older.click();
    await until(async () => (await lines(page)).length === 100);
    const loaded = page.waitForResponse((response) => response.url().includes('history?with='));
    await sockets.at(-1)!.close();
    expect((await loaded).ok()).toBe(true);
    await older.click();
    await until(async () => (await lines(page)).length === 150);
    expect(await lines(page)).toEqual(texts.slice(10));
  });

  it('pushes to who is away, and opens at what the push is about', async () => {
    await befriend('ida', 'jack');
    const jack = await logIn('jack');
    const device = { provider: 'webhook', token: 'the-phone-of-jack' };
    const token = await jack.getToken();
    const api = new URL('/v1/me/push-devices/phone', example.url).href;
    expect((await request(api, 'PUT', token, device)).status).toBe(200);
    const ida = await open('ida');
    await openTalk(ida.page, 'jack');
    await write(ida.page, 'are you coming?');
    await until(() => proxy.of('jack').some(({ body }) => body === 'are you coming?'));
    const push = proxy.of('jack').find(({ body }) => body === 'are you coming?')!;
    expect(push).toMatchObject({ title: 'ida', data: { to: { user: 'ida' } } });
    const { page } = await openPage(browser, `${example.url}?as=jack&open=ida~jack`);
    await page.locator('.lines', { hasText: 'are you coming?' }).waitFor();
  });

  it('notifies a browser whose user has asked for it, by its service worker', async () => {
    await befriend('mona', 'nick');
    const { page } = await openPage(browser, `${example.url}?as=nick`, {
      permissions: ['notifications'],
    });
    // Chromium's own push service is somewhere else; all behind the subscription is real.
    await page.evaluate((given) => {
      Object.assign(PushManager.prototype, {
        getSubscription: () => Promise.resolve(null),
        subscribe: () => Promise.resolve({ toJSON: () => given }),
      });
    }, pushService.subscribe('nick'));
    const cdp = await page.context().newCDPSession(page);
    const registered = new Promise<string>((resolve) => {
      cdp.on('ServiceWorker.workerRegistrationUpdated', ({ registrations: [first] }) => {
        if (first !== undefined) resolve(first.registrationId);
      });
    });
    await cdp.send('ServiceWorker.enable');
    const started = page.context().waitForEvent('serviceworker');
    await page.getByRole('button', { name: 'Notify me' }).click();
    await page.getByText('Notifications on').waitFor();
    const worker = await started;
    await worker.evaluate(() => {
      const shown: unknown[] = [];
      const { registration } = globalThis as unknown as { registration: ServiceWorkerRegistration };
      const show = registration.showNotification.bind(registration);
      registration.showNotification = (title, options) => {
        shown.push([title, options?.body]);
        return show(title, options);
      };
      Object.assign(globalThis, { shown });
    });
    // Away: the page is another one now, of the same browser.
    await page.goto(new URL('/health/live', example.url).href);
    const mona = await logIn('mona');
    const line = { to: { user: 'nick' }, text: 'psst', id: crypto.randomUUID() };
    await mona.call('POST', 'messages', line);
    await until(() => pushService.of('nick').length === 1);
    const [payload] = pushService.of('nick');
    await cdp.send('ServiceWorker.deliverPushMessage', {
      origin: new URL(example.url).origin,
      registrationId: await registered,
      data: JSON.stringify(payload),
    });
    const shown = () =>
      worker.evaluate(() => (globalThis as unknown as { shown: unknown[] }).shown);
    await until(async () => (await shown()).length === 1);
    expect(await shown()).toEqual([['mona', 'psst']]);
    expect(pushService.complaints).toEqual([]);
    await page.context().close();
  });

  it('lets nobody read or write where they do not belong', async () => {
    await befriend('kate', 'liam');
    const kate = await logIn('kate');
    await kate.call('POST', 'rooms', { name: 'Ours', members: ['liam'] });
    const { rooms } = (await kate.call('GET', 'me')).body as unknown as {
      rooms: { id: string; name: string }[];
    };
    const { id: room } = rooms.find(({ name }) => name === 'Ours')!;
    const mallory = await logIn('mallory');
    const id = crypto.randomUUID();
    for (const to of [{ room }, { user: 'kate' }, { room: 'no-such-room' }]) {
      const said = await mallory.call('POST', 'messages', { to, text: 'x', id });
      expect([said.status, (await mallory.call('POST', 'typing', to)).status]).toEqual([403, 403]);
      expect((await mallory.call('POST', 'read', { to, at: 1 })).status).toBe(403);
    }
    expect((await mallory.call('POST', 'rooms', { name: 'x', members: ['kate'] })).status).toBe(
      403,
    );
    for (const path of [`me/history?group=chat-${room}`, 'me/history?with=kate']) {
      const url = new URL(`/v1/${path}`, example.url).href;
      const { status, body } = await request(url, 'GET', await mallory.getToken());
      expect(status === 403 || body.items.length === 0).toBe(true);
    }
    const anonymous = await request(`${example.url}api/me`, 'GET', 'no session');
    expect(anonymous.status).toBe(401);
    const rubbish = [{}, { to: { room }, text: '', id }, { to: 'x', text: 'x', id }, 'no json'];
    for (const body of rubbish)
      expect((await kate.call('POST', 'messages', body as object)).status).toBe(400);
  });
});

describe(`a room of ${String(MEMBERS)}`, () => {
  type Line = { text: string; at: number };
  interface Member {
    name: string;
    client: Client<{ 'chat.message': Line }>;
    transcript: string[];
    /** The same by the lines' places, as a page shows it. */
    lines: Line[];
    say: (text: string) => Promise<void>;
  }

  async function enter(name: string, index: number): Promise<Member> {
    const { call, getToken } = await logIn(name);
    const client = getClient<{ 'chat.message': Line }>({
      apiUrl: new URL(example.url).origin,
      userId: name,
      deviceId: 'room',
      getToken,
      transport: TRANSPORTS[index % 2 === 0 ? 'amqp' : 'stomp'](),
    });
    const transcript: string[] = [];
    const lines: Line[] = [];
    client.handle('chat.message', ({ from, data }: Message<Line>) => {
      transcript.push(`${from ?? ''}: ${data.text}`);
      lines.push(data);
    });
    client.handle('*', () => undefined);
    client.start();
    await client.ready();
    expect((await call('GET', 'me')).status).toBe(200);
    const say = async (text: string): Promise<void> => {
      const body = { to: { room: 'lobby' }, text, id: crypto.randomUUID() };
      // As the page does it, but without a person who presses "Try again".
      for (;;) {
        const { status } = await call('POST', 'messages', body);
        if (status === 202) return;
        if (status !== 503) throw new Error(`refused: ${String(status)}`);
      }
    };
    return { name, client, transcript, lines, say };
  }

  it(
    `has one transcript, in each writer's order and without a gap, when all write at once`,
    async () => {
      // Those who have used the chat until now are in it, too.
      const watcher = await open('watcher');
      const { body } = await (await logIn('watcher')).call('GET', 'me');
      const { rooms } = body as unknown as { rooms: { id: string; members: number }[] };
      const present = rooms.find(({ id }) => id === 'lobby')!.members;
      const names = Array.from({ length: MEMBERS - present }, (_, index) => `m${String(index)}`);
      const members: Member[] = [];
      for (const [index, name] of names.entries()) members.push(await enter(name, index));
      await openTalk(watcher.page, 'Lobby');

      const startedAt = performance.now();
      await Promise.all(
        members.map(async ({ say }, index) => {
          await sleep((1000 * index) / MEMBERS);
          for (let second = 0; second < SECONDS; second++) {
            await say(`line ${String(second)}`);
            await sleep(Math.max(0, startedAt + (second + 1) * 1000 - performance.now()));
          }
        }),
      );
      const writtenMs = performance.now() - startedAt;
      const total = members.length * SECONDS;
      await until(
        () => members.every(({ transcript }) => transcript.length >= total),
        () => {
          const behind = members.filter(({ transcript }) => transcript.length < total);
          const least = Math.min(...behind.map(({ transcript }) => transcript.length));
          return `all of ${String(total)} with ${String(behind.length)} members, one has ${String(least)}`;
        },
        60_000 + SECONDS * 10_000,
      );
      const handledMs = performance.now() - startedAt;
      process.stdout.write(
        `room of ${String(members.length)}: ${String(total)} lines written in ${(writtenMs / 1000).toFixed(1)} s, ` +
          `${String(total * members.length)} handled in ${(handledMs / 1000).toFixed(1)} s\n`,
      );
      const [first] = members;
      for (const { name } of members) {
        const own = first!.transcript.filter((line) => line.startsWith(`${name}: `));
        const expected = Array.from(
          { length: SECONDS },
          (_, second) => `${name}: line ${String(second)}`,
        );
        expect(own).toEqual(expected);
      }
      const different = members.filter(
        ({ transcript }) => transcript.join() !== first!.transcript.join(),
      );
      expect(different.map(({ name }) => name)).toEqual([]);
      // What the page shows is the end of it.
      const inPlace = first!.lines.sort((one, other) => one.at - other.at);
      const end = inPlace.slice(-100).map(({ text }) => text);
      await until(
        async () => (await lines(watcher.page)).slice(-100).join() === end.join(),
        'the page shows the end of it',
        60_000,
      );
      expect(watcher.problems).toEqual([]);
      await Promise.all(members.map(({ client }) => client.stop()));
    },
    180_000 + SECONDS * 20_000,
  );
});
