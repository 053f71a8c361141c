import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launchChromium } from '../support/chromium.js';
import { openPage, startExample, type RunningExample } from '../support/example.js';
import { request } from '../support/stack.js';

let example: RunningExample;
let browser: Browser;
beforeAll(async () => {
  example = await startExample('notification');
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await example.stop();
});

it('a banner drops on all devices, outlives a reload, and goes from all when one dismisses it', async () => {
  const { page: office } = await openPage(browser, `${example.url}?as=office`);
  const opened = [
    await openPage(browser, `${example.url}?as=anna`),
    await openPage(browser, `${example.url}?as=anna`),
    await openPage(browser, `${example.url}?as=ben`),
  ];
  const [phone, laptop, ben] = opened.map(({ page }) => page) as [Page, Page, Page];
  for (const page of [phone, laptop, ben]) await page.getByText('Connected').waitFor();
  const banner = (page: Page) => page.getByText('is on its way');

  await office.getByRole('button', { name: 'Ship anna' }).click();
  for (const page of [phone, laptop]) await banner(page).waitFor();
  await office.locator('[data-outcome=delivered]').waitFor();
  await laptop.reload();
  await banner(laptop).waitFor();

  await phone.getByRole('button', { name: 'Dismiss' }).click();
  await banner(phone).waitFor({ state: 'detached' });
  await banner(laptop).waitFor({ state: 'detached' });
  await office.locator('[data-outcome=read]').waitFor();
  expect(await banner(ben).count()).toBe(0);

  // Two tabs of one browser are one device.
  const tab = await laptop.context().newPage();
  await tab.goto(`${example.url}?as=anna`);
  await tab.getByText('Connected').waitFor();
  await office.getByRole('button', { name: 'Ship anna' }).click();
  for (const page of [phone, laptop, tab]) await banner(page).waitFor();
  await tab.getByRole('button', { name: 'Dismiss' }).click();
  for (const page of [phone, laptop, tab]) await banner(page).waitFor({ state: 'detached' });
  expect(opened.flatMap(({ problems }) => problems)).toEqual([]);
});

it('what was dismissed while a device was off is gone when it is back', async () => {
  const { page: office } = await openPage(browser, `${example.url}?as=office`);
  const { page: phone } = await openPage(browser, `${example.url}?as=ben`);
  const { page: laptop } = await openPage(browser, `${example.url}?as=ben`);
  for (const page of [phone, laptop]) await page.getByText('Connected').waitFor();
  await laptop.goto('about:blank');
  for (const count of [1, 2]) {
    await office.getByRole('button', { name: 'Ship ben' }).click();
    await phone
      .getByText('is on its way')
      .nth(count - 1)
      .waitFor();
  }
  await phone.getByRole('button', { name: 'Dismiss' }).first().click();
  await phone.getByText('is on its way').nth(1).waitFor({ state: 'detached' });
  const left = await phone.getByText('is on its way').textContent();
  await office.locator('[data-outcome=read]').nth(1).waitFor();
  await laptop.goto(`${example.url}?as=ben`);
  await laptop.getByText('Connected').waitFor();
  await laptop.getByText(left ?? '').waitFor();
  await laptop.getByText('is on its way').nth(1).waitFor({ state: 'detached' });
});

it('only the office ships', async () => {
  const { body } = await request(`${example.url}api/login`, 'POST', undefined, { user: 'anna' });
  const { session } = body as unknown as { session: string };
  const shipped = await request(`${example.url}api/orders/anna/ship`, 'POST', session);
  expect(shipped.status).toBe(403);
});
