import { connect, type ChannelModel } from 'amqplib';
import { inject } from 'vitest';
import type { SessionGrant } from '@warren/protocol';
import { RawStomp } from './raw-stomp.js';

/** A client that we did not write the manners of: it consumes and does nothing else of its own accord. */
export interface RawConsumer {
  bodies: string[];
  isGone: () => boolean;
  /** Goes on with a fresh token, on the same connection where the protocol can. */
  renew: (grant: SessionGrant) => Promise<void>;
  close: () => Promise<void>;
}

const { endpoints } = inject('broker');

/** By STOMP, under any login; the token's own name is what counts to the broker. `idle`: logs in, no more. */
export async function consumeByStomp(
  grant: SessionGrant,
  { login = grant.queue, queue = grant.queue, url = endpoints.stompUrl, idle = false } = {},
): Promise<RawConsumer> {
  const open = async ({ token, vhost }: SessionGrant): Promise<RawStomp> => {
    const opened = await RawStomp.open(url);
    if (!(await opened.login({ login, passcode: token, host: vhost }))) {
      throw new Error('not let in');
    }
    const destination = `/amq/queue/${queue}`;
    if (!idle) opened.send('SUBSCRIBE', { destination, id: 's', ack: 'client-individual' });
    return opened;
  };
  let client = await open(grant);
  return {
    get bodies() {
      return client.frames.filter(({ command }) => command === 'MESSAGE').map(({ body }) => body);
    },
    isGone: () => client.isClosed || client.frames.some(({ command }) => command === 'ERROR'),
    renew: async (next) => {
      const older = client;
      client = await open(next);
      await older.close();
    },
    close: () => client.close(),
  };
}

/** By AMQP, under any login and any name of the connection. `idle`: logs in, no more. */
export async function consumeByAmqp(
  grant: SessionGrant,
  { login = grant.queue, queue = grant.queue, idle = false, connectionName = '' } = {},
): Promise<RawConsumer> {
  const account = `${encodeURIComponent(login)}:${encodeURIComponent(grant.token)}@`;
  const model: ChannelModel = await connect(
    endpoints.clientAmqpUrl.replace('amqp://', `amqp://${account}`),
    connectionName === '' ? {} : { clientProperties: { connection_name: connectionName } },
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
    renew: ({ token }) => model.updateSecret(Buffer.from(token), 'renewed'),
    close: () => model.close().catch(() => undefined),
  };
}

export const CONSUMERS = { stomp: consumeByStomp, amqp: consumeByAmqp };
