import type { Message } from 'amqplib';
import { HISTORY, RETRY } from '@warren/rabbitmq';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';

const TYPE = 'warren.history';

/** Only servers may write to that exchange; a back end could otherwise have the history erased. */
export const isCommand = ({ fields }: Message): boolean => fields.exchange === RETRY;

const commandSchema = z.discriminatedUnion('kind', [
  /** To note that it has come so far. */
  z.object({ kind: z.literal('mark'), mark: z.string() }),
  /** To forget a user, whose messages may still wait before this. */
  z.object({ kind: z.literal('erase-user'), userId: z.string() }),
  z.object({ kind: z.literal('erase-timeline'), timeline: z.string() }),
]);

/** What servers ask of the history, in the order of the messages. */
export type Command = z.infer<typeof commandSchema>;

/** Undefined for one that this server does not know. */
export function readCommand({ content }: Message): Command | undefined {
  try {
    return commandSchema.parse(JSON.parse(content.toString('utf8')));
  } catch {
    return undefined;
  }
}

/** Behind all messages that the history's queue has by now. @throws {PublishError} */
export async function sendCommand(channel: ConfirmChannel, command: Command): Promise<void> {
  await channel.publish(
    {
      exchange: RETRY,
      routingKey: HISTORY,
      messageId: randomUUID(),
      type: TYPE,
      contentType: 'application/json',
      durable: true,
      mandatory: true,
    },
    Buffer.from(JSON.stringify(command), 'utf8'),
  );
}
