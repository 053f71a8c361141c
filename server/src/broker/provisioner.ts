import pLimit from 'p-limit';
import { AMQPChannelError, AMQPConnectionError, Connection, type Channel } from 'rabbitmq-client';
import { topology, type TopologyNames } from '@warren/rabbitmq';
import { endedWithin } from '../ended-within.js';
import { HttpProblem } from '../problem.js';

export interface ProvisionerOptions {
  amqpUrl: string;
  names: TopologyNames;
  onError: (error: Error) => void;
}

/** A queue and the keys that lead to it. */
export interface QueueSpec {
  queue: string;
  keys: string[];
}

/** The only argument that a user's queue has; limits stand in policies, which can be changed. */
const QUEUE_ARGUMENTS = { 'x-single-active-consumer': true };
/** Declares and binds of several sessions overlap; more channels than this gain nothing. */
const CHANNELS = 4;
const TIMEOUT_MS = 4000;
const CLOSE_MS = 2000;

/**
 * Declares, binds and deletes the queues of users, on a connection of its own: a broker with a memory
 * alarm blocks the connections that publish. Heals by itself; each call ends within 4 s.
 */
export class Provisioner {
  readonly #connection: Connection;
  readonly #names: TopologyNames;
  readonly #onError: (error: Error) => void;
  readonly #channels: (Promise<Channel> | undefined)[] = [];
  #turn = 0;
  /** Channels to ask on whether a queue exists; a "no" closes the one that was asked on. */
  readonly #probes: Channel[] = [];
  readonly #probeLimit = pLimit(CHANNELS);
  #topologyReady: Promise<void> | undefined;

  constructor({ amqpUrl, names, onError }: ProvisionerOptions) {
    this.#names = names;
    this.#onError = onError;
    this.#connection = new Connection({
      url: amqpUrl,
      connectionName: 'warren provisioner',
      heartbeat: 10,
      frameMax: 131_072,
      retryLow: 100,
      retryHigh: 3000,
      connectionTimeout: 5000,
      acquireTimeout: TIMEOUT_MS,
      noDelay: true,
    });
    this.#connection.on('error', onError);
    this.#connection.on('connection', () => {
      // The broker may be another one than before, or may have lost its data.
      this.#topologyReady = undefined;
      this.#ensureTopology().catch(this.#onError);
    });
  }

  /** Whether the broker can be reached now. */
  get isConnected(): boolean {
    return this.#connection.ready;
  }

  /** Resolves to whether the broker was reached within `timeoutMs`. */
  async ready(timeoutMs: number): Promise<boolean> {
    try {
      await this.#connection.onConnect(timeoutMs, true);
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Makes sure that both queues are there and bound. `created` says that the mailbox is a new one.
   * @param isNew whether it is known that there is none yet.
   */
  async ensureQueues(
    mail: QueueSpec,
    live: QueueSpec,
    isNew = false,
  ): Promise<{ created: boolean }> {
    return this.#guard(async () => {
      await this.#ensureTopology();
      // Asking for a queue that is not there costs a channel.
      const created = isNew || (await this.#consumers(mail.queue)) === undefined;
      // Also what exists is bound again: a server that was killed between declaring and binding, or
      // somebody who has deleted the exchange, leaves a mailbox that nothing reaches.
      await Promise.all([mail, live].map((spec) => this.#declare(spec)));
      return { created };
    });
  }

  /** Opens a channel for a moment, so that whoever watches the broker's events knows whose this is. */
  async showItself(): Promise<void> {
    const channel = await this.#connection.acquire();
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

  /** Makes sure that a queue is there and bound; asks the same of an existing one again and again. */
  async ensureQueue(spec: QueueSpec): Promise<void> {
    await this.#guard(async () => {
      await this.#ensureTopology();
      await this.#declare(spec);
    });
  }

  /** Deletes queues with all that waits in them, and cancels their consumers. */
  async deleteQueues(queues: string[]): Promise<void> {
    await this.#guard(async () => {
      await Promise.all(
        queues.map(async (queue) => (await this.#channel()).queueDelete({ queue })),
      );
    });
  }

  async close(): Promise<void> {
    for (const probe of this.#probes) void probe.close();
    for (const opening of this.#channels) {
      opening?.then((channel) => channel.close()).catch(() => undefined);
    }
    // A broker that does not answer must not hold up the shutdown.
    await endedWithin(this.#connection.close(), CLOSE_MS);
    this.#connection.unsafeDestroy();
  }

  async #declare({ queue, keys }: QueueSpec): Promise<void> {
    const channel = await this.#channel();
    await channel.queueDeclare({ queue, durable: true, arguments: QUEUE_ARGUMENTS });
    for (const routingKey of keys) {
      await channel.queueBind({ queue, exchange: this.#names.exchange, routingKey });
    }
  }

  /** A passive declare of a queue that is missing closes its channel, so it has that to itself. */
  #consumers(queue: string): Promise<number | undefined> {
    return this.#probeLimit(async () => {
      let probe = this.#probes.pop();
      if (probe?.active !== true) probe = await this.#connection.acquire();
      try {
        const { consumerCount } = await probe.queueDeclare({ queue, passive: true });
        this.#probes.push(probe);
        return consumerCount;
      } catch (error) {
        if (isChannelError(error, 'NOT_FOUND')) return undefined;
        throw error;
      }
    });
  }

  async #channel(): Promise<Channel> {
    this.#turn = (this.#turn + 1) % CHANNELS;
    const index = this.#turn;
    const known = this.#channels[index];
    if (known !== undefined) {
      const channel = await known.catch(() => undefined);
      if (channel?.active === true) return channel;
      // Of all who found it closed, the first opens the next one.
      const next = this.#channels[index];
      if (next !== undefined && next !== known) return next;
    }
    const opening = this.#connection.acquire();
    this.#channels[index] = opening;
    return opening;
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
    const channel = await this.#channel();
    for (const { name, type } of exchanges) {
      await channel.exchangeDeclare({ exchange: name, type, durable: true });
    }
    for (const { name } of queues) await channel.queueDeclare({ queue: name, durable: true });
    for (const { source, destination, routing_key: routingKey } of bindings) {
      await channel.queueBind({ queue: destination, exchange: source, routingKey });
    }
  }

  /** Ends in time, and turns what the broker does into one error that a caller can act on. */
  async #guard<Result>(work: () => Promise<Result>): Promise<Result> {
    if (!this.#connection.ready) throw new HttpProblem('broker_unavailable');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new HttpProblem('broker_unavailable', 'The broker did not answer in time.'));
      }, TIMEOUT_MS);
    });
    try {
      return await Promise.race([work(), late]);
    } catch (error) {
      // Somebody has deleted the exchange: it is declared again before the next attempt.
      if (isChannelError(error, 'NOT_FOUND')) this.#topologyReady = undefined;
      else if (!isChannelError(error, 'CH_CLOSE') && !(error instanceof AMQPConnectionError))
        throw error;
      throw new HttpProblem('broker_unavailable', undefined, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }
}

const isChannelError = (error: unknown, code: string): boolean =>
  error instanceof AMQPChannelError && error.code === code;
