import { connect, type Channel, type ChannelModel } from 'amqplib';
import { inject } from 'vitest';
import type { Stack } from './stack.js';

/** Asks the broker about queues, by its own protocol: the management API's figures come late. */
export class QueueWatch {
  readonly #model: ChannelModel;

  private constructor(model: ChannelModel) {
    this.#model = model;
  }

  static async open(amqpUrl = inject('broker').endpoints.amqpUrl): Promise<QueueWatch> {
    const model = await connect(amqpUrl);
    model.on('error', () => undefined);
    return new QueueWatch(model);
  }

  async consumers(queue: string): Promise<number> {
    return this.#with(async (channel) => (await channel.checkQueue(queue)).consumerCount);
  }

  async exists(queue: string): Promise<boolean> {
    return this.#with(async (channel) => {
      try {
        await channel.checkQueue(queue);
        return true;
      } catch {
        return false;
      }
    });
  }

  /** Messages that were given out and are not acked yet. */
  async unacked(queue: string, stack: Stack): Promise<number> {
    const waiting = await this.#with(
      async (channel) => (await channel.checkQueue(queue)).messageCount,
    );
    const user = queue.split('.')[1]!;
    const { devices } = await stack.user(user);
    return (devices.find((device) => device.queue === queue)?.depth ?? 0) - waiting;
  }

  /** Counts, as fast as the broker answers, until stopped. */
  mostConsumers(queue: string): { stop: () => Promise<number> } {
    const stopped = new AbortController();
    let most = 0;
    const ended = (async () => {
      while (!stopped.signal.aborted) most = Math.max(most, await this.consumers(queue));
    })();
    return {
      stop: async () => {
        stopped.abort();
        await ended;
        return most;
      },
    };
  }

  async close(): Promise<void> {
    await this.#model.close();
  }

  /** A channel for each question: the broker closes one that asks for a queue that is not there. */
  async #with<Result>(ask: (channel: Channel) => Promise<Result>): Promise<Result> {
    const channel = await this.#model.createChannel();
    channel.on('error', () => undefined);
    try {
      return await ask(channel);
    } finally {
      await channel.close().catch(() => undefined);
    }
  }
}
