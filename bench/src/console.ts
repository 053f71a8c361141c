import { join } from 'node:path';
import Libsql from 'libsql';
import { chromium, type CDPSession, type Page } from 'playwright-core';
import { ADMIN_KEY, type Bench } from './setup.js';
import { median, printTable } from './statistics.js';
import { usageOf } from './system.js';

const USERS = 100_000;
const READERS = 20;
/** Of them, so many are tracked, and each makes an event. */
const MESSAGES_PER_SECOND = 2000;
const TRACKED_PER_SECOND = 200;
const STEP_MS = 50;
/** With and without a console, in turns. */
const ROUNDS = 3;
const ROUND_MS = 15_000;
const WATCHED_MS = 120_000;
const SEARCHES = ['9', '99', '999', '9999', 'nobody has this'];

/** What an open console costs the server and the broker, and how it fares beside much traffic. */
export async function measureConsole(bench: Bench): Promise<void> {
  addUsers(join(bench.dataDir, 'warren.sqlite'));
  const stop = await flow(bench);
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--enable-precise-memory-info'],
  });
  try {
    await compareLoad(bench, () => openConsole(bench, browser.newPage()));
    await watch(bench, await browser.newPage());
  } finally {
    await browser.close();
    await stop();
  }
}

/** In the database alone: a hundred thousand queues would measure the broker. */
function addUsers(file: string): void {
  const database = new Libsql(file) as unknown as {
    exec: (sql: string) => void;
    close: () => void;
  };
  database.exec(`
    insert into users (user_id, created_at)
    with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ${String(USERS)})
    select 'somebody-' || n, 0 from numbers;
    insert into devices (user_id, device_id, queue, live_queue, created_at, is_bound, missed_for_good)
    select user_id, 'phone', 'user.' || user_id || '.phone.x', 'live.' || user_id || '.phone.x', 0, 1, 0
    from users where user_id like 'somebody-%';
  `);
  database.close();
}

/** A steady stream to readers who handle it. @returns a function that ends it. */
async function flow(bench: Bench): Promise<() => Promise<void>> {
  const names = Array.from({ length: READERS }, (_, index) => `reader-${String(index)}`);
  const clients = names.map((name) => bench.sdk(name, 'amqp'));
  for (const client of clients) {
    client.handle('*', () => undefined);
    client.start();
    await client.ready();
  }
  let count = 0;
  const next = (): string => names[count++ % names.length] ?? '';
  const perStep = STEP_MS / 1000;
  const timer = setInterval(() => {
    for (let left = (MESSAGES_PER_SECOND - TRACKED_PER_SECOND) * perStep; left > 0; left--) {
      void bench.publisher.toUser(next(), 'tick', { count }).catch(() => undefined);
    }
    const messages = Array.from({ length: TRACKED_PER_SECOND * perStep }, () => ({
      to: { user: next() },
      type: 'tick',
      data: { count },
      track: true,
    }));
    void bench.api('POST', '/v1/messages/batch', { messages }).catch(() => undefined);
  }, STEP_MS);
  return async () => {
    clearInterval(timer);
    await Promise.all(clients.map((client) => client.stop()));
  };
}

/** Signed in, with the figures of the overview coming in. */
async function openConsole(bench: Bench, opening: Promise<Page>): Promise<Page> {
  const page = await opening;
  await page.goto(`${bench.apiUrl}/console/`);
  await page.getByLabel('Admin key or JWT').first().fill(ADMIN_KEY);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('Users online').waitFor();
  return page;
}

async function compareLoad(bench: Bench, open: () => Promise<Page>): Promise<void> {
  const shares: Record<'without' | 'with', { own: number[]; broker: number[] }> = {
    without: { own: [], broker: [] },
    with: { own: [], broker: [] },
  };
  for (let round = 0; round < ROUNDS; round++) {
    for (const kind of ['without', 'with'] as const) {
      const page = kind === 'with' ? await open() : undefined;
      const share = await cpuOf(bench);
      shares[kind].own.push(share.own);
      shares[kind].broker.push(share.broker);
      await page?.close();
    }
  }
  const percent = (values: number[]): string => `${(median(values) * 100).toFixed(1)} %`;
  printTable(
    `CPU, of one core, at ${String(MESSAGES_PER_SECOND)} messages a second`,
    (['without', 'with'] as const).map((kind) => ({
      console: kind,
      'server, publisher and readers': percent(shares[kind].own),
      broker: percent(shares[kind].broker),
    })),
  );
}

async function cpuOf(bench: Bench): Promise<{ own: number; broker: number }> {
  const brokerSeconds = () => usageOf(bench.broker).cpuSeconds;
  const before = { own: process.cpuUsage(), broker: brokerSeconds(), at: performance.now() };
  await new Promise((resolve) => setTimeout(resolve, ROUND_MS));
  const { user, system } = process.cpuUsage(before.own);
  const seconds = (performance.now() - before.at) / 1000;
  return {
    own: (user + system) / 1_000_000 / seconds,
    broker: (brokerSeconds() - before.broker) / seconds,
  };
}

/** The page's own health, over two minutes and several of its pages. */
async function watch(bench: Bench, page: Page): Promise<void> {
  await page.addInitScript(`
    const tasks = (globalThis.tasks = []);
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) tasks.push(duration);
    }).observe({ type: 'longtask' });
  `);
  await openConsole(bench, Promise.resolve(page));
  const devtools = await page.context().newCDPSession(page);
  const rows: Record<string, string>[] = [];
  for (const [name, path] of [
    ['overview', '/'],
    ['events, as they come', '/events'],
  ] as const) {
    await page.evaluate(`location.hash = '${path}'; tasks.length = 0;`);
    // Until its tables and charts are full.
    await page.waitForTimeout(20_000);
    const before = await heapOf(devtools);
    await page.waitForTimeout(WATCHED_MS);
    const after = await heapOf(devtools);
    const tasks = await page.evaluate<number[]>('tasks');
    rows.push({
      page: name,
      'longest task, ms': Math.max(0, ...tasks).toFixed(0),
      'over 200 ms': String(tasks.filter((ms) => ms > 200).length),
      'heap, MB': `${before.toFixed(1)} → ${after.toFixed(1)} in ${String(WATCHED_MS / 1000)} s`,
    });
  }
  printTable('The page', rows);
  await page.evaluate("location.hash = '/users'");
  const searches: Record<string, string>[] = [];
  for (const search of SEARCHES) {
    const reply = page.waitForResponse((response) =>
      response.url().includes(`search=${encodeURIComponent(search).replaceAll('%20', '+')}`),
    );
    const typedAt = performance.now();
    await page.getByLabel("A part of a user's id").fill(search);
    await (await reply).finished();
    const seenAt = performance.now();
    await bench.admin(`users?${new URLSearchParams({ search }).toString()}`);
    searches.push({
      search,
      'from the last key, ms': (seenAt - typedAt).toFixed(0),
      'the answer alone, ms': (performance.now() - seenAt).toFixed(0),
    });
  }
  printTable(`Looking for users among ${USERS.toLocaleString('en')}`, searches);
}

/** After a collection, in MB. */
async function heapOf(devtools: CDPSession): Promise<number> {
  await devtools.send('HeapProfiler.collectGarbage');
  await devtools.send('Performance.enable');
  const { metrics } = await devtools.send('Performance.getMetrics');
  return (metrics.find(({ name }) => name === 'JSHeapUsedSize')?.value ?? 0) / 1024 / 1024;
}
