import { uuidv7 } from 'uuidv7';
import type { Bench } from './setup.js';

/** Publishes one message; resolves when it has been confirmed. */
export type Publish = (user: string, data: object) => Promise<unknown>;

export const EXCHANGE = 'warren.direct';

/** amqplib with the properties that the publish helper sets. */
export async function createBarePublisher(
  bench: Bench,
): Promise<{ publish: Publish; close: () => Promise<void> }> {
  const model = await bench.amqplib();
  const channel = await model.createConfirmChannel();
  const publish: Publish = (user, data) =>
    new Promise((resolve, reject) => {
      channel.publish(
        EXCHANGE,
        `user.${user}`,
        Buffer.from(JSON.stringify(data)),
        {
          persistent: true,
          mandatory: true,
          messageId: uuidv7(),
          type: 'bench',
          contentType: 'application/json',
          timestamp: Math.floor(Date.now() / 1000),
        },
        (error: unknown) => {
          if (error instanceof Error) reject(error);
          else resolve(undefined);
        },
      );
    });
  return { publish, close: () => model.close() };
}
