import { createConsumers, type Consumer, type ConsumerName } from './consumers.js';
import type { Bench } from './setup.js';
import { median, medianRatio, printTable } from './statistics.js';

const ROUNDS = 7;
const MESSAGES = 5000;

/**
 * A backlog, handled and acked one by one, from the first to the last of it: the SDK and bare clients
 * with the same prefetch.
 */
export async function compareDeliveries(bench: Bench): Promise<void> {
  const rates: Record<string, number[]> = {};
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, consumer] of Object.entries(createConsumers(bench))) {
      const user = `bench-deliver-${String(round)}-${name.replaceAll(/\W/g, '')}`;
      const rate = await measure(bench, user, consumer);
      if (round >= 0) (rates[name] ??= []).push(rate);
    }
  }
  const row = (name: ConsumerName, beside: ConsumerName) => ({
    '': name,
    'handled/s': median(rates[name] ?? []).toFixed(0),
    beside,
    'Warren / bare':
      name === beside ? '' : medianRatio(rates[name] ?? [], rates[beside] ?? []).toFixed(2),
  });
  printTable(
    `Deliveries: ${String(ROUNDS)} rounds of ${String(MESSAGES)} messages that wait in one queue`,
    [
      row('Warren SDK, AMQP', 'amqplib, bare'),
      row('Warren SDK, STOMP', 'stompjs, bare'),
      row('amqplib, bare', 'amqplib, bare'),
      row('stompjs, bare', 'stompjs, bare'),
    ],
  );
}

async function measure(bench: Bench, user: string, consumer: Consumer): Promise<number> {
  await consumer.provision(user);
  const data = { text: 'x'.repeat(180) };
  await Promise.all(
    Array.from({ length: MESSAGES }, () => bench.publisher.toUser(user, 'bench', data)),
  );
  const { first, last, handled } = counter();
  const close = await consumer.consume(user, handled);
  const seconds = ((await last) - (await first)) / 1000;
  await close();
  return (MESSAGES - 1) / seconds;
}

/** When the first and the last message were handled. */
function counter(): { first: Promise<number>; last: Promise<number>; handled: () => void } {
  let begin: (at: number) => void = () => undefined;
  let finish: (at: number) => void = () => undefined;
  let count = 0;
  return {
    first: new Promise((resolve) => (begin = resolve)),
    last: new Promise((resolve) => (finish = resolve)),
    handled: () => {
      count++;
      if (count === 1) begin(performance.now());
      if (count === MESSAGES) finish(performance.now());
    },
  };
}
