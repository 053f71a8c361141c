import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { DeadLetterLog, reasonOf } from '../support/dead-letter-log.js';
import { fcmError } from '../support/fcm-service.js';
import { freePorts } from '@warren/rabbitmq';
import type { Behaviour } from '../support/http-service.js';
import { Program } from '../support/program.js';
import { PushBed, VAPID_KEY } from '../support/push-bed.js';
import { seeded } from '../support/seeded.js';
import { uniqueUser } from '../support/stack.js';
import { until } from '../support/until.js';

const KILLS = Number(process.env['WARREN_PUSH_KILLS'] ?? 20);
/** Of each provider; of five, one has a token that is dead. */
const USERS = 30;
const WORKERS = 2;
const workers: Program[] = [];
const SEED = 20261121;

let bed: PushBed;
let dead: DeadLetterLog;

beforeAll(async () => {
  bed = await PushBed.start({ hasWorker: false });
  dead = await DeadLetterLog.open();
});
afterAll(async () => {
  for (const worker of workers) worker.kill();
  await dead.close();
  await bed.close();
});

/** By `message user`. */
function reasonsOf({ letters }: DeadLetterLog): Map<string, unknown> {
  const reasons = new Map<string, unknown>();
  for (const letter of letters) {
    const { id, to } = JSON.parse(letter.content.toString('utf8')) as {
      id: string;
      to: { user: string }[];
    };
    for (const { user } of to) reasons.set(`${id} ${user}`, reasonOf(letter));
  }
  return reasons;
}

/** `warren worker push`, configured as an operator does it. */
async function startWorker(more: Record<string, string> = {}): Promise<Program> {
  const databaseUrl = inject('databaseUrl');
  const worker = new Program(process.execPath, ['server/bin/warren.js', 'worker', 'push'], {
    WARREN_AMQP_URL: inject('broker').endpoints.amqpUrl,
    WARREN_DATA_DIR: bed.stack.dataDir,
    ...(databaseUrl !== undefined && { WARREN_DATABASE_URL: databaseUrl }),
    WARREN_VAPID_PRIVATE_KEY: VAPID_KEY,
    WARREN_VAPID_SUBJECT: 'mailto:ops@app.example',
    WARREN_WEBPUSH_HOSTS: bed.browsers.host,
    WARREN_FCM_SERVICE_ACCOUNT: JSON.stringify(bed.fcm.account),
    WARREN_FCM_URL: bed.fcm.url,
    WARREN_PUSH_WEBHOOK_URL: bed.proxy.url,
    WARREN_WEBHOOK_SECRET: bed.proxy.secret,
    ...more,
  });
  await until(
    () => worker.output.includes('sends pushes'),
    () => worker.output,
  );
  return worker;
}

const random = seeded(SEED);
const misdeeds: Record<string, number> = {};
const failures = new Map<string, number>();

/** Nobody fails the same push more than twice: each time it waits longer. */
function misbehave(push: string, ways: Record<string, Behaviour>): Behaviour | undefined {
  const before = failures.get(push) ?? 0;
  if (before >= 2 || random() > 0.4) return undefined;
  const [way, behaviour] = Object.entries(ways)[Math.floor(random() * Object.keys(ways).length)]!;
  failures.set(push, before + 1);
  misdeeds[way] = (misdeeds[way] ?? 0) + 1;
  return behaviour;
}

const WAYS: Record<string, Behaviour> = {
  'no answer': 'hang',
  'cut off': 'reset',
  'no HTTP': 'noise',
  '429': { status: 429, headers: { 'retry-after': '1' } },
  '500': { status: 500, text: '<h1>Oops</h1>' },
};
/** Of those that have something to say when all is well. */
const MORE_WAYS = { ...WAYS, garbage: { status: 200, text: '<h1>Welcome to the airport</h1>' } };

function misbehaveAll(): void {
  bed.browsers.behave = (name, topic) =>
    name.startsWith('dead') ? { status: 410 } : misbehave(`${name} ${topic}`, WAYS);
  bed.fcm.behave = (token, { data }) =>
    token.startsWith('dead')
      ? fcmError(404, 'NOT_FOUND', 'UNREGISTERED')
      : misbehave(`${token} ${data?.['warrenId'] ?? ''}`, MORE_WAYS);
  bed.proxy.behave = (pushes) => {
    const [first] = pushes;
    const behaviour = misbehave(first!.key, MORE_WAYS);
    if (behaviour !== undefined) return behaviour;
    const dead = pushes.filter(({ token }) => token.startsWith('dead'));
    const results = dead.map(({ key }) => ({ key, status: 'unregistered' }));
    return dead.length === 0 ? undefined : { status: 200, body: { results } };
  };
}

/** What a user's device has got of a message, under how many keys; and how often. */
function takenBy(user: string, id: string): { keys: number; times: number } {
  const web = bed.browsers.received.filter(
    ({ name, payload }) => name === user && payload.id === id,
  );
  const fcm = bed.fcm.received.filter(
    ({ token, data }) => token === user && data?.['warrenId'] === id,
  );
  const proxied = bed.pushesOf(id).filter((push) => push.user === user);
  const keys = new Set([
    ...web.map(({ topic }) => topic),
    ...fcm.map(({ android }) => android?.notification?.tag),
    ...proxied.map(({ key }) => key),
  ]);
  return { keys: keys.size, times: web.length + fcm.length + proxied.length };
}

async function register(index: number): Promise<{ user: string; isDead: boolean }> {
  const user = uniqueUser();
  const isDead = index % 5 === 0;
  const token = isDead ? `dead-${user}` : user;
  const ways = [
    { provider: 'webpush', subscription: bed.browsers.subscribe(token) },
    { provider: 'fcm', token },
    { provider: 'webhook', token },
  ];
  await bed.register(user, 'phone', ways[index % 3]);
  return { user, isDead };
}

describe('providers that fail in each way, while workers are killed', () => {
  it(
    'get every push, under one key; or it is a dead letter with its reason',
    { timeout: 400_000 },
    async () => {
      const people = await Promise.all(
        Array.from({ length: 3 * USERS }, (_, index) => register(index)),
      );
      misbehaveAll();
      workers.push(...(await Promise.all(Array.from({ length: WORKERS }, () => startWorker()))));
      const ids: string[] = [];
      const users = people.map(({ user }) => user);
      for (let kill = 0; kill < KILLS; kill++) {
        ids.push(await bed.push({ users }, { afterMs: kill % 2 === 0 ? 0 : 400 }));
        // In the middle of it.
        const before = bed.browsers.received.length + bed.fcm.received.length;
        const target = before + 3 + Math.floor(random() * 20);
        await until(
          () => bed.browsers.received.length + bed.fcm.received.length >= target,
          'pushes',
        );
        const victim = kill % WORKERS;
        workers[victim]!.kill();
        workers[victim] = await startWorker();
        if (kill === KILLS / 2) {
          const comeBack = await bed.proxy.goAway();
          misdeeds['nobody there'] = 1;
          const others = bed.fcm.received.length;
          ids.push(await bed.push({ users }, { afterMs: 0 }));
          await until(() => bed.fcm.received.length > others + 5, 'others to get theirs');
          await comeBack();
        }
      }
      const isOpen = async (id: string) => ((await bed.stateOf(id)).counts.queued ?? 0) > 0;
      for (const id of ids)
        await until(
          () => isOpen(id).then((open) => !open),
          async () => JSON.stringify((await bed.stateOf(id)).counts),
          180_000,
        );
      const reasons = reasonsOf(dead);
      let times = 0;
      for (const id of ids) {
        const { recipients } = await bed.stateOf(id);
        for (const { user, isDead } of people) {
          const { outcome, reason } = recipients.find((recipient) => recipient.user === user)!;
          const taken = takenBy(user, id);
          times += taken.times;
          if (outcome === 'pushed') expect([isDead, taken.keys]).toEqual([false, 1]);
          else if (outcome === 'push_failed') {
            expect([isDead, reason, reasons.get(`${id} ${user}`)]).toEqual([
              true,
              'unregistered',
              'unregistered',
            ]);
          } else expect([isDead, outcome, reason]).toEqual([true, 'no_push_device', 'no_device']);
        }
      }
      const alive = people.filter(({ isDead }) => !isDead).length * ids.length;
      process.stdout.write(
        `  ${String(alive)} pushes, taken ${String(times)} times; ${String(KILLS)} kills; ${JSON.stringify(misdeeds)}\n`,
      );
      for (const worker of workers) worker.interrupt();
      await Promise.all(workers.map((worker) => worker.exited));
    },
  );
});

describe('a worker', () => {
  it('tells of what it does where it is asked to', async () => {
    bed.beKind();
    const [port = 0] = await freePorts(1);
    const worker = await startWorker({ WARREN_METRICS_PORT: String(port) });
    workers.push(worker);
    const user = uniqueUser();
    await bed.register(user);
    await bed.expectOutcome(await bed.push({ user }, { afterMs: 0 }), user, 'pushed');
    const ask = async (path: string) => fetch(`http://127.0.0.1:${String(port)}${path}`);
    expect((await ask('/health/live')).status).toBe(200);
    expect((await ask('/anything')).status).toBe(404);
    const metrics = await (await ask('/metrics')).text();
    expect(metrics).toMatch(/warren_pushes_total{provider="webhook",result="sent"} 1/);
    expect(metrics).toContain('process_cpu_seconds_total');
    worker.interrupt();
    expect(await worker.exited).toBe(0);
  });
});
