import { createBarePublisher, type Publish } from './bare-publisher.js';
import { createConsumers, type ConsumerName } from './consumers.js';
import type { Bench } from './setup.js';
import { median, medianRatio, printTable } from './statistics.js';
import { fileSystemOf, usageOf } from './system.js';

const ROUNDS = Number(process.env['WARREN_BENCH_ROUNDS'] ?? 7);
const MINUTES = Number(process.env['WARREN_BENCH_MINUTES'] ?? 0);
const USERS = Number(process.env['WARREN_BENCH_USERS'] ?? 200);
const MESSAGES = 10_000;
/** So many messages are under way at once, from the publish to the handler. */
const WINDOW = 400;
const DATA = { text: 'x'.repeat(130) };

interface Contender {
  publish: Publish;
  /** Set for each round: called with each message that was handled. */
  onHandled: () => void;
  close: () => Promise<void>;
  perSecond: number[];
  /** Of the broker, for a message. */
  microseconds: number[];
}

/**
 * Messages that are taken as they come, each for another user, and acked one by one: from the publish helper to the
 * SDK's handler, and from a bare publisher to bare clients with as many connections. Longer, for a look at whether a
 * broker gets slower with time: WARREN_BENCH_ROUNDS, and WARREN_BENCH_MINUTES at least.
 */
export async function compareTrickles(bench: Bench): Promise<void> {
  const bare = await createBarePublisher(bench);
  const contenders = {} as Record<ConsumerName, Contender>;
  for (const name of Object.keys(createConsumers(bench)) as ConsumerName[]) {
    const publish: Publish = name.startsWith('Warren')
      ? (user, data) => bench.publisher.toUser(user, 'bench', data)
      : bare.publish;
    contenders[name] = await connectAll(bench, name, publish);
  }
  const endsAt = performance.now() + MINUTES * 60_000;
  for (let round = -1; round < ROUNDS || performance.now() < endsAt; round++) {
    for (const [name, contender] of Object.entries(contenders)) {
      await run(bench, usersOf(name), contender, round >= 0);
    }
  }
  print(bench, contenders);
  for (const { close } of Object.values(contenders)) await close();
  await bare.close();
}

const usersOf = (name: string): string[] =>
  Array.from(
    { length: USERS },
    (_, at) => `bench-trickle-${name.replaceAll(/\W/g, '')}-${String(at)}`,
  );

async function connectAll(bench: Bench, name: ConsumerName, publish: Publish): Promise<Contender> {
  const closers: (() => Promise<void>)[] = [];
  const contender: Contender = {
    publish,
    onHandled: () => undefined,
    close: async () => {
      await Promise.all(closers.map((close) => close()));
    },
    perSecond: [],
    microseconds: [],
  };
  const consumer = createConsumers(bench)[name];
  for (const user of usersOf(name)) {
    closers.push(
      await consumer.consume(user, () => {
        contender.onHandled();
      }),
    );
  }
  return contender;
}

async function run(
  bench: Bench,
  users: string[],
  contender: Contender,
  isCounted: boolean,
): Promise<void> {
  const before = usageOf(bench.broker).cpuSeconds;
  const startedAt = performance.now();
  await new Promise<void>((resolve, reject) => {
    let sent = 0;
    let handled = 0;
    const send = (): void => {
      if (sent === MESSAGES) return;
      contender.publish(users[sent++ % USERS] ?? '', DATA).catch(reject);
    };
    contender.onHandled = () => {
      send();
      if (++handled === MESSAGES) resolve();
    };
    for (let index = 0; index < WINDOW; index++) send();
  });
  if (!isCounted) return;
  contender.perSecond.push(MESSAGES / ((performance.now() - startedAt) / 1000));
  contender.microseconds.push(((usageOf(bench.broker).cpuSeconds - before) * 1e6) / MESSAGES);
}

function print(bench: Bench, contenders: Record<ConsumerName, Contender>): void {
  const row = (name: ConsumerName, beside?: ConsumerName) => {
    const { perSecond, microseconds } = contenders[name];
    const part = Math.ceil(perSecond.length / 4);
    const lastToFirst = (figures: number[]): string =>
      (median(figures.slice(-part)) / median(figures.slice(0, part))).toFixed(2);
    return {
      '': name,
      'handled/s': median(perSecond).toFixed(0),
      'Warren / bare':
        beside === undefined ? '' : medianRatio(perSecond, contenders[beside].perSecond).toFixed(2),
      'last / first quarter': lastToFirst(perSecond),
      'broker, µs each': median(microseconds).toFixed(0),
      'µs, last / first quarter': lastToFirst(microseconds),
    };
  };
  const type = process.env['WARREN_MAILBOX_TYPE'] ?? 'auto';
  printTable(
    `Trickle: ${String(contenders['amqplib, bare'].perSecond.length)} rounds of ${String(MESSAGES)} messages to ${String(USERS)} users, ${String(WINDOW)} under way at once; ` +
      `mailboxes: ${type}, on ${fileSystemOf(bench.dataDir)}`,
    [
      row('Warren SDK, AMQP', 'amqplib, bare'),
      row('amqplib, bare'),
      row('Warren SDK, STOMP', 'stompjs, bare'),
      row('stompjs, bare'),
    ],
  );
}
