import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { FAN_OUT_TIMEOUT_MS, TIMEOUT_MS, turn, World } from '../support/publisher-world.js';

/** Set to repeat a failure; printed by fast-check with it. */
const seed = Number(process.env['WARREN_TEST_SEED'] ?? 20_260_401);

/** What happens; `pick` chooses among what there is then. */
const pick = fc.nat(20);
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('send'), to: fc.nat(1), id: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('live'), to: fc.nat(1), id: fc.nat(1) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('list'), to: fc.nat(1), id: fc.nat(1) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('route', 'return'), pick }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('ack'), pick, multiple: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('nack'), pick, multiple: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('refuse', 'break', 'cut'), pick }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('block', 'unblock', 'away'), pick }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('wait'), ms: fc.constantFrom(50, 100, 400) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('turn', 'settle') }) },
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

const setup = fc.record({
  maxInFlight: fc.constantFrom(1, 2, 1000),
  maxWaiting: fc.constantFrom(1, 3, 1000),
  /** Where in its range the library's delay before it connects again lies. */
  backoff: fc.double({ min: 0, max: 0.99, noNaN: true }),
});

async function act(world: World, event: Step): Promise<void> {
  switch (event.kind) {
    case 'send':
    case 'live':
    case 'list':
      world.send({ ...event, kind: event.kind });
      return;
    case 'route':
      world.decide('routed', event.pick);
      return;
    case 'return':
      world.decide('returned', event.pick);
      return;
    case 'ack':
    case 'nack':
      world.confirm(event.kind, event.pick, event.multiple);
      return;
    case 'refuse':
    case 'break':
      world.closeChannel(event.kind === 'refuse', event.pick);
      return;
    case 'cut':
    case 'block':
    case 'unblock':
      world.link(event.pick)?.[event.kind]();
      return;
    case 'away':
      world.amqp.isReachable = event.pick % 2 === 0;
      return;
    case 'wait':
      await world.wait(event.ms);
      return;
    case 'turn':
      return turn();
    case 'settle':
      return world.settle();
  }
}

/** The broker is well again, and says the rest of what it has to say to whom nobody listens to any more. */
async function recover(world: World): Promise<void> {
  world.amqp.isReachable = true;
  for (const link of world.amqp.open) link.unblock();
  await world.wait(2 * (FAN_OUT_TIMEOUT_MS + TIMEOUT_MS));
  for (const { number, outcome } of world.attempts) {
    if (outcome === undefined) world.faults.push(`${String(number)} has not ended`);
  }
  const late = world.late;
  const again = late && world.send(late.sent);
  await world.settle();
  await world.answerAll('returned', again);
  if (again !== undefined && again.outcome !== 'queued') {
    world.faults.push(`again "${String(again.outcome)}", not "queued"`);
  }
  await world.wait(4000);
}

/** What is sent when all is well, ends as it should, whatever was sent under the same id before. */
async function probe(world: World): Promise<void> {
  // The connection for many is made when it is first needed.
  world.send({ kind: 'list', to: 0, id: 0 });
  await world.wait(100);
  await world.answerAll('routed');
  for (const kind of ['send', 'list'] as const) {
    for (const to of [0, 1]) {
      for (const id of [0, 1]) {
        for (const routing of ['routed', 'returned'] as const) {
          const attempt = world.send({ kind, to, id });
          await world.settle();
          await world.answerAll(routing);
          const expected = routing === 'routed' ? 'queued' : 'unprovisioned';
          if (attempt.outcome !== expected) {
            world.faults.push(`afterwards "${String(attempt.outcome)}", not "${expected}"`);
          }
        }
      }
    }
  }
}

/** Nothing is left of it. */
async function close(world: World): Promise<void> {
  const closed = world.publisher.close(100);
  await world.wait(3000);
  await closed;
  if (world.publisher.pending > 0) world.faults.push('something is pending');
  if (world.amqp.open.length > 0) world.faults.push('a connection is open');
  if (vi.getTimerCount() > 0) world.faults.push('a timer is running');
}

const unhandled: unknown[] = [];
const noteUnhandled = (reason: unknown): void => {
  unhandled.push(reason);
};

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'],
  });
  process.on('unhandledRejection', noteUnhandled);
});
afterEach(() => {
  process.off('unhandledRejection', noteUnhandled);
  vi.restoreAllMocks();
  vi.useRealTimers();
});

it('tells of every message what the broker has done with it, or that it cannot be known', async () => {
  await fc.assert(
    fc.asyncProperty(setup, fc.array(step, { maxLength: 60 }), async (limits, events) => {
      const world = new World(limits);
      await world.settle();
      for (const event of events) await act(world, event);
      await recover(world);
      await probe(world);
      await close(world);
      expect([...world.faults, ...unhandled.splice(0)]).toEqual([]);
    }),
    { seed, numRuns: 1500 },
  );
});

it('refuses what would take the channel down with all that is under way', async () => {
  const world = new World({ maxInFlight: 1000, maxWaiting: 1000, backoff: 0 });
  await world.wait(100);
  const attempt = world.send({ kind: 'send', to: 0, id: 0 });
  await world.settle();
  const refused = [
    { ttlMs: 2 ** 32 },
    { ttlMs: 1e21 },
    { ttlMs: 0.5 },
    { correlationId: 'ü'.repeat(128) },
    { from: '\ud800' },
    { from: '' },
    { id: 'x'.repeat(129) },
    { collapseKey: '\0' },
  ];
  for (const options of refused) {
    const sent = world.publisher.toUser('bob', 'note', 0, options);
    await expect(sent, JSON.stringify(options)).rejects.toThrow(RangeError);
  }
  await world.answerAll('routed');
  expect(attempt.outcome).toBe('queued');
  await close(world);
  expect(world.faults).toEqual([]);
});

it('ends what is under way when it is closed at any moment', async () => {
  await fc.assert(
    fc.asyncProperty(setup, fc.array(step, { maxLength: 30 }), async (limits, events) => {
      const world = new World(limits);
      await world.settle();
      for (const event of events) await act(world, event);
      await close(world);
      const late = world.send({ kind: 'send', to: 0, id: 0 });
      await world.settle();
      if (late.outcome !== 'publisher_closed') world.faults.push(`late: ${String(late.outcome)}`);
      for (const { number, outcome } of world.attempts) {
        if (outcome === undefined) world.faults.push(`${String(number)} has not ended`);
      }
      expect([...world.faults, ...unhandled.splice(0)]).toEqual([]);
    }),
    { seed, numRuns: 1500 },
  );
});
