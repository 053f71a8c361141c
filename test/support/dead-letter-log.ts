import { randomUUID } from 'node:crypto';
import { connect, type ChannelModel, type ConsumeMessage } from 'amqplib';
import { inject } from 'vitest';

/** What comes among the dead letters from its opening on: a queue of its own, so that nobody's older ones are read. */
export class DeadLetterLog {
  /** The oldest first. */
  readonly letters: ConsumeMessage[] = [];
  readonly #model: ChannelModel;

  private constructor(model: ChannelModel) {
    this.#model = model;
  }

  static async open(): Promise<DeadLetterLog> {
    const model = await connect(inject('broker').endpoints.amqpUrl);
    const log = new DeadLetterLog(model);
    const channel = await model.createChannel();
    const { queue } = await channel.assertQueue(`warren.test.dead.${randomUUID()}`, {
      exclusive: true,
    });
    await channel.bindQueue(queue, 'warren.dead', '');
    await channel.consume(
      queue,
      (message) => {
        if (message !== null) log.letters.push(message);
      },
      { noAck: true },
    );
    return log;
  }

  /** The newest of a message's. */
  of(messageId: string): ConsumeMessage | undefined {
    return this.letters.findLast(({ properties }) => properties.messageId === messageId);
  }

  async close(): Promise<void> {
    await this.#model.close();
  }
}

/** Why a message was given up. */
export const reasonOf = (letter: ConsumeMessage | undefined): unknown =>
  letter?.properties.headers?.['x-warren-reason'];
