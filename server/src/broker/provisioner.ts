import pLimit from 'p-limit';
import type { Channel } from 'rabbitmq-client';
import { topology, type TopologyNames } from '@warren/rabbitmq';
import { ChannelPool, isNotFound, type ControlLink } from './control-link.js';

export interface ProvisionerOptions {
  link: ControlLink;
  names: TopologyNames;
  onError: (error: unknown) => void;
}

/** A queue, and what leads to it. */
export interface QueueSpec {
  queue: string;
  /** On the direct exchange. */
  keys: string[];
  /** The exchange of broadcasts. */
  fanout: string;
}

export interface EnsureOptions {
  isNew?: boolean;
  isBound?: boolean;
  asksLive?: boolean;
  onMissing?: () => Promise<void>;
}

/** The only argument that a user's queue has; limits stand in policies, which can be changed. */
const QUEUE_ARGUMENTS = { 'x-single-active-consumer': true };
/** Declares and binds of several sessions overlap; more channels than this gain nothing. */
const CHANNELS = 4;
/** Shorter than a send may take. */
const READY_MS = 4000;

/** Declares, binds and deletes the queues of users. Each call ends within 4 s. */
export class Provisioner {
  readonly #link: ControlLink;
  readonly #names: TopologyNames;
  readonly #pool: ChannelPool;
  /** Channels to ask on whether a queue exists; a "no" closes the one that was asked on. */
  readonly #probes: Channel[] = [];
  readonly #probeLimit = pLimit(CHANNELS);
  #topologyReady: Promise<void> | undefined;

  constructor({ link, names, onError }: ProvisionerOptions) {
    this.#link = link;
    this.#names = names;
    this.#pool = new ChannelPool(link, CHANNELS);
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
      isNew || (await this.#consumers(queue)) === undefined;
    return this.#guard(async () => {
      await this.#ensureTopology();
      const [created, liveCreated] = await Promise.all([
        isMissing(mail),
        asksLive ? isMissing(live) : isNew,
      ]);
      if (created) await onMissing?.();
      // Also what exists is bound again: a server that was killed between declaring and binding, or
      // somebody who has deleted the exchange, leaves a mailbox that nothing reaches.
      await Promise.all([this.#declare(mail, isBound && !created), this.#declare(live)]);
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
    return this.#guard(() => this.#consumers(queue));
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
      const { messageCount } = await (await this.#pool.next()).queuePurge({ queue });
      return messageCount;
    });
  }

  /** Deletes queues with all that waits in them, and cancels their consumers. */
  async deleteQueues(queues: string[]): Promise<void> {
    await this.#guard(async () => {
      await Promise.all(
        queues.map(async (queue) => (await this.#pool.next()).queueDelete({ queue })),
      );
    });
  }

  close(): void {
    for (const probe of this.#probes) void probe.close();
    this.#pool.close();
  }

  async #declare({ queue, keys, fanout }: QueueSpec, isBound = false): Promise<number> {
    const channel = await this.#pool.next();
    const options = { queue, durable: true, arguments: QUEUE_ARGUMENTS };
    const { messageCount } = await channel.queueDeclare(options);
    for (const routingKey of keys) {
      await channel.queueBind({ queue, exchange: this.#names.exchange, routingKey });
    }
    if (!isBound) await channel.queueBind({ queue, exchange: fanout });
    return messageCount;
  }

  /** A passive declare of a queue that is missing closes its channel, so it has that to itself. */
  #consumers(queue: string): Promise<number | undefined> {
    return this.#probeLimit(async () => {
      let probe = this.#probes.pop();
      if (probe?.active !== true) probe = await this.#link.openChannel();
      try {
        const { consumerCount } = await probe.queueDeclare({ queue, passive: true });
        this.#probes.push(probe);
        return consumerCount;
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    });
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
    const channel = await this.#pool.next();
    for (const { name, type } of exchanges) {
      await channel.exchangeDeclare({ exchange: name, type, durable: true });
    }
    for (const { name, arguments: args } of queues) {
      await channel.queueDeclare({ queue: name, durable: true, arguments: args });
    }
    for (const { source, destination, destination_type: kind, routing_key: key } of bindings) {
      if (kind === 'queue') {
        await channel.queueBind({ queue: destination, exchange: source, routingKey: key });
      } else await channel.exchangeBind({ destination, source, routingKey: key });
    }
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
