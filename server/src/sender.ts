import type { SendBody } from '@warren/protocol';
import type { Metrics } from './metrics.js';
import { PublishError, type Publisher, type SendResult } from './publisher/index.js';

/** What `POST /v1/messages` does: hands a message to the publish helper and counts what became of it. */
export class Sender {
  readonly #publisher: Publisher;
  readonly #metrics: Metrics;

  constructor(publisher: Publisher, metrics: Metrics) {
    this.#publisher = publisher;
    this.#metrics = metrics;
  }

  /** @throws {PublishError} */
  async send({ to, type, data, id, delivery, ttlMs, collapseKey }: SendBody): Promise<SendResult> {
    const options = {
      delivery,
      ...(id !== undefined && { id }),
      ...(ttlMs !== undefined && { ttlMs }),
      ...(collapseKey !== undefined && { collapseKey }),
    };
    const stop = this.#metrics.publishSeconds.startTimer();
    try {
      const result =
        'user' in to
          ? await this.#publisher.toUser(to.user, type, data, options)
          : await this.#publisher.toDevice(to.device, type, data, options);
      stop();
      this.#metrics.messages.inc({ delivery, outcome: result.outcome });
      return result;
    } catch (error) {
      const outcome = error instanceof PublishError ? error.code : 'internal';
      this.#metrics.messages.inc({ delivery, outcome });
      throw error;
    }
  }
}
