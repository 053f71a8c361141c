import { connect, type ChannelModel } from 'amqplib';
import { inject } from 'vitest';
import type { WarrenEvent } from '@warren/protocol';

/** A queue of one's own on `warren.events`, as a back end has it. */
export class EventLog {
  /** The oldest first. */
  readonly events: WarrenEvent[] = [];
  readonly #model: ChannelModel;

  private constructor(model: ChannelModel) {
    this.#model = model;
  }

  /** With the account of a back end, which may have this queue and no other. */
  static async open(...patterns: string[]): Promise<EventLog> {
    const url = inject('broker').endpoints.backendAmqpUrl;
    const model = await connect(url);
    const log = new EventLog(model);
    const channel = await model.createChannel();
    const queue = `warren.events.${new URL(url).username}`;
    await channel.assertQueue(queue, { durable: false, autoDelete: true, exclusive: true });
    for (const pattern of patterns) await channel.bindQueue(queue, 'warren.events', pattern);
    await channel.consume(
      queue,
      (message) => {
        if (message === null) return;
        log.events.push(JSON.parse(message.content.toString('utf8')) as WarrenEvent);
      },
      { noAck: true },
    );
    return log;
  }

  /** Of one user, as `name` or `name outcome`. */
  of(user: string): string[] {
    return this.events
      .filter((event) => 'user' in event && event.user === user)
      .map((event) => ('outcome' in event ? `${event.event} ${event.outcome}` : event.event));
  }

  async close(): Promise<void> {
    await this.#model.close();
  }
}
