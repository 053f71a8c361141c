import { PUSH_KEY, type PushProviderName } from '@warren/protocol';
import { DEAD_LETTERS, PUSH, pushQueueOf, RETRY } from '@warren/rabbitmq';
import { z } from 'zod';
import { DUE_HEADER, REASON_HEADER } from '../broker/job.js';
import { waitFor } from '../broker/work-queues.js';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';
import type { OutgoingMessage } from '../publisher/outgoing-message.js';

/** To see who has not acked a message. Holds no more than its id: the rest stands in the database. */
export const decideJobSchema = z.object({ id: z.string() });
export type DecideJob = z.infer<typeof decideJobSchema>;

/** To hand pushes of one message to a provider. Holds neither what they say nor a token. */
export const deliverJobSchema = z.object({
  id: z.string(),
  to: z.array(z.object({ user: z.string(), device: z.string() })).min(1),
  /** The same for what is left of the job: a push that belongs to another one is not sent by this. */
  owner: z.string().min(1),
  /** How often the provider has failed to take them. */
  failures: z.int().min(0),
});
export type DeliverJob = z.infer<typeof deliverJobSchema>;

export interface PushJobsOptions {
  channel: ConfirmChannel;
  /** The direct exchange. */
  exchange: string;
}

/** Puts what is to be done about pushes into the workers' queues; each call ends with the broker's confirm. */
export class PushJobs {
  readonly #options: PushJobsOptions;

  constructor(options: PushJobsOptions) {
    this.#options = options;
  }

  /** @param at when it is to be done, in milliseconds since 1970. @throws {PublishError} */
  async decide(job: DecideJob, at: number): Promise<void> {
    const headers = { [DUE_HEADER]: String(at) };
    const wait = waitFor(at);
    // No worker need look at it before.
    if (wait !== undefined)
      return this.#publish({ exchange: wait, routingKey: PUSH, headers }, job);
    const { exchange } = this.#options;
    await this.#publish({ exchange, routingKey: PUSH_KEY, headers }, job);
  }

  /** @param at when it is to be done, in milliseconds since 1970. @throws {PublishError} */
  async deliver(provider: PushProviderName, job: DeliverJob, at = 0): Promise<void> {
    const headers = { [DUE_HEADER]: String(at) };
    const exchange = waitFor(at) ?? RETRY;
    await this.#publish({ exchange, routingKey: pushQueueOf(provider), headers }, job);
  }

  /** No attempt is left, or would help: an operator finds it in the dead letters. @throws {PublishError} */
  async bury(provider: PushProviderName, job: DeliverJob, reason: string): Promise<void> {
    const headers = { [REASON_HEADER]: reason };
    await this.#publish(
      { exchange: DEAD_LETTERS, routingKey: pushQueueOf(provider), headers },
      job,
    );
  }

  async #publish(
    to: Pick<OutgoingMessage, 'exchange' | 'routingKey' | 'headers'>,
    job: DecideJob | DeliverJob,
  ): Promise<void> {
    const common = { type: 'push', contentType: 'application/json', durable: true } as const;
    const message = { ...to, ...common, messageId: job.id, mandatory: true as const };
    const routing = await this.#options.channel.publish(message, Buffer.from(JSON.stringify(job)));
    // Confirmed, and nobody has it: the queue was deleted, and its worker has not made it again yet.
    if (routing === 'unroutable') throw new Error(`There is no queue behind ${to.routingKey}.`);
  }
}
