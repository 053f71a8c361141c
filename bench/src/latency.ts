import { createConsumers, type Consumer, type ConsumerName } from './consumers.js';
import type { Bench } from './setup.js';
import { median, medianRatio, percentile, printTable } from './statistics.js';

const ROUNDS = 7;
const MESSAGES = 400;

/**
 * From the publish to the handler, one message at a time, by the same publisher for all: what the SDK
 * adds to a bare client of the same transport.
 */
export async function compareLatency(bench: Bench): Promise<void> {
  const p50: Record<string, number[]> = {};
  const p99: Record<string, number[]> = {};
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, consumer] of Object.entries(createConsumers(bench))) {
      const user = `bench-latency-${String(round)}-${name.replaceAll(/\W/g, '')}`;
      const times = await measure(bench, user, consumer);
      if (round < 0) continue;
      (p50[name] ??= []).push(median(times));
      (p99[name] ??= []).push(percentile(times, 0.99));
    }
  }
  const row = (name: ConsumerName, bare?: ConsumerName) => ({
    '': name,
    'p50 ms': median(p50[name] ?? []).toFixed(2),
    'p99 ms': median(p99[name] ?? []).toFixed(2),
    'p50 Warren / bare':
      bare === undefined ? '' : medianRatio(p50[name] ?? [], p50[bare] ?? []).toFixed(2),
  });
  printTable(
    `Publish to handler: ${String(ROUNDS)} rounds of ${String(MESSAGES)} messages, one at a time`,
    [
      row('Warren SDK, AMQP', 'amqplib, bare'),
      row('amqplib, bare'),
      row('Warren SDK, STOMP', 'stompjs, bare'),
      row('stompjs, bare'),
    ],
  );
}

async function measure(bench: Bench, user: string, consumer: Consumer): Promise<number[]> {
  let arrived: (at: number) => void = () => undefined;
  const close = await consumer.consume(user, () => {
    arrived(performance.now());
  });
  const times: number[] = [];
  for (let index = 0; index < MESSAGES; index++) {
    const arrival = new Promise<number>((resolve) => (arrived = resolve));
    const startedAt = performance.now();
    const sent = bench.publisher.toUser(user, 'bench', { index });
    times.push((await arrival) - startedAt);
    await sent;
  }
  await close();
  return times;
}
