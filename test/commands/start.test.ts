import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { getClient } from '@warren/client';
import type { SessionGrant } from '@warren/protocol';
import { freePorts } from '@warren/rabbitmq';
import { launchChromium } from '../support/chromium.js';
import { processesWith, Program } from '../support/program.js';
import { request, TRANSPORTS } from '../support/stack.js';
import { until } from '../support/until.js';
import { statusWithHost } from '../support/with-host.js';

interface Info {
  apiUrl: string;
  serviceKey: string;
  amqpUrl: string;
  managementUrl: string;
  pid: number;
}

let dir: string;
let port: number;
const programs: Program[] = [];
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'warren-start-'));
  [port = 0] = await freePorts(1);
});
afterAll(async () => {
  await rm(dir, { recursive: true, force: true });
});

function npmStart(args: string[], environment: Record<string, string> = {}): Program {
  const program = new Program('npm', ['start', '--', ...args], environment);
  programs.push(program);
  return program;
}

async function untilReady(program: Program, dataDir: string): Promise<Info> {
  await until(
    () => program.output.includes('Warren is ready.'),
    () => program.output,
    60_000,
  );
  return JSON.parse(await readFile(join(dataDir, 'dev.json'), 'utf8')) as Info;
}

async function untilGone(program: Program, dataDir: string): Promise<void> {
  // npm itself ends by the signal, after its child has ended well.
  expect([0, null], program.output).toContain(await program.exited);
  await until(async () => (await processesWith(dataDir)).length === 0, 'the end of all processes');
  await expect(stat(join(dataDir, 'dev.json'))).rejects.toThrow();
}

/** What a person does in the demo: sends, cuts Bob's network, sends on, gives it back. */
async function playWithDemo(page: Page): Promise<string[]> {
  const bob = page.locator('.phone[data-user=bob]');
  await page.locator('.phone[data-state=connected]').nth(1).waitFor();
  // What was sent before anybody opened the page.
  await page.locator('.phone[data-user=alice]').getByText('hello from curl').waitFor();
  await page.getByLabel('Both').check();
  await page.getByRole('textbox', { name: 'Message' }).fill('Dinner is ready');
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await page.locator('.phone[data-user=alice] .bubble').nth(1).waitFor();
  await bob.locator('.bubble').waitFor();
  await bob.getByRole('button', { name: 'Cut the network' }).click();
  await page.locator('.phone[data-user=bob][data-state=waiting]').waitFor();
  await page.getByLabel('Bob', { exact: true }).check();
  await page.getByRole('button', { name: 'Send ten' }).click();
  await bob.getByText('10 waiting in the queue').waitFor();
  expect(await bob.locator('.bubble').count()).toBe(1);
  // His phone gets pushes by another way, and the sender is told.
  await bob.locator('.notifications li').nth(2).waitFor();
  await page.locator('.log [data-outcome=pushed]').nth(9).waitFor();
  await bob.getByRole('button', { name: 'Give it back' }).click();
  await bob.locator('.bubble').nth(10).waitFor();
  await bob.getByText('waiting in the queue').waitFor({ state: 'hidden' });
  await bob.locator('.notifications li').first().waitFor({ state: 'detached' });
  await page.locator('.log [data-outcome=delivered]').nth(11).waitFor();
  return bob.locator('.bubble .number').allTextContents();
}

describe('npm start', () => {
  let browser: Browser | undefined;
  afterEach(async () => {
    await browser?.close();
    browser = undefined;
    for (const program of programs.splice(0)) program.kill();
  });

  it('gets ready by itself, shows the demo, answers its own curl, and ends with Ctrl-C', async () => {
    const program = npmStart(['--port', String(port), '--data-dir', dir]);
    const info = await untilReady(program, dir);
    expect(info).toMatchObject({
      apiUrl: `http://127.0.0.1:${String(port)}`,
      vhost: 'warren',
      exchange: 'warren.direct',
    });
    expect(program.output).toContain(`${info.apiUrl}/demo/`);

    const [, key] = /Authorization: Bearer (\S+)'/.exec(program.output)!;
    const body = /-d '(.+)'/.exec(program.output)![1]!;
    const sent = await request(`${info.apiUrl}/v1/messages`, 'POST', key, body);
    expect([sent.status, sent.body.recipients[0]?.outcome]).toEqual([202, 'queued']);

    const { body: given } = await request(`${info.apiUrl}/dev/token`, 'POST', undefined, {
      userId: 'carol',
    });
    expect((await request(`${info.apiUrl}/v1/sessions`, 'POST', given.token, {})).status).toBe(201);
    const rebound = await tokenUnder(info, 'evil.example');
    expect(rebound).toBe(403);

    browser = await launchChromium();
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('response', (response) => {
      if (response.status() >= 400) problems.push(`${String(response.status())} ${response.url()}`);
    });
    await page.goto(info.apiUrl);
    const numbers = await playWithDemo(page);
    expect(numbers).toEqual(Array.from({ length: 11 }, (_, index) => String(index + 1)));
    expect(problems).toEqual([]);

    const second = npmStart(['--data-dir', dir]);
    expect(await second.exited).toBe(1);
    expect(second.output).toMatch(/already runs .*\n.*--data-dir/);

    program.interrupt();
    await untilGone(program, dir);
  }, 180_000);

  it('keeps its keys and port, and frees them after a kill -9 too', async () => {
    const before = JSON.parse(await readFile(join(dir, 'state.json'), 'utf8')) as {
      serviceKey: string;
    };
    const killed = npmStart(['--data-dir', dir]);
    const info = await untilReady(killed, dir);
    expect(info).toMatchObject({
      apiUrl: `http://127.0.0.1:${String(port)}`,
      serviceKey: before.serviceKey,
    });
    killed.kill();
    await killed.exited;
    // The broker has been left running; the next start stops it.
    const again = npmStart(['--data-dir', dir]);
    expect((await untilReady(again, dir)).amqpUrl).toBe(info.amqpUrl);
    again.interrupt();
    await untilGone(again, dir);
  }, 180_000);

  it('is at another address of the machine when it is told to, and there alone', async () => {
    const own = join(dir, 'host');
    const host = otherAddress();
    const program = npmStart(['--host', host, '--port', String(port), '--data-dir', own]);
    const info = await untilReady(program, own);
    expect(program.output).toContain(`Anybody who reaches ${host} can act as any user`);
    expect(info.apiUrl).toBe(`http://${host}:${String(port)}`);
    const userId = 'carol';
    const { body } = await request(`${info.apiUrl}/dev/token`, 'POST', undefined, { userId });
    for (const name of ['localhost', 'evil.example']) {
      expect(await tokenUnder(info, name)).toBe(403);
    }
    const session = await request(`${info.apiUrl}/v1/sessions`, 'POST', body.token, {});
    const { endpoints } = session.body as unknown as SessionGrant;
    for (const address of [...endpoints.stomp, ...endpoints.amqp]) {
      expect(new URL(address).hostname).toBe(host);
    }
    const client = getClient({
      apiUrl: info.apiUrl,
      userId,
      deviceId: 'phone',
      getToken: () => body.token,
      transport: TRANSPORTS.stomp(),
    });
    client.start();
    await client.ready();
    await client.stop();
    expect(await isOpen('127.0.0.1', port)).toBe(false);
    // What is for this machine alone stays here.
    const { port: management } = new URL(info.managementUrl);
    expect(await isOpen('127.0.0.1', Number(management))).toBe(true);
    expect(await isOpen(host, Number(management))).toBe(false);
    program.interrupt();
    await untilGone(program, own);
  }, 180_000);

  it('lets clients send when it is told to, and says so', async () => {
    const sendAs = async (info: Info): Promise<string | number> => {
      const token = async (userId: string): Promise<string> =>
        (await request(`${info.apiUrl}/dev/token`, 'POST', undefined, { userId })).body.token;
      const path = `${info.apiUrl}/v1/me/messages`;
      const message = { to: { user: 'bob' }, type: 'note', data: 'hello' };
      const { status, body } = await request(path, 'POST', await token('alice'), message);
      return status === 202 ? status : body.code;
    };
    const closed = npmStart(['--data-dir', dir]);
    expect(await sendAs(await untilReady(closed, dir))).toBe('not_allowed');
    closed.interrupt();
    await untilGone(closed, dir);
    const open = npmStart(['--allow-client-sends', '--data-dir', dir]);
    expect(await sendAs(await untilReady(open, dir))).toBe(202);
    expect(open.output).toContain('Clients may send to every user');
    expect(closed.output).not.toContain('Clients may send');
    open.interrupt();
    await untilGone(open, dir);
  }, 180_000);

  it('lists its flags', async () => {
    const program = npmStart(['--help', '--data-dir', join(dir, 'nothing')]);
    expect(await program.exited).toBe(0);
    for (const flag of ['--port', '--host', '--data-dir', '--allow-client-sends'])
      expect(program.output).toContain(flag);
    await expect(stat(join(dir, 'nothing'))).rejects.toThrow();
  });

  it.each([
    [
      'a taken port',
      () => ['--port', String(port), '--data-dir', dir],
      {},
      /Port \d+ is taken.*\n.*--port N/,
    ],
    [
      'a data directory that cannot be written',
      () => ['--data-dir', '/etc/hostname/x'],
      {},
      /cannot be written\.\n.*--data-dir DIR/,
    ],
    [
      'no broker on the machine',
      () => ['--data-dir', join(dir, 'other')],
      { RABBITMQ_SERVER_SCRIPT: '/nowhere' },
      /RabbitMQ is not installed.*\n.*apt-get install.*brew install.*WARREN_AMQP_URL/,
    ],
    ['a flag that does not exist', () => ['--prot', '1'], {}, /--prot.*\n.*--help/],
    [
      'an address that is not this machine’s',
      () => ['--host', '198.51.100.1', '--data-dir', dir],
      {},
      /--host must be an IPv4 address of this machine.*\n.*It has/,
    ],
    [
      'an address that stands for all',
      () => ['--host', '0.0.0.0', '--data-dir', dir],
      {},
      /--host must be an IPv4 address/,
    ],
    ['a port that is none', () => ['--port', 'x'], {}, /--port must be a number/],
    [
      'a broker of one’s own without what belongs to it',
      () => ['--data-dir', join(dir, 'other')],
      { WARREN_AMQP_URL: 'amqp://127.0.0.1:1/warren' },
      /WARREN_SIGNING_KEY: is required/,
    ],
  ] as [string, () => string[], Record<string, string>, RegExp][])(
    'says what to do about %s, with exit code 1',
    async (what, args, environment, message) => {
      const blocker = createServer();
      if (what === 'a taken port') {
        await new Promise<void>((resolve) => blocker.listen(port, '127.0.0.1', resolve));
      }
      const program = npmStart(args(), environment);
      expect(await program.exited, program.output).toBe(1);
      expect(program.output).toMatch(message);
      // One clear message, no stack.
      expect(program.output).not.toMatch(/\n\s+at /);
      await new Promise((resolve) => blocker.close(resolve));
    },
  );
});

/** One that others reach, or what comes closest. */
const otherAddress = (): string =>
  Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.2';

function isOpen(host: string, at: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port: at, timeout: 3000 });
    const settle = (answer: boolean) => () => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', settle(true));
    socket.once('timeout', settle(false));
    socket.once('error', settle(false));
  });
}

const tokenUnder = ({ apiUrl }: Info, host: string): Promise<number> =>
  statusWithHost(`${apiUrl}/dev/token`, host, { method: 'POST', body: { userId: 'a' } });
