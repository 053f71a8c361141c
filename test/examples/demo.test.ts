import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freePorts } from '@warren/rabbitmq';
import { excessWidth, violationsIn } from '../support/accessibility.js';
import { launchChromium } from '../support/chromium.js';
import { openPage } from '../support/example.js';
import { Program } from '../support/program.js';
import { until } from '../support/until.js';

let dir: string;
let url: string;
let program: Program;
let browser: Browser;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'warren-demo-'));
  const [port = 0] = await freePorts(1);
  url = `http://127.0.0.1:${String(port)}/demo/`;
  const args = ['--port', String(port), '--data-dir', dir];
  program = new Program(process.execPath, ['examples/demo/dist/start.js', ...args]);
  await until(
    () => program.output.includes('Warren is ready.'),
    () => program.output,
    60_000,
  );
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  program.interrupt();
  await program.exited;
  await rm(dir, { recursive: true, force: true });
});

/** What each tab shows when it is ready, in how many frames. */
const TABS = [
  ['Delivery', 0, 'Connected'],
  ['Chat', 2, 'Lobby'],
  ['Notification', 3, /Connected|The office/],
  ['Progress', 2, 'Connected'],
  ['Call', 2, 'Ready'],
  ['Any language', 0, 'examples/curl/send.sh'],
] as const;

async function show(page: Page, [name, frames, text]: (typeof TABS)[number]): Promise<void> {
  await page.getByRole('navigation').getByText(name, { exact: true }).click();
  if (frames === 0) {
    await page.getByText(text).filter({ visible: true }).first().waitFor();
    return;
  }
  const example = page.frameLocator(`iframe[title="${name}"]`);
  for (let index = 0; index < frames; index++)
    await example.locator('iframe').nth(index).contentFrame().getByText(text).first().waitFor();
}

it.each([
  ['light', 1280],
  ['dark', 1280],
  ['light', 390],
] as const)(
  'has each example as a tab, which can be read in %s at %d pixels',
  async (colorScheme, width) => {
    const viewport = { width, height: 860 };
    const { page, problems } = await openPage(browser, url, { colorScheme, viewport });
    const findings: string[] = [];
    let looked = 0;
    for (const tab of TABS) {
      await show(page, tab);
      for (const frame of page.frames()) {
        const where = `${tab[0]} ${frame.url()}`;
        if (!((await (await frame.frameElement().catch(() => undefined))?.isVisible()) ?? true))
          continue;
        looked++;
        expect(await excessWidth(frame), `${where} is too wide`).toBeLessThanOrEqual(0);
        const violations = await violationsIn(frame);
        findings.push(...violations.map((violation) => `${where}: ${violation}`));
      }
    }
    // Each tab, and the frames in it.
    expect(looked).toBe(1 + 4 + 5 + 4 + 4 + 1);
    expect(findings).toEqual([]);
    expect(problems).toEqual([]);
    await page.context().close();
  },
);

it('names its own data directory in the commands that it shows', async () => {
  const { page } = await openPage(browser, url, {});
  await page.getByRole('navigation').getByText('Any language', { exact: true }).click();
  for (const place of [`--data-dir ${dir}`, `--dev ${dir}/dev.json`]) {
    await page.getByText(place).filter({ visible: true }).waitFor();
  }
  expect(await page.getByText(`${dir}/dev.json`).filter({ visible: true }).count()).toBe(3);
  await page.context().close();
});
