import { connect, type Channel, type ChannelModel } from 'amqplib';
import { inject } from 'vitest';
import type { Stack } from './stack.js';

/** Asks the broker about queues, by its own protocol: the management API's figures come late. */
export class QueueWatch {
  readonly #amqpUrl: string;
  #model: ChannelModel | undefined;

  private constructor(amqpUrl: string) {
    this.#amqpUrl = amqpUrl;
  }

  static async open(amqpUrl = inject('broker').endpoints.amqpUrl): Promise<QueueWatch> {
    const watch = new QueueWatch(amqpUrl);
    await watch.#connect();
    return watch;
  }

  async consumers(queue: string): Promise<number> {
    return this.#with(async (channel) => (await channel.checkQueue(queue)).consumerCount);
  }

  /** How many wait in it, beside those that were given out. */
  async waiting(queue: string): Promise<number> {
    return this.#with(async (channel) => (await channel.checkQueue(queue)).messageCount);
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

  /** As when somebody deletes it by hand. */
  async remove(queue: string): Promise<void> {
    await this.#with((channel) => channel.deleteQueue(queue));
  }

  /** As a back end that publishes by AMQP; resolves with the broker's confirm. */
  async publish(exchange: string, routingKey: string, json: string): Promise<void> {
    if (this.#model === undefined) throw new Error('The watch is not connected.');
    const channel = await this.#model.createConfirmChannel();
    const options = { contentType: 'application/json', persistent: true, type: 'note' };
    channel.publish(exchange, routingKey, Buffer.from(json), options);
    await channel.waitForConfirms();
    await channel.close();
  }

  /** Messages that were given out and are not acked yet; undefined for a quorum queue, which tells it late. */
  async unacked(queue: string, stack: Stack): Promise<number | undefined> {
    if ((await typeOfQueue(queue)) === 'quorum') return undefined;
    const waiting = await this.waiting(queue);
    const user = queue.split('.')[1]!;
    const { devices } = await stack.user(user);
    return (devices.find((device) => device.queue === queue)?.depth ?? 0) - waiting;
  }

  /** Counts, a hundred times a second at best, until stopped; a broker that restarts is waited for. */
  mostConsumers(queue: string): { stop: () => Promise<{ most: number; samples: number }> } {
    const stopped = new AbortController();
    let most = 0;
    let samples = 0;
    const ended = (async () => {
      while (!stopped.signal.aborted) {
        try {
          // amqplib leaves what it was asked on a connection that died unanswered.
          most = Math.max(most, await inTime(this.consumers(queue)));
          samples++;
        } catch {
          await inTime(this.#connect()).catch(() => undefined);
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    })();
    return {
      stop: async () => {
        stopped.abort();
        await ended;
        return { most, samples };
      },
    };
  }

  async close(): Promise<void> {
    await this.#model?.close().catch(() => undefined);
  }

  async #connect(): Promise<void> {
    this.#model = await connect(this.#amqpUrl);
    this.#model.on('error', () => undefined);
  }

  /** A channel for each question: the broker closes one that asks for a queue that is not there. */
  async #with<Result>(ask: (channel: Channel) => Promise<Result>): Promise<Result> {
    if (this.#model === undefined) throw new Error('The watch is not connected.');
    const channel = await this.#model.createChannel();
    channel.on('error', () => undefined);
    try {
      return await ask(channel);
    } finally {
      await channel.close().catch(() => undefined);
    }
  }
}

/** What the broker says a queue is; undefined for one that is not there. */
export async function typeOfQueue(queue: string): Promise<string | undefined> {
  const { origin, username, password } = new URL(inject('broker').endpoints.managementUrl);
  const response = await fetch(`${origin}/api/queues/warren/${queue}`, {
    headers: { authorization: `Basic ${btoa(`${username}:${password}`)}` },
  });
  return response.ok ? ((await response.json()) as { type: string }).type : undefined;
}

function inTime<Result>(work: Promise<Result>): Promise<Result> {
  return Promise.race([
    work,
    new Promise<never>((_, reject) =>
      setTimeout(() => {
        reject(new Error('no answer'));
      }, 2000),
    ),
  ]);
}
