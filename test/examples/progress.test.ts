import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launchChromium } from '../support/chromium.js';
import { openPage, startExample, type RunningExample } from '../support/example.js';
import { until } from '../support/until.js';

let example: RunningExample;
let browser: Browser;
beforeAll(async () => {
  example = await startExample('progress');
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await example.stop();
});

/** Notes each value that the bar takes; runs in the page. */
function watchBar(): void {
  const values: number[] = [];
  Object.assign(window, { values });
  new MutationObserver(() => {
    const bar = document.querySelector('progress');
    if (bar !== null && values.at(-1) !== bar.value) values.push(bar.value);
  }).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
}
const valuesOf = (page: Page): Promise<number[]> =>
  page.evaluate(() => (window as unknown as { values: number[] }).values);

it('the bar moves as it happens, jumps to the newest after a pause, and ends at the result', async () => {
  const anna = await openPage(browser, `${example.url}?as=anna`);
  const ben = await openPage(browser, `${example.url}?as=ben`);
  for (const { page } of [anna, ben]) await page.getByText('Connected').waitFor();
  await anna.page.evaluate(watchBar);
  await anna.page.getByRole('button', { name: 'Count the primes' }).click();
  await until(async () => (await valuesOf(anna.page)).length >= 5);

  await anna.page.getByRole('button', { name: 'Go away' }).click();
  await anna.page.getByText('Away', { exact: true }).waitFor();
  const before = await valuesOf(anna.page);
  // Several milestones, each of which waits: another device of hers sees them come.
  const { page: laptop } = await openPage(browser, `${example.url}?as=anna`);
  await until(
    async () => {
      const value = await laptop
        .locator('progress')
        .first()
        .evaluate((bar) => (bar as HTMLProgressElement).value)
        .catch(() => 0);
      return value >= Math.min(1, (before.at(-1) ?? 0) + 0.3);
    },
    'three milestones',
    60_000,
  );
  await anna.page.getByRole('button', { name: 'Come back' }).click();
  await until(async () => (await valuesOf(anna.page)).length > before.length);
  const [next = 0] = (await valuesOf(anna.page)).slice(before.length);
  // At once to the newest: none of the steps in between.
  expect(next - (before.at(-1) ?? 0)).toBeGreaterThan(0.15);

  await anna.page.getByText('Done: 788,060 primes').waitFor({ timeout: 60_000 });
  const values = await valuesOf(anna.page);
  expect(values.at(-1)).toBe(1);
  expect(values).toEqual([...values].sort((one, other) => one - other));
  // A reload shows what was saved; nobody else sees it.
  await anna.page.reload();
  await anna.page.getByText('Done: 788,060 primes').waitFor();
  expect(await ben.page.locator('progress').count()).toBe(0);
  expect([...anna.problems, ...ben.problems]).toEqual([]);
});

it('says so when all workers are busy', async () => {
  const { page } = await openPage(browser, `${example.url}?as=carl`);
  await page.getByText('Connected').waitFor();
  const start = page.getByRole('button', { name: 'Count the primes' });
  for (let job = 0; job < 3; job++) await start.click();
  await page.getByText('All workers are busy').waitFor();
});
