import { topology, type TopologyNames } from '@warren/rabbitmq';
import type { MailboxType } from '../storage/schema.js';
import { allEnded } from '../ended-within.js';
import { ChannelPool, isNotFound, type ControlLink } from './control-link.js';
import type { DeadQueues } from './dead-queues.js';
import { QueueProbes, type QueueStat } from './queue-probes.js';

export interface ProvisionerOptions {
  link: ControlLink;
  names: TopologyNames;
  deadQueues: DeadQueues;
  onError: (error: unknown) => void;
}

/** A queue, and what leads to it. */
export interface QueueSpec {
  queue: string;
  type: MailboxType;
  /** On the direct exchange. */
  keys: string[];
  /** That of broadcasts which it is bound to. */
  fanout: string;
}

export interface EnsureOptions {
  isNew?: boolean;
  isBound?: boolean;
  asksLive?: boolean;
  onMissing?: () => Promise<void>;
}

/**
 * The only arguments that a user's queue has; limits stand in policies, which can be changed. A classic one
 * does not name its type, as those that are older than the choice do not.
 */
const argumentsOf = (type: MailboxType): Record<string, string | boolean> => ({
  'x-single-active-consumer': true,
  ...(type === 'quorum' && { 'x-queue-type': 'quorum' }),
});
/** Declares and binds of several sessions overlap; more channels than this gain nothing. */
const CHANNELS = 4;
/** Shorter than a send may take. */
const READY_MS = 4000;
/** More than a client has in hand at once, as a rule; fewer than would fill this process's memory. */
const MOST_IN_HAND = 500;

/** Declares, binds and deletes the queues of users. Each call ends as {@link ControlLink.guard} does. */
export class Provisioner {
  readonly #link: ControlLink;
  readonly #names: TopologyNames;
  readonly #deadQueues: DeadQueues;
  readonly #pool: ChannelPool;
  readonly #probes: QueueProbes;
  #topologyReady: Promise<void> | undefined;

  constructor({ link, names, deadQueues, onError }: ProvisionerOptions) {
    this.#link = link;
    this.#deadQueues = deadQueues;
    this.#names = names;
    this.#pool = new ChannelPool(link, CHANNELS);
    this.#probes = new QueueProbes({ link, pool: this.#pool, deadQueues, atOnce: CHANNELS });
    link.onConnected(() => {
      // The broker may be another one than before, or may have lost its data.
      this.#topologyReady = undefined;
      this.#ensureTopology().catch(onError);
    });
  }

  /** Whether the broker can be reached now. */
  get isConnected(): boolean {
    return this.#link.isConnected;
  }

  /**
   * Makes sure that both queues are there and bound, and tells which are new ones.
   * @param isNew whether it is known that there are none yet: asking for a queue that is not there costs
   *   a channel.
   * @param isBound whether the mailbox, if it exists, is bound to the exchange of broadcasts already.
   * @param asksLive whether it matters if the live queue is new.
   * @param onMissing called before a mailbox is made, so that whatever is to be remembered of it is.
   */
  async ensureQueues(
    mail: QueueSpec,
    live: QueueSpec,
    { isNew = false, isBound = false, asksLive = false, onMissing }: EnsureOptions = {},
  ): Promise<{ created: boolean; liveCreated: boolean }> {
    const isMissing = async ({ queue }: QueueSpec): Promise<boolean> =>
      isNew || (await this.#probes.stat(queue)) === undefined;
    return this.#guard(async () => {
      await this.#ensureTopology();
      const [created, liveCreated] = await Promise.all([
        isMissing(mail),
        asksLive ? isMissing(live) : isNew,
      ]);
      if (created) await onMissing?.();
      // Also what exists is bound again: a server that was killed between declaring and binding, or
      // somebody who has deleted the exchange, leaves a mailbox that nothing reaches.
      await allEnded([this.#declare(mail, isBound && !created), this.#declare(live)]);
      return { created, liveCreated };
    });
  }

  /**
   * Resolves when all is there that lives on the broker before any user does; waits for a broker that is
   * away. @throws {HttpProblem} `broker_unavailable`
   */
  async ready(): Promise<void> {
    if (!this.#link.isConnected) await this.#link.ready(READY_MS);
    await this.#guard(() => this.#ensureTopology());
  }

  /** Opens a channel for a moment, so that whoever watches the broker's events knows whose this is. */
  async showItself(): Promise<void> {
    const channel = await this.#link.openChannel();
    await channel.close();
  }

  /** Whether there is such a queue. Asking counts as a use of it. */
  async exists(queue: string): Promise<boolean> {
    return (await this.consumers(queue)) !== undefined;
  }

  /** How many consume a queue; undefined when there is none. Asking counts as a use of it. */
  async consumers(queue: string): Promise<number | undefined> {
    return (await this.stat(queue))?.consumers;
  }

  /** Undefined when there is no such queue, or it is dead. Asking counts as a use of a classic one. */
  async stat(queue: string): Promise<QueueStat | undefined> {
    return this.#guard(() => this.#probes.stat(queue));
  }

  /**
   * Whether nothing is in a queue that nothing leads to any more, neither waiting nor with a consumer. Asked by
   * consuming it for a moment. A quorum queue that does not answer in 250 ms is said to have no messages and no
   * consumers (rabbit_quorum_queue:stat), and one that does may lag behind its log; but a consumer takes its
   * place in the log, and must be counted. Ask where a look says that it is empty: a quorum queue puts what is
   * given back behind all else that was, so that the order stays only if everything was handed out at once.
   */
  async isDrained(queue: string): Promise<boolean> {
    return this.#guard(async () => {
      const channel = await this.#link.openChannel();
      try {
        await channel.basicQos({ prefetchCount: MOST_IN_HAND });
        const handed: unknown[] = [];
        await channel.basicConsume({ queue }, (message) => handed.push(message));
        // Of two consumers the other one may have messages in hand.
        const stat = await this.#probes.stat(queue);
        return handed.length === 0 && stat?.ready === 0 && stat.consumers === 1;
      } finally {
        // Gives back what it was handed.
        await channel.close();
      }
    });
  }

  /** Takes these bindings off a queue. What waits in it stays; bindings that are not there are no error. */
  async unbind(queue: string, bindings: { exchange: string; routingKey: string }[]): Promise<void> {
    await this.#guard(async () => {
      for (const binding of bindings) {
        const channel = await this.#pool.next();
        await channel.queueUnbind({ queue, ...binding });
      }
    });
  }

  /**
   * Makes sure that a queue is there and bound; asks the same of an existing one again and again.
   * @returns how many messages wait in it.
   */
  async ensureQueue(spec: QueueSpec): Promise<number> {
    return this.#guard(async () => {
      await this.#ensureTopology();
      return this.#declare(spec);
    });
  }

  /** Throws away what waits in a queue. @returns how many messages. */
  async purge(queue: string): Promise<number> {
    return this.#guard(async () => {
      const channel = await this.#pool.next();
      const purged = this.#probes.ask(queue, channel, () => channel.queuePurge({ queue }));
      return (await purged).messageCount;
    });
  }

  /** Deletes queues with all that waits in them, and cancels their consumers. */
  async deleteQueues(queues: string[]): Promise<void> {
    await this.#guard(async () => {
      await allEnded(queues.map((queue) => this.#delete(queue)));
    });
  }

  close(): void {
    this.#probes.close();
    this.#pool.close();
  }

  async #declare({ queue, type, keys, fanout }: QueueSpec, isBound = false): Promise<number> {
    const channel = await this.#pool.next();
    const options = { queue, durable: true, arguments: argumentsOf(type) };
    const declared = this.#probes.ask(queue, channel, () => channel.queueDeclare(options));
    const { messageCount } = await declared;
    for (const routingKey of keys) {
      await this.#bind({ queue, exchange: this.#names.exchange, routingKey });
    }
    if (!isBound) await this.#bind({ queue, exchange: fanout });
    return messageCount;
  }

  /** Each on the channel whose turn it is: one on which a queue is silent is used for nothing more. */
  async #bind(binding: { queue: string; exchange: string; routingKey?: string }): Promise<void> {
    const channel = await this.#pool.next();
    await channel.queueBind(binding);
  }

  /** A dead one is deleted when the broker can do it, which nobody waits for. */
  async #delete(queue: string): Promise<void> {
    if (!this.#deadQueues.has(queue)) {
      const channel = await this.#pool.next();
      await this.#probes.ask(queue, channel, () => channel.queueDelete({ queue }));
      return;
    }
    const channel = await this.#link.openChannel();
    // 404 after a minute, which closes the channel, from versions that cannot.
    void channel
      .queueDelete({ queue })
      .then(() => channel.close())
      .catch(() => undefined);
  }

  #ensureTopology(): Promise<void> {
    this.#topologyReady ??= this.#declareTopology().catch((error: unknown) => {
      this.#topologyReady = undefined;
      throw error;
    });
    return this.#topologyReady;
  }

  async #declareTopology(): Promise<void> {
    const { exchanges, queues, bindings } = topology(this.#names);
    // Some hundreds of each, which one channel would do one after the other.
    await allEnded(
      exchanges.map(async ({ name, type }) => {
        const channel = await this.#pool.next();
        await channel.exchangeDeclare({ exchange: name, type, durable: true });
      }),
    );
    await allEnded(
      queues.map(async ({ name, arguments: args }) => {
        const channel = await this.#pool.next();
        await channel.queueDeclare({ queue: name, durable: true, arguments: args });
      }),
    );
    await allEnded(
      bindings.map(async ({ source, destination, destination_type: kind, routing_key: key }) => {
        const channel = await this.#pool.next();
        if (kind === 'queue') {
          await channel.queueBind({ queue: destination, exchange: source, routingKey: key });
        } else await channel.exchangeBind({ destination, source, routingKey: key });
      }),
    );
  }

  async #guard<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.#link.guard(async () => {
      try {
        return await work();
      } catch (error) {
        // Somebody has deleted the exchange: it is declared again before the next attempt.
        if (isNotFound(error)) this.#topologyReady = undefined;
        throw error;
      }
    });
  }
}
