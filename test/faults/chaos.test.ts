import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { freePorts, type Broker } from '@warren/rabbitmq';
import { createBroker } from '../support/broker.js';
import { Program, ROOT } from '../support/program.js';
import { seeded } from '../support/seeded.js';
import { request, SERVICE_KEY, USER_SECRET, userToken } from '../support/stack.js';
import { until } from '../support/until.js';

// More of it: WARREN_CHAOS_MESSAGES=20000 WARREN_CHAOS_KILLS=30 npx vitest run test/faults/chaos.test.ts
const MESSAGES = Number(process.env['WARREN_CHAOS_MESSAGES'] ?? 4000);
const KILLS = Number(process.env['WARREN_CHAOS_KILLS'] ?? 8);
const SEED = Number(process.env['WARREN_CHAOS_SEED'] ?? 20_261_121);
const USERS = 50;
const GROUPS = 5;
const PROCESSES = 5;
/** What is told the server by who sends: to each user, to groups of ten and to lists of ten. */
const STREAMS = USERS + 2 * GROUPS;

const random = seeded(SEED);
const userOf = (index: number) => `chaos-${String(index)}`;
const USER_NAMES = Array.from({ length: USERS }, (_, index) => userOf(index));
const partOf = (group: number) => USER_NAMES.filter((_, index) => index % GROUPS === group);

interface Data {
  stream: number;
  n: number;
  delivery: 'queued' | 'stored' | 'live';
}
interface Sent extends Data {
  id: string;
  recipients: string[];
}
type Line = [pid: number, what: string, user: string, id: string, data: Data];

let broker: Broker;
let removeBroker: () => Promise<void>;
let dir: string;
let log: string;
let apiUrl: string;
let environment: Record<string, string>;
const programs: { server?: Program; worker?: Program; clients: Program[] } = { clients: [] };

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'warren-chaos-'));
  log = join(dir, 'handled');
  await writeFile(log, '');
  const made = await createBroker();
  ({ broker } = made);
  removeBroker = made.remove;
  await broker.start();
  const [port = 0] = await freePorts(1);
  apiUrl = `http://127.0.0.1:${String(port)}`;
  const databaseUrl = inject('databaseUrl');
  environment = {
    WARREN_AMQP_URL: broker.endpoints.amqpUrl,
    WARREN_MANAGEMENT_URL: broker.endpoints.managementUrl,
    WARREN_PUBLIC_STOMP_URL: broker.endpoints.stompUrl,
    WARREN_PUBLIC_AMQP_URL: broker.endpoints.clientAmqpUrl,
    WARREN_SIGNING_KEY: broker.signingKey.privateKey,
    WARREN_SERVICE_KEYS: SERVICE_KEY,
    WARREN_USER_JWT_SECRET: USER_SECRET,
    WARREN_PORT: String(port),
    WARREN_DATA_DIR: dir,
    WARREN_HISTORY_WORKER: 'off',
    WARREN_RATE_PER_KEY: '0',
    WARREN_RATE_PER_USER: '0',
    WARREN_LOG_LEVEL: 'warn',
    ...(databaseUrl !== undefined && { WARREN_DATABASE_URL: databaseUrl }),
  };
  programs.server = start.server();
  programs.worker = start.worker();
  await until(async () => (await ask('GET', '/health/ready'))?.status === 200);
});
afterAll(async () => {
  for (const program of [programs.server, programs.worker, ...programs.clients]) program?.kill();
  await removeBroker();
  await rm(dir, { recursive: true, force: true });
});

const start = {
  server: () => new Program(process.execPath, ['server/bin/warren.js', 'server'], environment),
  worker: () =>
    new Program(process.execPath, ['server/bin/warren.js', 'worker', 'history'], environment),
  client: (index: number) => {
    const users = USER_NAMES.filter((_, user) => user % PROCESSES === index);
    const settings = {
      apiUrl,
      dir: join(dir, `client-${String(index)}`),
      log,
      users: users.map((user) => ({ user, token: userToken(user) })),
    };
    return new Program(process.execPath, [join(ROOT, 'test/support/chaos-client.mjs')], {
      CHAOS_CLIENT: JSON.stringify(settings),
    });
  },
};

/** Undefined when nobody answers. */
const ask = (method: string, path: string, body?: unknown) =>
  request(`${apiUrl}${path}`, method, SERVICE_KEY, body).catch(() => undefined);

async function lines(): Promise<Line[]> {
  const text = await readFile(log, 'utf8');
  // A process that was killed may have left half a line; nobody else's is in it.
  return text
    .split('\n')
    .filter((line) => line.endsWith(']'))
    .map((line) => JSON.parse(line) as Line);
}

/** What a client that lacks messages has said last, and what the broker holds for it. */
async function storyOf(user: string): Promise<string> {
  const own = (await lines()).filter(([, , of]) => of === user).slice(-20);
  const state = await ask('GET', `/v1/users/${user}`);
  return [...own, state?.body].map((line) => `  ${JSON.stringify(line)}\n`).join('');
}

/** Sends the messages of one stream one after the other, each until it is accepted. */
async function send(stream: number, count: number, sent: Sent[], tally: Tally): Promise<void> {
  const part = (stream - USERS) % GROUPS;
  const [to, recipients] =
    stream < USERS
      ? [{ user: userOf(stream) }, [userOf(stream)]]
      : stream < USERS + GROUPS
        ? [{ group: `group-${String(part)}` }, partOf(part)]
        : [{ users: partOf(part) }, partOf(part)];
  for (let n = 0; n < count; n++) {
    const draw = random();
    const delivery = draw < 0.1 ? 'live' : draw < 0.4 ? 'queued' : 'stored';
    const data: Data = { stream, n, delivery };
    const id = randomUUID();
    for (;;) {
      tally.attempts++;
      const reply = await ask('POST', '/v1/messages', { to, type: 'chaos', data, delivery, id });
      if (reply?.status === 202) break;
      tally.refused++;
      await wait(50 + random() * 200);
    }
    sent.push({ ...data, id, recipients });
  }
}

interface Tally {
  attempts: number;
  refused: number;
}

const TARGETS = ['broker', 'server', 'worker', 'client'] as const;

async function kill(round: number): Promise<void> {
  switch (TARGETS[round % TARGETS.length]!) {
    case 'broker':
      await broker.kill();
      await broker.start();
      return;
    case 'server':
      programs.server?.kill();
      await programs.server?.exited;
      programs.server = start.server();
      return;
    case 'worker':
      programs.worker?.kill();
      await programs.worker?.exited;
      programs.worker = start.worker();
      return;
    case 'client': {
      const index = Math.floor(random() * PROCESSES);
      programs.clients[index]?.kill();
      await programs.clients[index]?.exited;
      programs.clients[index] = start.client(index);
    }
  }
}

async function historyOf(user: string): Promise<string[]> {
  const ids: string[] = [];
  for (let next: string | undefined; ;) {
    const cursor = next === undefined ? '' : `&after=${next}`;
    const reply = await ask('GET', `/v1/history?user=${user}&order=asc&limit=200${cursor}`);
    if (reply === undefined) continue;
    ids.push(...reply.body.items.map(({ id }) => id));
    ({ next } = reply.body as { next?: string });
    if (next === undefined) return ids;
  }
}

it(
  `${String(MESSAGES)} messages to ${String(USERS)} users survive ${String(KILLS)} kills`,
  async () => {
    programs.clients = Array.from({ length: PROCESSES }, (_, index) => start.client(index));
    for (let group = 0; group < GROUPS; group++) {
      const path = `/v1/groups/group-${String(group)}/members`;
      expect((await ask('POST', path, { add: partOf(group) }))?.status).toBe(200);
    }
    await until(async () => {
      const reply = await ask('POST', '/v1/presence', { users: USER_NAMES });
      return reply?.body.users.every(({ online }) => online) === true;
    });

    const sent: Sent[] = [];
    const tally: Tally = { attempts: 0, refused: 0 };
    const each = Math.ceil(MESSAGES / STREAMS);
    const streams = Array.from({ length: STREAMS }, (_, stream) => send(stream, each, sent, tally));
    const sending = Promise.all(streams);
    let isSent = false;
    void sending.then(() => (isSent = true));
    for (let round = 0; round < KILLS; round++) {
      await wait(200 + random() * 1500);
      await kill(round);
    }
    await sending;
    const lasting = sent.filter(({ delivery }) => delivery !== 'live');
    const stored = sent.filter(({ delivery }) => delivery === 'stored');

    const ended = async () => (await lines()).filter(([, what]) => what === 'ended');
    const expected = new Set(
      lasting.flatMap(({ id, recipients }) => recipients.map((user) => `${user} ${id}`)),
    );
    const missing = async () => {
      const handled = new Set((await ended()).map(([, , user, id]) => `${user} ${id}`));
      return [...expected].filter((key) => !handled.has(key));
    };
    await until(
      async () => {
        // To look takes a while, and the clients share two cores with this.
        await wait(250);
        return (await missing()).length === 0;
      },
      'all of them',
      120_000,
    ).catch(() => undefined);
    const lost = await missing();
    if (lost.length > 0) process.stdout.write(await storyOf(lost[0]!.split(' ')[0]!));

    // Once by each recipient, unless its process was killed between.
    const handlings = new Map<string, Line[]>();
    for (const line of await ended()) {
      const key = `${line[2]} ${line[3]}`;
      handlings.set(key, [...(handlings.get(key) ?? []), line]);
    }
    const doubled = [...handlings.values()].filter(({ length }) => length > 1);
    const unexcused = doubled.filter((several) => new Set(several.map(([pid]) => pid)).size === 1);

    // In the order of each stream; what was handled twice counts the first time.
    const last = new Map<string, number>();
    let disordered = 0;
    const seen = new Set<string>();
    for (const [, , user, id, { stream, n, delivery }] of await ended()) {
      if (delivery === 'live' || seen.has(`${user} ${id}`)) continue;
      seen.add(`${user} ${id}`);
      const key = `${user} ${String(stream)}`;
      if ((last.get(key) ?? -1) > n) disordered++;
      last.set(key, Math.max(n, last.get(key) ?? -1));
    }

    // The history has what was accepted, each once, in the order of each stream.
    let unwritten = 0;
    let rewritten = 0;
    let misplaced = 0;
    const known = new Map(sent.map((message) => [message.id, message]));
    for (const user of USER_NAMES) {
      const wanted = stored.filter(({ recipients }) => recipients.includes(user));
      await until(async () => (await historyOf(user)).length >= wanted.length).catch(
        () => undefined,
      );
      const ids = await historyOf(user);
      unwritten += wanted.filter(({ id }) => !ids.includes(id)).length;
      rewritten += ids.length - new Set(ids).size;
      const places = new Map<number, number>();
      for (const id of ids) {
        const { stream, n } = known.get(id)!;
        if ((places.get(stream) ?? -1) > n) misplaced++;
        places.set(stream, n);
      }
    }
    const gaps = (await lines()).filter(([, what]) => what === 'gap').length;
    const recovered = (await ended()).filter((line) => (line as unknown[])[6] === true).length;
    process.stdout.write(
      `  seed ${String(SEED)}, kills ${String(KILLS)}: sent ${String(sent.length)} ` +
        `(attempts ${String(tally.attempts)}, refused ${String(tally.refused)}), ` +
        `to be handled ${String(expected.size)}, handled ${String(handlings.size)} with live ones, ` +
        `doubled ${String(doubled.length)} (by a client that lived: ${String(unexcused.length)}), ` +
        `lost ${String(lost.length)}, out of order ${String(disordered)}; ` +
        `recovered ${String(recovered)}, gaps ${String(gaps)}; history: ` +
        `stored ${String(stored.length)}, lost ${String(unwritten)}, ` +
        `doubled ${String(rewritten)}, out of order ${String(misplaced)}\n`,
    );
    expect(isSent).toBe(true);
    expect(lost).toEqual([]);
    expect(unexcused).toEqual([]);
    // At most those that each killed process had in its handlers.
    expect(doubled.length).toBeLessThanOrEqual((KILLS / TARGETS.length) * USERS);
    expect([disordered, unwritten, rewritten, misplaced]).toEqual([0, 0, 0, 0]);
  },
  (120 + KILLS * 20 + MESSAGES / 50) * 1000,
);
