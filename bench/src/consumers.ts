import type { Bench, TransportName } from './setup.js';

/** Something that consumes a user's messages, with Warren or without. */
export interface Consumer {
  /** Makes the device's queue, so that messages can wait in it. */
  provision: (user: string) => Promise<void>;
  /** Connects, and calls back for each message; resolves to how to close again. */
  consume: (user: string, onMessage: () => void) => Promise<() => Promise<void>>;
}

export type ConsumerName =
  'Warren SDK, AMQP' | 'Warren SDK, STOMP' | 'amqplib, bare' | 'stompjs, bare';

/** The bare clients' device; the same each time, so that its queue waits for it. */
const DEVICE = 'bare';

/** All of them parse the payload, ack each message, and have the same prefetch. */
export function createConsumers(bench: Bench): Record<ConsumerName, Consumer> {
  const provision = async (user: string): Promise<void> => {
    await bench.grant(user, DEVICE);
  };
  return {
    'Warren SDK, AMQP': bySdk(bench, 'amqp'),
    'amqplib, bare': { provision, consume: byAmqplib(bench) },
    'Warren SDK, STOMP': bySdk(bench, 'stomp'),
    'stompjs, bare': { provision, consume: byStompjs(bench) },
  };
}

function bySdk(bench: Bench, transport: TransportName): Consumer {
  const consume: Consumer['consume'] = async (user, onMessage) => {
    const client = bench.sdk(user, transport);
    client.handle('*', onMessage);
    client.start();
    await client.ready();
    return () => client.stop();
  };
  const provision = async (user: string): Promise<void> => {
    const close = await consume(user, () => undefined);
    await close();
  };
  return { provision, consume };
}

function byAmqplib(bench: Bench): Consumer['consume'] {
  return async (user, onMessage) => {
    const grant = await bench.grant(user, DEVICE);
    const model = await bench.amqplib(grant);
    const channel = await model.createChannel();
    await channel.prefetch(grant.prefetch);
    await channel.consume(grant.queue, (message) => {
      if (message === null) return;
      JSON.parse(message.content.toString('utf8'));
      onMessage();
      channel.ack(message);
    });
    return () => model.close();
  };
}

function byStompjs(bench: Bench): Consumer['consume'] {
  return async (user, onMessage) => {
    const grant = await bench.grant(user, DEVICE);
    const client = await bench.stompjs(grant);
    client.subscribe(
      `/amq/queue/${grant.queue}`,
      (message) => {
        JSON.parse(message.body);
        onMessage();
        message.ack();
      },
      { ack: 'client-individual', 'prefetch-count': String(grant.prefetch) },
    );
    return () => client.deactivate();
  };
}
