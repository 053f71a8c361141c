import { connect, type ChannelModel } from 'amqplib';
import { inject } from 'vitest';
import type { SessionGrant } from '@warren/protocol';
import { RawStomp } from './raw-stomp.js';

/** A client that we did not write the manners of: it consumes and does nothing else of its own accord. */
export interface RawConsumer {
  bodies: string[];
  isGone: () => boolean;
  close: () => Promise<void>;
}

const { endpoints } = inject('broker');

/** By STOMP, under any login; the token's own name is what counts to the broker. `idle`: logs in, no more. */
export async function consumeByStomp(
  grant: SessionGrant,
  { login = grant.queue, queue = grant.queue, url = endpoints.stompUrl, idle = false } = {},
): Promise<RawConsumer> {
  const client = await RawStomp.open(url);
  if (!(await client.login({ login, passcode: grant.token, host: grant.vhost }))) {
    throw new Error('not let in');
  }
  const destination = `/amq/queue/${queue}`;
  if (!idle) client.send('SUBSCRIBE', { destination, id: 's', ack: 'client-individual' });
  return {
    get bodies() {
      return client.frames.filter(({ command }) => command === 'MESSAGE').map(({ body }) => body);
    },
    isGone: () => client.isClosed || client.frames.some(({ command }) => command === 'ERROR'),
    close: () => client.close(),
  };
}

/** By AMQP, under any login. `idle`: logs in, no more. */
export async function consumeByAmqp(
  grant: SessionGrant,
  { login = grant.queue, queue = grant.queue, idle = false } = {},
): Promise<RawConsumer> {
  const account = `${encodeURIComponent(login)}:${encodeURIComponent(grant.token)}@`;
  const model: ChannelModel = await connect(
    endpoints.clientAmqpUrl.replace('amqp://', `amqp://${account}`),
  );
  let gone = false;
  const end = (): void => {
    gone = true;
  };
  model.on('error', end).on('close', end);
  const channel = await model.createChannel();
  channel.on('error', end).on('close', end);
  const bodies: string[] = [];
  if (!idle) {
    await channel.consume(queue, (message) => {
      if (message === null) end();
      else bodies.push(message.content.toString('utf8'));
    });
  }
  return {
    bodies,
    isGone: () => gone,
    close: () => model.close().catch(() => undefined),
  };
}

export const CONSUMERS = { stomp: consumeByStomp, amqp: consumeByAmqp };
