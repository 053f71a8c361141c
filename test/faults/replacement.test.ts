import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { freePorts } from '@warren/rabbitmq';
import { Program, ROOT } from '../support/program.js';
import { QueueWatch, typeOfQueue } from '../support/queue-watch.js';
import { seeded } from '../support/seeded.js';
import {
  forgetDatabase,
  request,
  SERVICE_KEY,
  uniqueUser,
  USER_SECRET,
  userToken,
} from '../support/stack.js';
import { until } from '../support/until.js';

// More of it: WARREN_REPLACEMENT_DEVICES=1000 npx vitest run test/faults/replacement.test.ts
const DEVICES = Number(process.env['WARREN_REPLACEMENT_DEVICES'] ?? 60);
/** Until the last one is replaced. */
const LIMIT_MS = 400_000 + DEVICES * 400;
const DEVICES_EACH = Math.ceil(DEVICES / 10);
const LIST = Math.min(10, DEVICES / 2);
/** Each of these is killed once, while messages are sent at this pace. */
const PROCESSES = Math.ceil(DEVICES / DEVICES_EACH);
const EVERY_MS = 50;
const SERVER_KILLS = 2;

type Line = [pid: number, what: string, user: string, id: string, data: { n: number }];

const random = seeded(20_261_127);
const users = Array.from({ length: DEVICES }, uniqueUser);
let dir: string;
let log: string;
let apiUrl: string;
let watch: QueueWatch;
let environment: Record<string, string>;
let server: Program;
const clients: Program[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'warren-replacement-'));
  log = join(dir, 'handled');
  await writeFile(log, '');
  watch = await QueueWatch.open();
  const [port = 0] = await freePorts(1);
  apiUrl = `http://127.0.0.1:${String(port)}`;
  const { endpoints, signingKey } = inject('broker');
  environment = {
    WARREN_AMQP_URL: endpoints.amqpUrl,
    WARREN_MANAGEMENT_URL: endpoints.managementUrl,
    WARREN_PUBLIC_STOMP_URL: endpoints.stompUrl,
    WARREN_PUBLIC_AMQP_URL: endpoints.clientAmqpUrl,
    WARREN_SIGNING_KEY: signingKey,
    WARREN_SERVICE_KEYS: SERVICE_KEY,
    WARREN_USER_JWT_SECRET: USER_SECRET,
    WARREN_PORT: String(port),
    WARREN_DATA_DIR: dir,
    WARREN_RATE_PER_KEY: '0',
    WARREN_RATE_PER_USER: '0',
    WARREN_LOG_LEVEL: 'warn',
  };
});
afterAll(async () => {
  for (const program of [server, ...clients]) program.kill();
  await watch.close();
  await forgetDatabase(inject('broker').endpoints.amqpUrl, dir);
  await rm(dir, { recursive: true, force: true });
});

async function startServer(mailboxType: string): Promise<void> {
  server = new Program(process.execPath, ['server/bin/warren.js', 'server'], {
    ...environment,
    WARREN_MAILBOX_TYPE: mailboxType,
  });
  await until(
    async () => (await ask('GET', '/health/ready'))?.status === 200,
    () => server.output,
  );
}

function startClients(index: number): void {
  const own = users.slice(index * DEVICES_EACH, (index + 1) * DEVICES_EACH);
  const settings = {
    apiUrl,
    log,
    dir: join(dir, `client-${String(index)}`),
    users: own.map((user) => ({ user, token: userToken(user) })),
  };
  clients[index] = new Program(process.execPath, [join(ROOT, 'test/support/chaos-client.mjs')], {
    CHAOS_CLIENT: JSON.stringify(settings),
  });
}

/** Undefined when nobody answers. */
const ask = (method: string, path: string, body?: unknown) =>
  request(`${apiUrl}${path}`, method, SERVICE_KEY, body).catch(() => undefined);

async function mailboxes(of = users): Promise<string[]> {
  const queues: string[] = [];
  for (const user of of) {
    const state = await ask('GET', `/v1/users/${user}`);
    queues.push(state?.body.devices[0]?.queue ?? '');
  }
  return queues;
}

const isEachOnline = async (): Promise<boolean> => {
  const reply = await ask('POST', '/v1/presence', { users });
  return reply?.body.users.every(({ online }) => online) === true;
};

/** @returns what each user is to handle, in order. */
async function sendUntil(isEnough: () => boolean): Promise<Map<string, string[]>> {
  const expected = new Map<string, string[]>(users.map((user) => [user, []]));
  for (let n = 0; !isEnough(); n++) {
    const nextAt = performance.now() + EVERY_MS;
    const first = Math.floor(random() * DEVICES);
    const list = [...users, ...users].slice(first, first + LIST);
    const id = randomUUID();
    const message = { to: { users: list }, type: 'chaos', data: { n }, id };
    while ((await ask('POST', '/v1/messages', message))?.status !== 202) await wait(100);
    for (const user of list) expected.get(user)?.push(id);
    await wait(Math.max(0, nextAt - performance.now()));
  }
  return expected;
}

/** What handlers have ended, by user; half a line of a process that was killed is left out. */
async function handlings(): Promise<Map<string, { pid: number; id: string }[]>> {
  const byUser = new Map<string, { pid: number; id: string }[]>(users.map((user) => [user, []]));
  for (const text of (await readFile(log, 'utf8')).split('\n')) {
    if (!text.endsWith(']')) continue;
    const [pid, what, user, id] = JSON.parse(text) as Line;
    if (what === 'ended') byUser.get(user)?.push({ pid, id });
  }
  return byUser;
}

it(
  `${String(DEVICES)} classic mailboxes become quorum ones under way, while clients and servers are killed`,
  async () => {
    await startServer('classic');
    for (let index = 0; index < PROCESSES; index++) startClients(index);
    await until(isEachOnline, 'everybody online', 120_000);
    const old = await mailboxes();
    server.kill();
    await server.exited;
    await startServer('quorum');

    let isEnough = false;
    const sending = sendUntil(() => isEnough);
    for (let index = 0; index < PROCESSES; index++) {
      await wait(500 + random() * 500);
      clients[index]?.kill();
      await clients[index]?.exited;
      startClients(index);
      if (index % Math.ceil(PROCESSES / SERVER_KILLS) === 1) {
        server.kill();
        await server.exited;
        await startServer('quorum');
      }
    }
    let remaining = users.map((user, index) => ({ user, queue: old[index] }));
    const isReplaced = async (): Promise<boolean> => {
      await wait(1000);
      const now = await mailboxes(remaining.map(({ user }) => user));
      remaining = remaining.filter(({ queue }, index) => ['', queue].includes(now[index]));
      return remaining.length === 0;
    };
    const count = (): string => `${String(remaining.length)} mailboxes are not replaced`;
    await until(isReplaced, count, LIMIT_MS);
    isEnough = true;
    const expected = await sending;
    const total = [...expected.values()].reduce((sum, { length }) => sum + length, 0);
    const missing = async (): Promise<number> => {
      const handled = await handlings();
      return [...expected]
        .map(([user, ids]) => {
          const own = new Set(handled.get(user)?.map(({ id }) => id));
          return ids.filter((id) => !own.has(id)).length;
        })
        .reduce((sum, count) => sum + count, 0);
    };
    await until(
      async () => {
        await wait(250);
        return (await missing()) === 0;
      },
      'all of them',
      120_000,
    ).catch(() => undefined);

    let [doubled, unexcused, disordered] = [0, 0, 0];
    for (const [user, handled] of await handlings()) {
      const ids = handled.map(({ id }) => id);
      const once = [...new Set(ids)];
      doubled += ids.length - once.length;
      const byProcess = new Set(handled.map(({ pid, id }) => `${String(pid)} ${id}`));
      unexcused += ids.length - byProcess.size;
      if (once.join() !== expected.get(user)?.join()) disordered++;
    }
    process.stdout.write(
      `  ${String(DEVICES)} devices, ${String(PROCESSES)} processes of clients and ` +
        `${String(SERVER_KILLS)} servers killed: to be handled ${String(total)}, lost ${String(await missing())}, ` +
        `doubled ${String(doubled)} (by a client that lived: ${String(unexcused)}), ` +
        `users with another order ${String(disordered)}\n`,
    );
    expect([await missing(), unexcused, disordered]).toEqual([0, 0, 0]);
    // At most what each killed process had in its handlers.
    expect(doubled).toBeLessThanOrEqual(DEVICES);
    for (const queue of await mailboxes()) expect(await typeOfQueue(queue)).toBe('quorum');
    await until(async () => {
      for (const queue of old) if (await watch.exists(queue)) return false;
      return true;
    }, 'no old mailbox left');
  },
  (120 + DEVICES / 2) * 1000 + LIMIT_MS,
);
