import type { Logger } from 'pino';
import { EVENTS } from '@warren/rabbitmq';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';
import type { News, OutboxEntry, OutboxStore } from '../storage/outbox.js';

export interface EventsOptions {
  channel: ConfirmChannel;
  outbox: OutboxStore;
  logger: Logger;
}

/** How often the outbox is looked at without being asked to, in milliseconds. */
const POLL_MS = 1000;
const BATCH = 200;

/** Publishes what is in the outbox on `warren.events`. Each at least once: its id tells when it comes again. */
export class Events {
  readonly #options: EventsOptions;
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;
  #again = false;
  #warned = false;

  constructor(options: EventsOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      this.poke();
    }, POLL_MS);
    this.#timer.unref();
  }

  /** Tells of what needs no other word in the database. */
  async tell(...news: News[]): Promise<void> {
    await this.#options.outbox.add(news);
    this.poke();
  }

  /** There may be something in the outbox. */
  poke(): void {
    this.#again = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    const { outbox, logger } = this.#options;
    while (this.#again) {
      this.#again = false;
      // What nobody could publish waits in the database.
      if (this.#options.channel.state !== 'ready') return;
      try {
        const entries = await outbox.claim(BATCH, Date.now());
        if (entries.length === 0) return;
        const published = await this.#publish(entries);
        await outbox.remove(published);
        await outbox.release(entries.filter((entry) => !published.includes(entry)));
        this.#again ||= published.length > 0;
        this.#warned = false;
      } catch (error) {
        if (!this.#warned) logger.warn({ err: error }, 'events could not be published');
        this.#warned = true;
      }
    }
  }

  /** @returns those that the broker has confirmed. */
  async #publish(entries: OutboxEntry[]): Promise<OutboxEntry[]> {
    const confirmed = await Promise.all(
      entries.map(async (entry) => {
        const { eventId, routingKey, body } = entry;
        const message = {
          exchange: EVENTS,
          routingKey,
          messageId: eventId,
          type: routingKey.slice(0, routingKey.lastIndexOf('.')),
          contentType: 'application/json',
          durable: true,
          mandatory: true as const,
        };
        // Whether anybody listens is their affair.
        return this.#options.channel.publish(message, Buffer.from(body, 'utf8')).then(
          () => entry,
          () => undefined,
        );
      }),
    );
    return confirmed.filter((entry) => entry !== undefined);
  }
}
