import type { ConsumeMessage } from 'amqplib';
import { HISTORY, RETRY } from '@warren/rabbitmq';
import { randomUUID } from 'node:crypto';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';

/** What servers ask of the history, in the order of the messages. */
export type Command =
  /** To note that it has come so far. */
  | { kind: 'mark'; mark: string }
  /** To forget a user, whose messages may still wait before this. */
  | { kind: 'erase-user'; userId: string }
  | { kind: 'erase-timeline'; timeline: string };

const TYPE = 'warren.history';

/** Only servers may write to that exchange; a back end could otherwise have the history erased. */
export const isCommand = ({ fields }: ConsumeMessage): boolean => fields.exchange === RETRY;

/** Undefined for one of a newer server. */
export function readCommand({ content }: ConsumeMessage): Command | undefined {
  const command = JSON.parse(content.toString('utf8')) as Command;
  return ['mark', 'erase-user', 'erase-timeline'].includes(command.kind) ? command : undefined;
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
