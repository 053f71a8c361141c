import { connect } from 'amqplib';
import { Connection } from 'rabbitmq-client';
import { uuidv7 } from 'uuidv7';
import { createBarePublisher, EXCHANGE } from './bare-publisher.js';
import type { Bench } from './setup.js';
import { median, medianRatio, printTable } from './statistics.js';

const ROUNDS = 9;
const MESSAGES = 5000;
/** As many are on their way to a confirm at once, by every contender. */
const WINDOW = 500;
const DATA = { text: 'x'.repeat(180) };

/** Confirmed messages a second: the helper, and the bare clients with the same properties. */
export async function comparePublishing(bench: Bench): Promise<void> {
  const user = 'bench-publish';
  const { queue } = await bench.grant(user, 'bare');
  const janitor = await connect(bench.broker.endpoints.amqpUrl);
  const broom = await janitor.createChannel();

  const connection = new Connection({
    url: bench.broker.endpoints.backendAmqpUrl,
    frameMax: 131_072,
    noDelay: true,
  });
  const bare = await connection.acquire();
  await bare.confirmSelect();
  const amqplib = await createBarePublisher(bench);

  const contenders: Record<string, (user: string) => Promise<unknown>> = {
    'Warren, publish helper': (to) => bench.publisher.toUser(to, 'bench', DATA),
    'rabbitmq-client, bare': (to) =>
      bare.basicPublish(
        {
          exchange: EXCHANGE,
          routingKey: `user.${to}`,
          durable: true,
          mandatory: true,
          messageId: uuidv7(),
          type: 'bench',
          contentType: 'application/json',
        },
        Buffer.from(JSON.stringify(DATA)),
      ),
    'amqplib, bare': (to) => amqplib.publish(to, DATA),
  };

  const rates: Record<string, number[]> = {};
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, publish] of Object.entries(contenders)) {
      const rate = await measure(publish, user);
      // The first round warms up.
      if (round >= 0) (rates[name] ??= []).push(rate);
      // A full queue dead-letters its oldest for each new one, which would hide what clients cost.
      await broom.purgeQueue(queue);
    }
  }
  const ours = rates['Warren, publish helper'] ?? [];
  printTable(
    `Publishing: ${String(ROUNDS)} rounds of ${String(MESSAGES)} persistent messages, ${String(WINDOW)} at once`,
    Object.entries(rates).map(([name, values]) => ({
      '': name,
      'confirmed/s': median(values).toFixed(0),
      'Warren / this': medianRatio(ours, values).toFixed(2),
    })),
  );
  await janitor.close();
  await amqplib.close();
  await bare.close();
  await connection.close();
}

/** Messages a second with a full window. */
async function measure(publish: (user: string) => Promise<unknown>, user: string): Promise<number> {
  const startedAt = performance.now();
  let left = MESSAGES;
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left--;
      await publish(user);
    }
  };
  await Promise.all(Array.from({ length: WINDOW }, lane));
  return MESSAGES / ((performance.now() - startedAt) / 1000);
}
