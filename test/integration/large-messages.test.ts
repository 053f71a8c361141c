import {
  connect,
  type Channel,
  type ConfirmChannel,
  type ChannelModel,
  type Message,
} from 'amqplib';
import { createLogger } from '@warren/server';
import { afterAll, beforeAll, expect, inject, it, onTestFinished } from 'vitest';
import { BatchConsumer } from '../../server/dist/broker/batch-consumer.js';
import { Consumers } from '../../server/dist/broker/consumers.js';
import { uniqueUser } from '../support/stack.js';
import { until } from '../support/until.js';

/** As large as the tests' broker takes. */
const LARGE = 1024 * 1024;
/** So many are held. */
const FIT = 32;
const COUNT = 70;
const JOBS = 100;

let amqpUrl: string;
let model: ChannelModel;
let channel: ConfirmChannel;
beforeAll(async () => {
  ({ amqpUrl } = inject('broker').endpoints);
  model = await connect(amqpUrl);
  channel = await model.createConfirmChannel();
});
afterAll(() => model.close());

/** A queue with large messages, numbered, and then as many small ones. */
async function filled(): Promise<string> {
  const queue = `warren.events.large-${uniqueUser()}`;
  await channel.assertQueue(queue, { durable: true });
  await channel.bindQueue(queue, 'warren.events', queue);
  onTestFinished(async () => {
    await channel.deleteQueue(queue);
  });
  for (let index = 0; index < 2 * COUNT; index++) {
    const body = Buffer.alloc(index < COUNT ? LARGE : 4);
    body.writeUInt32BE(index);
    channel.publish('warren.events', queue, body);
  }
  await channel.waitForConfirms();
  return queue;
}

const numberOf = ({ content }: Message): number => content.readUInt32BE();
const all = Array.from({ length: 2 * COUNT }, (_, index) => index);

/** How many messages have come to a client, whatever became of them. */
class Counted {
  arrived = 0;

  /** Called for each new channel of it. */
  readonly watch = (consuming: Channel): Promise<void> => {
    const consume = consuming.consume.bind(consuming);
    consuming.consume = (queue, onMessage, options) =>
      consume(
        queue,
        (message) => {
          this.arrived++;
          onMessage(message);
        },
        options,
      );
    return Promise.resolve();
  };
}

/** Something that is held until it is let go; what comes later is not. */
class Gate {
  release: () => void = () => undefined;
  readonly opened = new Promise<void>((resolve) => {
    this.release = resolve;
  });
}

it('of large messages a queue that is taken in batches keeps those that do not fit', async () => {
  const queue = await filled();
  const waiting = async () => (await channel.checkQueue(queue)).messageCount;
  const client = new Counted();
  const gate = new Gate();
  const got: number[] = [];
  const consumer = new BatchConsumer({
    amqpUrl,
    connectionName: queue,
    queue,
    declare: client.watch,
    onBatch: async (messages) => {
      if (messages.map(numberOf).includes(0)) await until(() => client.arrived === 2 * COUNT);
      if (messages.some((message) => numberOf(message) >= FIT)) await gate.opened;
      got.push(...messages.map(numberOf));
    },
    onError: (error) => {
      throw error;
    },
    logger: createLogger('silent'),
  });
  onTestFinished(async () => {
    gate.release();
    await consumer.close();
  });
  // The broker had sent more on before it was seen how large they are.
  await until(async () => got.length === FIT && (await waiting()) === 2 * COUNT - 2 * FIT);
  gate.release();
  await until(() => got.length === all.length);
  expect(got).toEqual(all);
});

it('of large messages a queue whose jobs are done side by side keeps those that do not fit', async () => {
  const queue = await filled();
  const waiting = async () => (await channel.checkQueue(queue)).messageCount;
  const client = new Counted();
  const gate = new Gate();
  const got: number[] = [];
  const consumers = new Consumers({
    amqpUrl,
    connectionName: queue,
    logger: createLogger('silent'),
  });
  onTestFinished(async () => {
    gate.release();
    await consumers.close();
  });
  consumers.add({
    queue,
    declare: client.watch,
    prefetch: JOBS,
    take: async (message) => {
      if (numberOf(message) < FIT) await until(() => client.arrived >= JOBS);
      else await gate.opened;
      got.push(numberOf(message));
    },
  });
  // The broker had sent more on before it was seen how large they are.
  await until(async () => got.length === FIT && (await waiting()) === 2 * COUNT - 2 * FIT);
  gate.release();
  await until(() => got.length === all.length);
  expect([...got].sort((a, b) => a - b)).toEqual(all);
});
