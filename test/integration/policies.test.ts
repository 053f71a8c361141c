import { connect, type ChannelModel } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { uniqueUser } from '../support/stack.js';

let connection: ChannelModel;
beforeAll(async () => {
  connection = await connect(inject('broker').endpoints.amqpUrl);
});
afterAll(() => connection.close());

/** Takes the message and goes away with it, as a phone that loses its network does. */
async function takeAndGo(queue: string): Promise<boolean> {
  const channel = await connection.createChannel();
  const taken = new Promise<boolean>((resolve) => {
    void channel.consume(queue, (message) => {
      resolve(message !== null);
    });
  });
  const timeout = new Promise<boolean>((resolve) => setTimeout(resolve, 5000, false));
  const found = await Promise.race([taken, timeout]);
  await channel.close();
  return found;
}

describe('the policies of mailboxes', () => {
  // RabbitMQ 4.0 and later give up on a message of a quorum queue that was returned 20 times, unless told not to.
  it.each(['classic', 'quorum'])(
    'keep a message in a %s mailbox however often its device goes away with it',
    async (type) => {
      const queue = `user.${uniqueUser()}.phone.x`;
      const channel = await connection.createConfirmChannel();
      const kind = { 'x-queue-type': type, 'x-single-active-consumer': true };
      await channel.assertQueue(queue, { durable: true, arguments: kind });
      await channel.bindQueue(queue, 'warren.direct', queue);
      channel.publish('warren.direct', queue, Buffer.from('x'), { persistent: true });
      await channel.waitForConfirms();
      for (let times = 0; times < 25; times++) {
        expect(await takeAndGo(queue), `after ${String(times)} times`).toBe(true);
      }
      await channel.deleteQueue(queue);
    },
  );
});
