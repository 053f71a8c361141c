import { READ_TYPE, type ReadNews, type ReceiptsBody } from '@warren/protocol';
import type { Publisher } from '../publisher/index.js';
import type { Tracker } from './tracker.js';

/** Takes what clients tell of messages, and tells the user's devices what was read. */
export class Receipts {
  readonly #tracker: Tracker;
  readonly #publisher: Publisher;

  constructor(tracker: Tracker, publisher: Publisher) {
    this.#tracker = tracker;
    this.#publisher = publisher;
  }

  /** Of messages that nobody follows, only what was read matters. @throws {PublishError} */
  async take(userId: string, { delivered, read }: ReceiptsBody): Promise<void> {
    await this.#tracker.receive(userId, { delivered, read });
    if (read.length === 0) return;
    const news: ReadNews = { ids: read };
    await this.#publisher.send({ user: userId }, READ_TYPE, news);
  }
}
