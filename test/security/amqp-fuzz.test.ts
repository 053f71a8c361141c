import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeId, groupKeys } from '@warren/protocol';
import { isAtLeast, SURVIVES_HEADERS, type Broker } from '@warren/rabbitmq';
import { ManagementApi } from '../../server/dist/broker/management.js';
import {
  array,
  EACH_TYPE,
  int64,
  nested,
  table,
  text,
  type Entries,
} from '../support/amqp-fields.js';
import { createBroker } from '../support/broker.js';
import { nestedJson } from '../support/nested-json.js';
import { RawAmqp, type RawProperties } from '../support/raw-amqp.js';
import { startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';
import { QueueWatch } from '../support/queue-watch.js';

/*
 * Whatever an account that publishes directly can put into the queues that servers and clients consume. How much of it
 * is in WARREN_FUZZ_RUNS; a failure is repeated with its WARREN_TEST_SEED.
 */

const seed = Number(process.env['WARREN_TEST_SEED'] ?? 20_260_401);
const RUNS = Number(process.env['WARREN_FUZZ_RUNS'] ?? 2000);
const AT_ONCE = 8;

let broker: Broker;
let remove: () => Promise<void>;
let stack: Stack;
let management: ManagementApi;
let isSafe: boolean;
const [byAmqp, byStomp, offline] = [uniqueUser(), uniqueUser(), uniqueUser()];
const group = `g-${offline}`;
const handled: Record<string, unknown[]> = {};

beforeAll(async () => {
  ({ broker, remove } = await createBroker());
  await broker.start();
  const { endpoints } = broker;
  stack = await startStack({ endpoints, signingKey: broker.signingKey.privateKey });
  management = new ManagementApi(endpoints.managementUrl, 'warren');
  isSafe = isAtLeast(await management.version(), SURVIVES_HEADERS);
  for (const user of [byAmqp, byStomp, offline]) {
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
  }
  await stack.api('PUT', `/v1/users/${offline}`, { devices: ['phone'] });
  for (const [user, transport] of [
    [byAmqp, TRANSPORTS.amqp()],
    [byStomp, TRANSPORTS.stomp()],
  ] as const) {
    const client = stack.client(user, transport, { handlerAttempts: 1 });
    // As an application's handlers do with what they did not expect.
    client.on('error', () => undefined);
    client.handle('odd', () => {
      throw new TypeError('odd');
    });
    const got: unknown[] = (handled[user] = []);
    client.handle('good', (message) => {
      got.push(message.data);
    });
    client.handle('*', () => undefined);
    client.start();
    await client.ready();
  }
});
afterAll(async () => {
  await stack.close();
  await remove();
});

const ODD_TEXTS = [
  '',
  '0',
  '1',
  '-1',
  '1e308',
  'NaN',
  '9999999999999999',
  '../..',
  '%00',
  '{"user":"x"}',
  'a b',
  '\n',
];
const word = fc
  .oneof(
    fc.constantFrom(...ODD_TEXTS),
    fc.string({ unit: 'grapheme', maxLength: 60 }),
    fc.string({ unit: 'binary', maxLength: 60 }),
  )
  // As long as AMQP has a short string.
  .filter((value) => Buffer.byteLength(value) < 256);
const { field } = fc.letrec<{ field: Buffer }>((tie) => ({
  field: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(...Object.values(EACH_TYPE)),
    word.map(text),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(int64),
    fc.array(tie('field'), { maxLength: 4 }).map((values) => array(...values)),
    fc.array(fc.tuple(word, tie('field')), { maxLength: 4 }).map((entries) => table(entries)),
  ),
}));
const OWN = [
  'due',
  'attempt',
  'reason',
  'account',
  'deaths',
  'track',
  'to',
  'at',
  'from',
  'ttl',
  'user',
  'collapse',
  'resent',
];
const NAMES = [
  ...OWN.map((name) => `x-warren-${name}`),
  ...['x-death', 'x-first-death-queue', 'x-delay', 'x-priority'],
  ...[
    'content-length',
    'content-type',
    'subscription',
    'message-id',
    'ack',
    'destination',
    'receipt',
  ],
];
const KEYS = [
  'user.x',
  'history',
  'push',
  'broadcast',
  'warren.webhook',
  'warren.history',
  `user.${offline}`,
];
const entry: fc.Arbitrary<[string, Buffer]> = fc.oneof(
  fc.tuple(fc.constantFrom(...NAMES), field),
  fc.tuple(
    fc.constantFrom('CC', 'BCC'),
    fc.subarray(KEYS).map((keys) => array(...keys.map(text))),
  ),
  fc.tuple(fc.constantFrom(...NAMES), word.map(text)),
  fc.tuple(word, field),
);
const headers = fc.oneof(
  { weight: 200, arbitrary: fc.array(entry, { maxLength: 6 }) },
  { weight: 1, arbitrary: fc.constant<Entries>([['x-nested', nested(5000)]]) },
  { weight: 1, arbitrary: fc.constant<Entries>([['x-large', text('x'.repeat(100_000))]]) },
);
const properties: fc.Arbitrary<RawProperties> = fc.record(
  {
    headers,
    contentType: fc.oneof(
      fc.constantFrom('text/plain', 'application/vnd.warren.listed+json', 'text/plain; charset=x'),
      word,
    ),
    messageId: word,
    type: fc.oneof(
      fc.constantFrom('odd', 'note', 'warren.watch', 'warren.read', 'warren.missed'),
      word,
    ),
    expiration: fc.constantFrom('0', '1', '50', '60000'),
    priority: fc.nat(255),
    deliveryMode: fc.constantFrom(1, 2),
    timestamp: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  },
  { requiredKeys: [] },
);
const data = fc.json({ maxDepth: 4 });
const body = fc.oneof(
  { weight: 20, arbitrary: data },
  { weight: 20, arbitrary: fc.string({ unit: 'binary', maxLength: 300 }) },
  {
    weight: 40,
    arbitrary: fc
      .record(
        {
          to: fc.oneof(
            fc.constantFrom(
              { user: offline },
              { user: byAmqp },
              { group },
              { users: [byStomp, 'nobody'] },
            ),
            fc.anything({ maxDepth: 2 }),
          ),
          type: fc.oneof(fc.constantFrom('odd', 'note'), word),
          data: fc.jsonValue({ maxDepth: 3 }),
          id: word,
          delivery: fc.constantFrom('live', 'stored', 'queued'),
          ttlMs: fc.oneof(fc.integer(), fc.double()),
          track: fc.boolean(),
          push: fc.anything({ maxDepth: 1 }),
        },
        { requiredKeys: ['to', 'type'] },
      )
      .map((value) => JSON.stringify(value)),
  },
  {
    weight: 10,
    arbitrary: fc
      .constantFrom('erase-user', 'erase-timeline', 'mark')
      .map((kind) =>
        JSON.stringify({ kind, userId: offline, timeline: offline, mark: '1', id: 'x' }),
      ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      nestedJson(20_000),
      `{"to":{"user":"${offline}"},"type":"x","data":${nestedJson(20_000)}}`,
    ),
  },
);

/** Exchanges and keys that an account may publish to. */
async function destinations(): Promise<[exchange: string, key: string][]> {
  const queues = await Promise.all(
    [byAmqp, byStomp, offline].map(async (user) => (await stack.user(user)).devices[0]!.queue),
  );
  const { mail, live } = groupKeys(group);
  const keys = [
    ...queues,
    ...queues.map((queue) => queue.replace(/^user/, 'live')),
    ...[byAmqp, byStomp, offline].map((user) => `user.${encodeId(user)}`),
    ...['history', 'push', 'broadcast', 'broadcast.live', mail, live, 'warren.dead', 'list'],
  ];
  const direct = keys.map((key): [string, string] => ['warren.direct', key]);
  return [...direct, ...direct.map((): [string, string] => ['warren.send', ''])];
}

describe('the queues of servers and clients, fed with anything', () => {
  it(`are empty again, and who consumes them goes on`, { timeout: 3_600_000 }, async () => {
    const to = await destinations();
    const message = fc.record({ to: fc.constantFrom(...to), properties, body });
    const messages = fc.sample(message, { seed, numRuns: RUNS })[Symbol.iterator]();
    const taken = { ack: 0, nack: 0, refused: 0 };
    const work = async (): Promise<void> => {
      let raw = await RawAmqp.open(broker.endpoints.backendAmqpUrl);
      for (let next = messages.next(); next.done !== true; next = messages.next()) {
        const {
          to: [exchange, key],
          properties: given,
          body: content,
        } = next.value;
        // What older brokers do with it, headers.test.ts shows.
        const isDeadly = !isSafe && exchange === 'warren.direct';
        const kept = given.headers?.filter(([name]) => !(isDeadly && name === 'x-death'));
        const whole = { ...given, ...(kept !== undefined && { headers: kept }) };
        // Some of it ends the connection.
        const verdict = await raw
          .publish(exchange, key, content, whole)
          .catch(() => 'disconnected');
        taken[verdict === 'ack' || verdict === 'nack' ? verdict : 'refused']++;
        if (!raw.isClosed && verdict !== 'disconnected') continue;
        raw.close();
        raw = await RawAmqp.open(broker.endpoints.backendAmqpUrl);
      }
      raw.close();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    process.stdout.write(`  ${JSON.stringify(taken)}\n`);
    expect(taken.ack).toBeGreaterThan(RUNS / 2);
    await expectWell();
  });
});

async function expectWell(): Promise<void> {
  const watch = await QueueWatch.open(broker.endpoints.amqpUrl);
  try {
    for (const queue of ['warren.send', 'warren.history', 'warren.push', 'warren.dead']) {
      await until(async () => (await watch.waiting(queue)) === 0, `${queue} empty`, 120_000);
    }
  } finally {
    await watch.close();
  }
  for (const [index, user] of [byAmqp, byStomp].entries()) {
    const sent = await stack.send({ user }, `last ${String(index)}`, { type: 'good' });
    expect([user, sent.status]).toEqual([user, 202]);
    await until(
      () => handled[user]!.includes(`last ${String(index)}`),
      `a message to ${user}`,
      120_000,
    );
  }
  const raw = await RawAmqp.open(broker.endpoints.backendAmqpUrl);
  const good = { to: { user: byStomp }, type: 'good', data: 'by warren.send' };
  expect(await raw.publish('warren.send', '', JSON.stringify(good), {})).toBe('ack');
  raw.close();
  await until(() => handled[byStomp]!.includes('by warren.send'));
  const stored = await stack.send({ user: offline }, 'stored', { delivery: 'stored' });
  await until(async () => {
    const { items } = (await stack.api('GET', `/v1/history?user=${offline}`)).body;
    return items.some(({ id }) => id === stored.body.id);
  });
  const user = uniqueUser();
  await stack.api('PUT', `/v1/users/${user}`);
  const tracked = await stack.send({ user }, 1, { track: true, ttlMs: 1 });
  await until(async () => {
    const { counts } = (await stack.api('GET', `/v1/messages/${tracked.body.id}`)).body;
    return counts.expired === 1;
  });
  const ready = await stack.api('GET', '/health/ready');
  expect([ready.status, ready.body]).toEqual([
    200,
    expect.not.objectContaining({ deadMailboxes: expect.anything() as number }),
  ]);
}
