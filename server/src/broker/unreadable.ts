import { connect, type Channel, type Message } from 'amqplib';
import { keepUnreadable } from '@warren/protocol/amqp';
import type { Logger } from 'pino';
import { endedWithin } from '../ended-within.js';

export interface UnreadableOptions {
  amqpUrl: string;
  queue: string;
  /** How many messages the consumer had in hand, at most: one of them is it. */
  most: number;
  /** Does what the consumer does. */
  take: (message: Message) => Promise<void>;
  logger: Logger;
}

const CONNECT_MS = 5000;
const CLOSE_MS = 1000;
const REMOVED =
  'removed a message that AMQP 0-9-1 cannot carry; somebody has written it by AMQP 1.0';

/** Whether the broker has failed at something of its own: at handing out a message, most likely. */
export const hasBrokerFailed = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 541;

/**
 * Removes the message that the broker cannot hand out. RabbitMQ takes by AMQP 1.0 what it cannot write by AMQP 0-9-1, as
 * a UUID among the properties: it ends the connection of whoever is to have such a message, which comes again, and nothing
 * behind it ever does. Those before it are taken as they come. Where its turn is, the next one is fetched without an ack:
 * so it is gone before the broker fails at it.
 *
 * @returns whether there was one.
 */
export async function removeUnreadable(options: UnreadableOptions): Promise<boolean> {
  const { queue, most, logger } = options;
  try {
    if (!(await fetchAll(options, most, { noAck: false }))) return false;
    // Another server may have taken it meanwhile; then this is a message as any other.
    if (!(await fetchAll(options, 1, { noAck: true }))) return false;
    logger.warn({ queue }, REMOVED);
    return true;
  } catch (error) {
    logger.warn({ err: error, queue }, 'a queue could not be rid of what ends its consumer');
    return false;
  }
}

/** @returns whether the broker has failed at one; false when so many were taken, or the queue is empty. */
async function fetchAll(
  { amqpUrl, queue, take }: UnreadableOptions,
  most: number,
  { noAck }: { noAck: boolean },
): Promise<boolean> {
  const connection = await connect(amqpUrl, {
    timeout: CONNECT_MS,
    servername: new URL(amqpUrl).hostname,
    clientProperties: { connection_name: `warren worker ${queue}` },
  });
  keepUnreadable(connection);
  let failure: unknown;
  connection.on('error', (error: unknown) => {
    failure = error;
  });
  try {
    const channel = await connection.createChannel();
    channel.on('error', () => undefined);
    for (let count = 0; count < most; count++) {
      const message = await fetchOne(channel, queue, noAck);
      if (message === undefined) return false;
      await take(message);
      if (!noAck) channel.ack(message);
    }
    return false;
  } catch (error) {
    if (hasBrokerFailed(failure)) return true;
    throw error;
  } finally {
    await endedWithin(
      connection.close().catch(() => undefined),
      CLOSE_MS,
    );
  }
}

async function fetchOne(
  channel: Channel,
  queue: string,
  noAck: boolean,
): Promise<Message | undefined> {
  const message = await channel.get(queue, { noAck });
  return message === false ? undefined : message;
}
