import { randomUUID } from 'node:crypto';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { excessWidth, violationsIn } from '../support/accessibility.js';
import { launchChromium } from '../support/chromium.js';
import { EventLog } from '../support/events.js';
import {
  ADMIN_KEY,
  collect,
  startStack,
  TRANSPORTS,
  uniqueUser,
  VIEWER_KEY,
  type Stack,
  untilDepths,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let browser: Browser;
let context: BrowserContext | undefined;
/** What pages have complained of: errors, refused styles and scripts. */
const complaints: string[] = [];

beforeAll(async () => {
  stack = await startStack();
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await stack.close();
});
afterEach(async () => {
  await context?.close();
  expect(complaints.splice(0)).toEqual([]);
});

interface Look {
  key?: string;
  width?: number;
  colorScheme?: 'light' | 'dark';
  path?: string;
}

/** A page of the console, signed in. */
async function open({ key = ADMIN_KEY, width = 1280, ...look }: Look = {}): Promise<Page> {
  await context?.close();
  context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: look.colorScheme ?? 'light',
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('dialog', (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('console', (line) => {
    // What the server refuses on purpose is told there, too.
    if (line.type() === 'error' && !line.text().startsWith('Failed to load resource')) {
      complaints.push(line.text());
    }
  });
  await page.goto(`${stack.apiUrl}/console/`);
  await page.getByLabel('Admin key or JWT').first().fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('live', { exact: true }).waitFor();
  if (look.path !== undefined) await go(page, look.path);
  return page;
}

const go = (page: Page, path: string): Promise<void> =>
  page.evaluate((hash) => {
    location.hash = hash;
  }, path);

/** Presses an action, and says yes to what it asks. */
async function act(page: Page, name: string, phrase?: string): Promise<void> {
  await page.getByRole('button', { name, exact: true }).first().click();
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  if (phrase !== undefined) await dialog.getByRole('textbox').fill(phrase);
  await dialog.getByRole('button', { name, exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
}

async function provisioned(devices = ['phone'], user = uniqueUser()): Promise<string> {
  await stack.api('PUT', `/v1/users/${user}`, { devices });
  return user;
}

async function online(deviceId = 'phone') {
  const user = uniqueUser();
  const client = stack.client(user, TRANSPORTS.stomp(), { deviceId, handlerAttempts: 1 });
  const messages = collect(client);
  client.start();
  await client.ready();
  return { user, client, messages };
}

describe('signing in', () => {
  it('refuses what is no key and says so, keeps no key, and ends', async () => {
    const page = await open();
    const kept = await page.evaluate(() =>
      JSON.stringify([Object.entries(sessionStorage), Object.entries(localStorage)]),
    );
    expect(kept).not.toContain(ADMIN_KEY);
    await page.reload();
    await page.getByText('live', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Admin key or JWT').first().fill('this is no admin key at all');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('That is no admin key').waitFor();
  });
});

describe('the overview', () => {
  it('shows what goes on, live', async () => {
    const { user } = await online();
    const page = await open();
    const card = (label: string) => page.getByText(label, { exact: true }).locator('..');
    await page.getByText('Users online').waitFor();
    await until(async () => /[1-9]/.test((await card('Users online').innerText()).slice(12)));
    const timer = setInterval(() => void stack.send({ user }, 1, { track: true }), 20);
    try {
      await until(async () => /[1-9]/.test((await card('Sent a second').innerText()).slice(13)));
      const chart = page.getByRole('img', { name: /^Publish to ack/ });
      await until(async () => /p99 [\d.]+ ms/.test((await chart.getAttribute('aria-label')) ?? ''));
    } finally {
      clearInterval(timer);
    }
    await page.getByText(/^RabbitMQ \d/).waitFor();
    await page.getByText('no alarms').waitFor();
    await page.getByText('database up').waitFor();
    await page.getByRole('cell', { name: 'server' }).waitFor();
  });
});

describe('a user', () => {
  it('is found as one types', async () => {
    const user = await provisioned();
    const page = await open({ path: '/users' });
    await page.getByLabel("A part of a user's id").fill(user.slice(1).toUpperCase());
    await page.getByRole('link', { name: user, exact: true }).click();
    await page.getByRole('heading', { name: user }).waitFor();
  });

  it.each([
    ['an id of any kind', uniqueUser],
    ['a UUID, as messages have too', () => randomUUID()],
  ])('is gone to from anywhere, by the keyboard alone: %s', async (_kind, makeId) => {
    const user = await provisioned(['phone'], makeId());
    const page = await open();
    await page.keyboard.press('/');
    await page.keyboard.type(user);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: user }).waitFor();
  });

  it('is disconnected, purged, revoked and removed', async () => {
    const { user, client } = await online();
    const page = await open({ path: `/users/${user}` });
    const states: string[] = [];
    client.on('state', ({ current }) => states.push(current));
    await act(page, 'Disconnect');
    await page.getByText('The connections are closed.').waitFor();
    await until(() => states.includes('connected'));
    await client.stop();
    await stack.send({ user }, 1);
    await stack.send({ user }, 2);
    await act(page, 'Purge');
    await page.getByText('2 messages were thrown away.').waitFor();
    await act(page, 'Revoke');
    await page.getByText('The user is cut off.').waitFor();
    expect((await stack.api('GET', `/v1/users/${user}`)).status).toBe(404);
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    await page.reload();
    await page.getByRole('button', { name: 'Remove' }).click();
    const dialog = page.getByRole('dialog');
    expect(await dialog.getByRole('button', { name: 'Remove' }).isDisabled()).toBe(true);
    await dialog.getByRole('textbox').fill(user);
    await dialog.getByRole('button', { name: 'Remove' }).click();
    await page.getByText('The user is removed.').waitFor();
    expect((await stack.api('GET', `/v1/users/${user}`)).status).toBe(404);
  });

  it('parts with one device, and keeps the other', async () => {
    const user = await provisioned(['phone', 'tablet']);
    const page = await open({ path: `/users/${user}` });
    await page.getByRole('tab', { name: 'Devices' }).click();
    await page.getByRole('cell', { name: /^phone/ }).waitFor();
    await page
      .getByRole('row', { name: /^phone/ })
      .getByText('Revoke device')
      .click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke device' }).click();
    await page.getByText('The device is cut off.').waitFor();
    const left = (await stack.user(user)).devices.map(({ deviceId }) => deviceId);
    expect(left).toEqual(['tablet']);
  });

  it('gets a message that an operator writes, whose life is a click away', async () => {
    const { user, messages } = await online();
    const page = await open({ path: `/users/${user}` });
    await page.getByRole('tab', { name: 'Send' }).click();
    await page.getByLabel('Type').fill('newBanner');
    await page.getByLabel('Data').fill('{"text":"from the console"}');
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await page.getByText('The broker has it').waitFor();
    await until(() => messages.length === 1);
    expect(messages[0]).toMatchObject({ type: 'newBanner', data: { text: 'from the console' } });
    await page.getByRole('link', { name: messages[0]!.id! }).click();
    await page.getByText('A message newBanner was handled by a device.').waitFor();
    // As the reader sees it, whatever the styles make of it.
    expect(await page.getByText('newBanner', { exact: true }).first().innerText()).toBe(
      'newBanner',
    );
  });

  it('is told why a message did not arrive', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.stomp(), { handlerAttempts: 1 });
    client.handle('chat', () => {
      throw new SyntaxError('no');
    });
    client.start();
    await client.ready();
    const { body } = await stack.send({ user }, 1, { type: 'chat', track: true });
    const page = await open({ path: `/users/${user}` });
    await page.getByText('its handler failed with SyntaxError').first().waitFor();
    await go(page, `/messages/${body.id}`);
    await page.getByText('Why it did not arrive').waitFor();
    await page.getByText('rejected', { exact: true }).first().waitFor();
  });

  it('is watched live', async () => {
    const { user } = await online();
    const page = await open({ path: `/users/${user}` });
    await page.getByRole('tab', { name: 'Watch' }).click();
    await until(async () => {
      await stack.send({ user }, { text: 'seen by the console' });
      return (await page.getByText('{"text":"seen by the console"}').count()) > 0;
    });
    await page.getByText('handled', { exact: true }).first().waitFor();
  });

  it('has a history', async () => {
    const user = await provisioned();
    const { body } = await stack.send({ user }, { text: 'kept' }, { delivery: 'stored' });
    await until(async () => (await stack.admin('GET', `messages/${body.id}`)).body.stored);
    const page = await open({ path: `/users/${user}` });
    await page.getByRole('tab', { name: 'History' }).click();
    await page.getByText('"text": "kept"').waitFor();
  });
});

describe('groups and broadcasts', () => {
  it('changes who is in a group, sends to it, and deletes it', async () => {
    const { user, messages } = await online();
    const group = `room-${user}`;
    await stack.api('PUT', `/v1/groups/${group}`, {});
    const page = await open({ path: '/groups' });
    await page.getByLabel("A part of a group's id").fill(group);
    await page.getByRole('link', { name: group }).click();
    await page.getByLabel('Add a user').fill(user);
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    await page.getByRole('link', { name: user }).waitFor();
    await page.getByRole('tab', { name: 'Send' }).click();
    await page.getByRole('button', { name: 'Send to 1' }).click();
    await until(() => messages.length === 1);
    await page.getByRole('tab', { name: 'Members' }).click();
    await act(page, 'Take out');
    await page.getByText('Nobody is in it.').waitFor();
    await act(page, 'Delete group', group);
    await page.getByText('The group is deleted.').waitFor();
  });

  it('tells everybody, after a second thought', async () => {
    const { messages } = await online();
    const page = await open({ path: '/broadcast' });
    const button = page.getByRole('button', { name: /^Send to [\d,]+ users$/ });
    await button.click();
    const dialog = page.getByRole('dialog');
    const yes = dialog.getByRole('button', { name: /^Send to/ });
    await dialog.getByRole('textbox').fill('0');
    expect(await yes.isDisabled()).toBe(true);
    const label = (await dialog.getByText(/^Type \d+ to go on$/).innerText()).trim();
    await dialog.getByRole('textbox').fill(/\d+/.exec(label)![0]);
    await yes.click();
    await page.getByText('The broker has it').first().waitFor();
    await until(() => messages.length === 1);
  });
});

describe('dead letters', () => {
  it('are looked at, sent again and thrown away, one or all of them', async () => {
    const user = await provisioned();
    for (let number = 0; number < 4; number++) {
      await stack.send({ user }, { number }, { ttlMs: 1 });
    }
    const letters = async () =>
      (await stack.admin('GET', `dead-letters?user=${user}`)).body.letters.length;
    await until(async () => (await letters()) === 4);
    const page = await open({ path: '/dead-letters' });
    await page.getByLabel('User', { exact: true }).fill(user);
    await page.getByText('4 in all').waitFor();
    await page
      .getByRole('button', { name: /look at dead letter/ })
      .first()
      .click();
    await page.getByText('"number": 3').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page
      .getByRole('checkbox', { name: /^Choose/ })
      .first()
      .check();
    await act(page, 'Resend 1');
    await page.getByText('1 were sent again.').waitFor();
    await page.getByText('3 in all').waitFor();
    await act(page, 'Discard all', '3');
    await page.getByText('3 were thrown away.').waitFor();
    await page.getByText('No dead letters.').waitFor();
    await untilDepths(stack, user, 1);
  });
});

describe('events', () => {
  it('are shown as they happen, filtered and paused', async () => {
    const page = await open();
    const published = await EventLog.open('session.#');
    /** Until what the page wants is bound at the broker. */
    const feeding = async (isWanted: boolean) => {
      const response = await page.waitForResponse(
        (response) =>
          response.url().endsWith('/feed') &&
          response.request().postData()?.includes('session.#') === isWanted,
      );
      expect(response.status()).toBe(200);
    };
    const happensTo = async (user: string) => {
      await stack.session(user, { deviceId: 'phone' });
      await until(() => published.of(user).length > 0);
    };
    const rowsOf = (user: string) => page.getByRole('row').filter({ hasText: user });
    const [first, second, third] = [uniqueUser(), uniqueUser(), uniqueUser()];
    await Promise.all([feeding(true), go(page, '/events')]);
    await page.getByText('Nothing has happened').waitFor();
    await happensTo(first);
    await rowsOf(first).first().waitFor();
    const filter = page.getByLabel('Only events that hold this text');
    await filter.fill('nothing of the kind');
    await rowsOf(first).first().waitFor({ state: 'detached' });
    await filter.fill('');
    await rowsOf(first).first().waitFor();
    const pause = page.getByRole('switch', { name: 'Pause' });
    await Promise.all([feeding(false), pause.check()]);
    await happensTo(second);
    await Promise.all([feeding(true), pause.uncheck()]);
    await happensTo(third);
    await rowsOf(third).first().waitFor();
    expect(await rowsOf(second).count()).toBe(0);
    await published.close();
  });
});

describe('a viewer', () => {
  it('sees everything, and finds every action shut', async () => {
    const user = await provisioned();
    const page = await open({ key: VIEWER_KEY, path: `/users/${user}` });
    for (const name of ['Disconnect', 'Purge', 'Revoke', 'Remove']) {
      expect(await page.getByRole('button', { name, exact: true }).isDisabled()).toBe(true);
    }
    await page.getByRole('tab', { name: 'Send' }).click();
    expect(await page.getByRole('button', { name: 'Send', exact: true }).isDisabled()).toBe(true);
    await go(page, '/audit');
    await page.getByText('sign_in').first().waitFor();
  });
});

describe('what others have written', () => {
  it('is text: in ids, types, payloads, headers and events', async () => {
    const evil = `<img src=x onerror=alert(1)>"'</script><script>alert(1)</script>`;
    const user = `${uniqueUser()}${evil}`;
    const path = `/users/${encodeURIComponent(user)}`;
    await stack.api('PUT', `/v1${path}`, { devices: [`phone${evil}`] });
    // First: behind one that lasts, it would not expire.
    await stack.send({ user }, { text: evil }, { ttlMs: 1, track: true });
    await stack.send({ user }, { text: evil }, { delivery: 'stored' });
    const page = await open({ path });
    await page.getByRole('heading', { name: user }).waitFor();
    await page.getByText('its time was over').first().waitFor();
    for (const tab of ['Devices', 'History']) {
      await page.getByRole('tab', { name: tab }).click();
      await page.getByText('onerror=alert(1)').first().waitFor();
    }
    await page.getByRole('tab', { name: 'Watch' }).click();
    await until(async () => {
      await stack.send({ user }, { text: evil });
      return (await page.getByRole('cell').filter({ hasText: 'onerror' }).count()) > 0;
    });
    await go(page, '/dead-letters');
    await page
      .getByRole('button', { name: /look at dead letter/ })
      .first()
      .click();
    await page.getByRole('dialog').getByText('onerror=alert(1)').first().waitFor();
    expect(await page.locator('img[src="x"], main script').count()).toBe(0);
  });
});

describe('every page', () => {
  it.each([
    ['light', 1280],
    ['dark', 1280],
    ['light', 390],
  ] as const)('can be read in %s at %d pixels', async (colorScheme, width) => {
    const { user } = await online();
    const { body } = await stack.send({ user }, 1, { track: true });
    await stack.send({ user: await provisioned() }, 1, { ttlMs: 1 });
    const page = await open({ colorScheme, width });
    const findings: string[] = [];
    const paths = ['/', '/users', `/users/${user}`, `/messages/${body.id}`, '/messages', '/groups'];
    for (const path of [...paths, '/broadcast', '/dead-letters', '/events', '/audit']) {
      await go(page, path);
      await page.getByRole('heading', { level: 2 }).first().waitFor();
      // Its figures come a moment later.
      if (path === '/') await page.getByText('no alarms').waitFor();
      expect(await excessWidth(page), `${path} is too wide`).toBeLessThanOrEqual(0);
      const violations = await violationsIn(page);
      findings.push(...violations.map((violation) => `${path} ${violation}`));
    }
    expect(findings).toEqual([]);
  });
});
