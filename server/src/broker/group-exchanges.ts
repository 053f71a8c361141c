import pLimit from 'p-limit';
import { encodeId, groupKeys } from '@warren/protocol';
import { GROUP_PREFIX, liveOf } from '@warren/rabbitmq';
import type { Channel } from 'rabbitmq-client';
import { isExchangeMissing, isNotFound, type ControlLink } from './control-link.js';

/** A member's queue and the group whose messages go there. */
export interface GroupBinding {
  groupId: string;
  queue: string;
  live: boolean;
}

/** Each does one thing at a time: a queue that is missing closes the channel on which it was to be bound. */
const CHANNELS = 8;
/** What one call of the broker's guard may hold: a fraction of a second's work. */
const CHUNK = 500;

type Binder = 'queueBind' | 'queueUnbind';

/**
 * Each group's two fanout exchanges, for mail and for live messages, behind the group's keys, and the
 * bindings of its members' queues.
 */
export class GroupExchanges {
  readonly #link: ControlLink;
  /** The direct exchange. */
  readonly #source: string;
  readonly #idle: Channel[] = [];
  readonly #limit = pLimit(CHANNELS);

  constructor(link: ControlLink, source: string) {
    this.#link = link;
    this.#source = source;
  }

  /** @throws {HttpProblem} `broker_unavailable`, as all of these. */
  async declare(groupId: string): Promise<void> {
    const keys = groupKeys(groupId);
    await this.#link.guard(() =>
      this.#withChannel(async (channel) => {
        for (const live of [false, true]) {
          const exchange = exchangeOf(groupId, live);
          await channel.exchangeDeclare({ exchange, type: 'fanout', durable: true });
          const routingKey = live ? keys.live : keys.mail;
          await channel.exchangeBind({ destination: exchange, source: this.#source, routingKey });
        }
      }),
    );
  }

  /** Whether both are there. */
  async exist(groupId: string): Promise<boolean> {
    return this.#link.guard(async () => {
      try {
        await this.#withChannel(async (channel) => {
          for (const live of [false, true]) {
            await channel.exchangeDeclare({ exchange: exchangeOf(groupId, live), passive: true });
          }
        });
        return true;
      } catch (error) {
        if (isNotFound(error)) return false;
        throw error;
      }
    });
  }

  /** With all that is bound to them. */
  async remove(groupId: string): Promise<void> {
    await this.#link.guard(() =>
      this.#withChannel(async (channel) => {
        for (const live of [false, true]) {
          await channel.exchangeDelete({ exchange: exchangeOf(groupId, live) });
        }
      }),
    );
  }

  /**
   * Binds queues; those that do not exist are passed over.
   * @returns the groups whose exchange does not exist.
   */
  async bind(bindings: GroupBinding[]): Promise<Set<string>> {
    return this.#change('queueBind', bindings);
  }

  /** As {@link bind}. */
  async unbind(bindings: GroupBinding[]): Promise<Set<string>> {
    return this.#change('queueUnbind', bindings);
  }

  close(): void {
    for (const channel of this.#idle) void channel.close();
  }

  async #change(method: Binder, bindings: GroupBinding[]): Promise<Set<string>> {
    const missing = new Set<string>();
    const changeOne = async (binding: GroupBinding): Promise<void> => {
      if (!(await this.#changeOne(method, binding))) missing.add(binding.groupId);
    };
    for (let start = 0; start < bindings.length; start += CHUNK) {
      const chunk = bindings.slice(start, start + CHUNK);
      await this.#link.guard(() => Promise.all(chunk.map(changeOne)));
    }
    return missing;
  }

  /** False when the exchange is missing. */
  async #changeOne(method: Binder, { groupId, queue, live }: GroupBinding): Promise<boolean> {
    const exchange = exchangeOf(groupId, live);
    try {
      await this.#withChannel((channel) => channel[method]({ queue, exchange }));
      return true;
    } catch (error) {
      if (isExchangeMissing(error)) return false;
      if (isNotFound(error)) return true;
      throw error;
    }
  }

  /** What fails has lost its channel. */
  #withChannel(work: (channel: Channel) => Promise<void>): Promise<void> {
    return this.#limit(async () => {
      let channel = this.#idle.pop();
      if (channel?.active !== true) channel = await this.#link.openChannel();
      await work(channel);
      this.#idle.push(channel);
    });
  }
}

function exchangeOf(groupId: string, live: boolean): string {
  const exchange = GROUP_PREFIX + encodeId(groupId);
  return live ? liveOf(exchange) : exchange;
}
