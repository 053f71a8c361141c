import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launchChromium } from '../support/chromium.js';
import { openPage, startExample, type RunningExample } from '../support/example.js';
import { request } from '../support/stack.js';
import { until } from '../support/until.js';

let example: RunningExample;
let browser: Browser;
beforeAll(async () => {
  example = await startExample('call');
  browser = await launchChromium([
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    // Nothing but loopback is there for sure.
    '--allow-loopback-in-peer-connection',
  ]);
});
afterAll(async () => {
  await browser.close();
  await example.stop();
});

async function open(user: string) {
  const opened = await openPage(browser, `${example.url}?as=${user}`);
  await opened.page.getByText('Ready').waitFor();
  return opened;
}
const dial = async (page: Page, user: string): Promise<void> => {
  await page.getByLabel('Whom to call').fill(user);
  await page.getByRole('button', { name: 'Call' }).click();
};
const button = (page: Page, name: string) => page.getByRole('button', { name });

/** Whether pictures of the other side come, and sound has a track that runs. */
const seesAndHears = (page: Page): Promise<boolean> =>
  page.locator('video.other').evaluate((element) => {
    const video = element as HTMLVideoElement;
    const stream = video.srcObject as MediaStream | null;
    const live = stream?.getTracks().filter((track) => track.readyState === 'live' && !track.muted);
    return live?.length === 2 && video.videoWidth > 0 && video.currentTime > 0.3;
  });

it('connects two windows: media both ways, and a text channel, until one hangs up', async () => {
  const [anna, ben] = [await open('anna'), await open('ben')];
  const { page: benElsewhere } = await open('ben');
  await dial(anna.page, 'ben');
  for (const page of [ben.page, benElsewhere]) await page.getByText('anna is calling').waitFor();
  await button(ben.page, 'Answer').click();
  for (const { page } of [anna, ben]) await page.getByText('Talking to').waitFor();
  // It does not go on ringing where nobody answered.
  await benElsewhere.getByText('Answered elsewhere').waitFor();
  for (const { page } of [anna, ben]) await until(() => seesAndHears(page), 'media');

  for (const [one, other, text] of [
    [anna.page, ben.page, 'from anna'],
    [ben.page, anna.page, 'from ben'],
  ] as const) {
    await one.getByRole('textbox', { name: 'Text' }).fill(text);
    await button(one, 'Send').click();
    await other.getByText(`: ${text}`).waitFor();
  }
  await button(ben.page, 'Hang up').click();
  await anna.page.getByText('The call is over').waitFor();
  const camera = await ben.page
    .locator('video.own')
    .evaluate((video) => (video as HTMLVideoElement).srcObject);
  expect(camera).toBeNull();
  // And once more, the other way round.
  await dial(ben.page, 'anna');
  await button(anna.page, 'Answer').click();
  await until(() => seesAndHears(ben.page), 'media');
  await button(ben.page, 'Hang up').click();
  expect([...anna.problems, ...ben.problems]).toEqual([]);
});

it('takes one of two calls that cross, and ends when the other side is gone without a word', async () => {
  const [{ page: gus }, { page: hal }] = [await open('gus'), await open('hal')];
  // Neither hears of the other's call before both have dialled.
  let letGo: () => void = () => undefined;
  const bothCall = new Promise<void>((resolve) => (letGo = resolve));
  for (const page of [gus, hal])
    await page.route('**/v1/me/messages', async (route) => {
      await bothCall;
      await route.continue();
    });
  await dial(gus, 'hal');
  await dial(hal, 'gus');
  letGo();
  for (const page of [gus, hal]) await until(() => seesAndHears(page), 'media');
  await hal.context().close();
  await gus.getByText('The connection was lost.').waitFor({ timeout: 45_000 });
});

it('is taken by one of two devices that answer at the same moment', async () => {
  const { page: lea } = await open('lea');
  const { page: phone } = await open('max');
  const { page: laptop } = await open('max');
  const both = [phone, laptop];
  await dial(lea, 'max');
  for (const page of both) await page.getByText('lea is calling').waitFor();
  // Both have said yes before anybody hears of it.
  let waiting = 0;
  let letGo: () => void = () => undefined;
  const bothAnswer = new Promise<void>((resolve) => (letGo = resolve));
  for (const page of both)
    await page.route('**/v1/me/messages', async (route) => {
      if (++waiting === both.length) letGo();
      await bothAnswer;
      await route.continue();
    });
  await Promise.all(both.map((page) => button(page, 'Answer').click()));
  await until(() => seesAndHears(lea), 'media');
  const late = await Promise.race(
    both.map((page) =>
      page
        .getByText('Answered elsewhere')
        .waitFor()
        .then(() => page),
    ),
  );
  const [taker] = both.filter((page) => page !== late);
  await until(() => seesAndHears(taker!), 'media');
  expect(await seesAndHears(late)).toBe(false);
});

it('is declined, and rings on a page that opens in the middle', async () => {
  const { page: carl } = await open('carl');
  await open('dora').then(({ page }) => page.context().close());
  await dial(carl, 'dora');
  await carl.getByText('Calling dora').waitFor();
  const { page: dora } = await openPage(browser, `${example.url}?as=dora`);
  // A new browser is a new device: what was sent before it came is not in its queue.
  await dora.getByText('Ready').waitFor();
  await button(carl, 'Hang up').click();
  await dial(carl, 'dora');
  await button(dora, 'Decline').click();
  await carl.getByText('The call is over').waitFor();
});

it('calls nobody, and closes the camera, when one hangs up before it was there', async () => {
  const [{ page: ina }, { page: jon }] = [await open('ina'), await open('jon')];
  await ina.evaluate(() => {
    const { mediaDevices } = navigator;
    const ask = mediaDevices.getUserMedia.bind(mediaDevices);
    // As long as the user thinks about it.
    const answer = new Promise<void>((resolve) => Object.assign(window, { answer: resolve }));
    mediaDevices.getUserMedia = async (constraints) => {
      await answer;
      const stream = await ask(constraints);
      Object.assign(window, { stream });
      return stream;
    };
  });
  await dial(ina, 'jon');
  await button(ina, 'Hang up').click();
  await ina.evaluate(() => {
    (window as unknown as { answer: () => void }).answer();
  });
  await ina.waitForFunction(() => {
    const { stream } = window as unknown as { stream?: MediaStream };
    return stream?.getTracks().every((track) => track.readyState === 'ended');
  });
  // Who is called now has heard of no call before.
  await dial(ina, 'jon');
  await jon.getByText('ina is calling').waitFor();
  await button(jon, 'Answer').click();
  await until(() => seesAndHears(jon), 'media');
  await button(ina, 'Hang up').click();
});

it('carries nothing but calls from client to client', async () => {
  const { body } = await request(`${example.url}api/login`, 'POST', undefined, { user: 'eve' });
  const { session } = body as unknown as { session: string };
  const { token } = (await request(`${example.url}api/token`, 'POST', session)).body;
  const url = new URL('/v1/me/messages', example.url).href;
  const send = async (to: object, type: string) =>
    (await request(url, 'POST', token, { to, type, data: {} })).status;
  expect(await send({ user: 'anna' }, 'call.end')).toBe(202);
  expect(await send({ user: 'anna' }, 'chat.message')).toBe(403);
  expect(await send({ group: 'anna' }, 'call.end')).toBe(403);
});
