import { setTimeout as wait } from 'node:timers/promises';
import pLimit from 'p-limit';
import { encodeId, groupKeys } from '@warren/protocol';
import { GROUP_PREFIX, liveOf, shardFor, shardsOf } from '@warren/rabbitmq';
import type { Channel } from 'rabbitmq-client';
import { allEnded } from '../ended-within.js';
import {
  isExchangeMissing,
  isInternalError,
  isNotFound,
  type ControlLink,
} from './control-link.js';

/** Where a group's members are bound. */
export interface GroupPlace {
  groupId: string;
  /** Whether the group is spread over several exchanges. */
  isSharded: boolean;
}

/** A member's queue and the group whose messages go there. */
export interface GroupBinding extends GroupPlace {
  queue: string;
  live: boolean;
}

/** Each does one thing at a time: a queue that is missing closes the channel on which it was to be bound. */
const CHANNELS = 8;
/** What one call of the broker's guard may hold: a fraction of a second's work. */
const CHUNK = 500;
/** Of what the broker fails at, see {@link isInternalError}; and how long until the next one, more or less. */
const ATTEMPTS = 5;
const RETRY_MS = 50;

type Binder = 'queueBind' | 'queueUnbind';

/**
 * Each group's two fanout exchanges, for mail and for live messages, behind the group's keys, and the
 * bindings of its members' queues. A large group has shards of both beside them: who joins then is bound to
 * one of those, who was there before stays where it was.
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
  async declare(place: GroupPlace): Promise<void> {
    const keys = groupKeys(place.groupId);
    for (const live of [false, true]) {
      const routingKey = live ? keys.live : keys.mail;
      await this.#each(exchangesOf(place, live), async (channel, exchange) => {
        await channel.exchangeDeclare({ exchange, type: 'fanout', durable: true });
        await channel.exchangeBind({ destination: exchange, source: this.#source, routingKey });
      });
    }
  }

  /** Whether both are there. */
  async exist(groupId: string): Promise<boolean> {
    return this.#exist([exchangeOf(groupId, false), exchangeOf(groupId, true)]);
  }

  /**
   * With all that is bound to them, also of a group that another database knew to be spread over several. Nothing may
   * be being bound to them: what RabbitMQ 4.3.6 binds to an exchange that is just being deleted stays, listed and deaf,
   * in the next exchange of that name.
   */
  async remove({ groupId, isSharded }: GroupPlace): Promise<void> {
    const areShards =
      isSharded || (await this.#exist(shardsOf(exchangeOf(groupId, false)).slice(0, 1)));
    for (const live of [true, false]) {
      const own = exchangeOf(groupId, live);
      const [first = own, ...others] = shardsOf(own);
      // The first one last: it tells that there may be others.
      for (const exchanges of areShards ? [[own, ...others], [first]] : [[own]]) {
        await this.#each(exchanges, deleteOne);
      }
    }
  }

  /** Makes anew those that somebody else has deleted, without what was being bound to them then. */
  async restore(place: GroupPlace): Promise<void> {
    for (const exchange of [false, true].flatMap((live) => exchangesOf(place, live))) {
      if (!(await this.#exist([exchange]))) await this.#each([exchange], deleteOne);
    }
    await this.declare(place);
  }

  /** Several at a time. */
  async #each(
    exchanges: string[],
    work: (channel: Channel, exchange: string) => Promise<void>,
  ): Promise<void> {
    await this.#guard(() =>
      allEnded(
        exchanges.map((exchange) => this.#withChannel((channel) => work(channel, exchange))),
      ),
    );
  }

  /** Whether all of them are there. */
  async #exist(exchanges: string[]): Promise<boolean> {
    return this.#link.guard(async () => {
      try {
        await this.#withChannel(async (channel) => {
          for (const exchange of exchanges) {
            await channel.exchangeDeclare({ exchange, passive: true });
          }
        });
        return true;
      } catch (error) {
        if (isNotFound(error)) return false;
        throw error;
      }
    });
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
      await this.#guard(() => allEnded(chunk.map(changeOne)));
    }
    return missing;
  }

  /** False when an exchange is missing. */
  async #changeOne(method: Binder, binding: GroupBinding): Promise<boolean> {
    let isThere = true;
    // Each by itself: of one that is missing, the other's binding is not to stay.
    for (const exchange of exchangesFor(method, binding)) {
      isThere = (await this.#changeAt(exchange, method, binding.queue)) && isThere;
    }
    return isThere;
  }

  async #changeAt(exchange: string, method: Binder, queue: string): Promise<boolean> {
    try {
      await this.#withChannel((channel) => channel[method]({ queue, exchange }));
      return true;
    } catch (error) {
      if (isExchangeMissing(error)) return false;
      if (isNotFound(error)) return true;
      throw error;
    }
  }

  /** All of this may be done again. Whoever has met in the broker would meet again without the wait. */
  async #guard(work: () => Promise<void>): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#link.guard(work);
        return;
      } catch (error) {
        const isLast = attempt === ATTEMPTS;
        if (isLast || !(error instanceof Error) || !isInternalError(error)) throw error;
      }
      await wait(RETRY_MS * attempt * (0.5 + Math.random()));
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

/** It is unbound wherever it may have been bound. */
function exchangesFor(method: Binder, { groupId, isSharded, queue, live }: GroupBinding): string[] {
  const own = exchangeOf(groupId, live);
  if (!isSharded) return [own];
  return method === 'queueBind' ? [shardFor(own, queue)] : [own, shardFor(own, queue)];
}

/** All that a group has, of mail or live. */
function exchangesOf({ groupId, isSharded }: GroupPlace, live: boolean): string[] {
  const own = exchangeOf(groupId, live);
  return isSharded ? [own, ...shardsOf(own)] : [own];
}

/** RabbitMQ 4.3.6 fails to delete one that is not there while something is bound to it, and closes the connection. */
async function deleteOne(channel: Channel, exchange: string): Promise<void> {
  await channel.exchangeDeclare({ exchange, type: 'fanout', durable: true });
  await channel.exchangeDelete({ exchange });
}

function exchangeOf(groupId: string, live: boolean): string {
  const exchange = GROUP_PREFIX + encodeId(groupId);
  return live ? liveOf(exchange) : exchange;
}
