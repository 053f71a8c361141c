import pLimit, { type LimitFunction } from 'p-limit';
import type { Channel } from 'rabbitmq-client';
import { endedWithin } from '../ended-within.js';
import { HttpProblem } from '../problem.js';
import { isNotFound, isQueueMissing, type ChannelPool, type ControlLink } from './control-link.js';
import type { DeadQueues } from './dead-queues.js';

export interface QueueProbesOptions {
  link: ControlLink;
  pool: ChannelPool;
  deadQueues: DeadQueues;
  /** How many questions, each on a channel of its own; those that are silent beside them. */
  atOnce: number;
}

/** What a queue says of itself in one moment. Of a quorum queue two zeros may mean that it did not answer. */
export interface QueueStat {
  /** Messages that wait and are with no consumer. */
  ready: number;
  consumers: number;
}

/** A queue that has not answered for so long may be dead, which is looked into. */
const SILENT_MS = 1500;

/**
 * Asks queues, some of which may be dead: those do not answer for a minute, nor does the channel then that one was asked
 * on. See {@link DeadQueues}.
 */
export class QueueProbes {
  readonly #options: QueueProbesOptions;
  /** Channels to ask on whether a queue exists; a "no" closes the one that was asked on. */
  readonly #channels: Channel[] = [];
  readonly #limit: LimitFunction;
  /** When a channel of the pool has answered last: questions to other queues may be before one on it. */
  readonly #answeredAt = new WeakMap<Channel, number>();

  constructor(options: QueueProbesOptions) {
    this.#options = options;
    this.#limit = pLimit(options.atOnce);
  }

  /** Undefined when there is no such queue, or it is dead. One that is silent holds up no other. */
  stat(queue: string): Promise<QueueStat | undefined> {
    if (this.#options.deadQueues.has(queue)) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      void this.#limit(async () => {
        const answer = this.#declarePassively(queue);
        this.#heard(queue, answer).then(resolve, reject);
        await endedWithin(answer, SILENT_MS);
      });
    });
  }

  /**
   * Does what a queue has to answer, on a channel of the pool, which others go without while it is silent.
   * @throws {HttpProblem} `broker_unavailable` when it is dead.
   */
  async ask<Result>(queue: string, channel: Channel, work: () => Promise<Result>): Promise<Result> {
    if (this.#options.deadQueues.has(queue)) throw deadMailbox();
    const answer = work();
    const note = (): void => {
      this.#answeredAt.set(channel, performance.now());
    };
    answer.then(note, note);
    if (await this.#isSilent(channel, answer)) this.#options.pool.retire(channel);
    return this.#heard(queue, answer, 0);
  }

  close(): void {
    for (const channel of this.#channels) void channel.close();
  }

  /** A queue that is missing closes the channel, so each question has one to itself. */
  async #declarePassively(queue: string): Promise<QueueStat | undefined> {
    const { link, deadQueues } = this.#options;
    let channel = this.#channels.pop();
    if (channel?.active !== true) channel = await link.openChannel();
    try {
      const { messageCount: ready, consumerCount: consumers } = await channel.queueDeclare({
        queue,
        passive: true,
      });
      this.#channels.push(channel);
      return { ready, consumers };
    } catch (error) {
      if (isQueueMissing(error)) return undefined;
      if (isNotFound(error)) void deadQueues.look();
      throw error;
    }
  }

  /** False as soon as there is the answer; a channel that answers other questions is not silent. */
  async #isSilent(channel: Channel, answer: Promise<unknown>): Promise<boolean> {
    const askedAt = performance.now();
    for (;;) {
      const since = Math.max(askedAt, this.#answeredAt.get(channel) ?? 0);
      const leftMs = since + SILENT_MS - performance.now();
      if (leftMs <= 0) return true;
      if (await endedWithin(answer, leftMs)) return false;
    }
  }

  async #heard<Result>(
    queue: string,
    answer: Promise<Result>,
    patienceMs = SILENT_MS,
  ): Promise<Result> {
    if (await endedWithin(answer, patienceMs)) return answer;
    const { deadQueues } = this.#options;
    const verdict = deadQueues.look().then(() => {
      if (deadQueues.has(queue)) throw deadMailbox();
      return answer;
    });
    return Promise.race([answer, verdict]);
  }
}

const deadMailbox = (): HttpProblem =>
  new HttpProblem('broker_unavailable', 'The mailbox is dead, and is being replaced.');
