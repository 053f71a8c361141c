import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launchChromium } from '../support/chromium.js';
import { openPage, startExample } from '../support/example.js';
import { processesWith } from '../support/program.js';
import { until } from '../support/until.js';

let browser: Browser;
beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(() => browser.close());

async function logIn(page: Page, user: string, password: string): Promise<void> {
  await page.getByLabel('Name').fill(user);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
}

it('an Express application with its own login tells its users what is new, by their cookies', async () => {
  const example = await startExample('express');
  try {
    const [anna, ben] = [
      await openPage(browser, example.url),
      await openPage(browser, example.url),
    ];
    await logIn(anna.page, 'anna', 'wrong');
    await anna.page.getByText('No such user and password.').waitFor();
    await logIn(anna.page, 'anna', 'anna');
    await logIn(ben.page, 'ben', 'ben');
    for (const { page } of [anna, ben]) await page.getByText('Connected').waitFor();
    await anna.page.getByLabel('What').fill('Buy milk');
    await anna.page.getByLabel('For whom').selectOption('ben');
    await anna.page.getByRole('button', { name: 'Add' }).click();
    await ben.page.getByText('Buy milk (anna)').waitFor();
    expect(await anna.page.getByText('Buy milk').count()).toBe(0);
    // Without the cookie there is no session.
    const refused = await fetch(new URL('warren/v1/sessions', example.url), {
      method: 'POST',
      headers: { authorization: 'Bearer cookie', 'content-type': 'application/json' },
      body: '{"deviceId": "x"}',
    });
    expect(refused.status).toBe(401);
    // Chromium says that the wrong password was answered with 401.
    expect([...anna.problems.slice(1), ...ben.problems]).toEqual([]);
  } finally {
    await example.stop();
  }
  expect(await processesWith(example.dataDir)).toEqual([]);
});

it('two services talk without any HTTP of their own, and end together', async () => {
  const example = await startExample('service');
  const { program } = example;
  try {
    const says = (pattern: RegExp) =>
      until(
        () => pattern.test(program.output),
        () => `${String(pattern)} in: ${program.output}`,
        30_000,
      );
    await says(/replica-1 {2}connected/);
    await says(/replica-2 {2}connected/);
    await says(/prices {3}(\w+) costs (\d+) now \(queued\)[\s\S]*replica-[12] {2}\1 \2/);
    await says(/replica-1 {2}(tea|coffee|cake) \d+/);
    // Both have the same prices.
    const [, article = '', cents = ''] = /replica-1 {2}(tea|coffee|cake) (\d+)/.exec(
      program.output,
    )!;
    await says(new RegExp(`replica-2 {2}${article} ${cents}`));
    await says(/the cache has for (\w+): \{"cents":\d+\}/);
  } finally {
    await example.stop();
  }
  for (const name of ['service/dist/cache.js', 'service/dist/prices.js'])
    expect(await processesWith(name)).toEqual([]);
});
