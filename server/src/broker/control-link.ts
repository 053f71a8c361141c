import { AMQPChannelError, AMQPConnectionError, Connection, type Channel } from 'rabbitmq-client';
import { endedWithin } from '../ended-within.js';
import { HttpProblem } from '../problem.js';

/** How long the broker may say nothing, and how long one call may take of a broker that is only slow. */
const TIMEOUT_MS = 4000;
const MOST_MS = 20_000;
/** By then the connection that does not answer has been given up for lack of heartbeats, with all that it was asked. */
const LOST_MS = 30_000;
const CLOSE_MS = 2000;
/** A connection that was lost is made anew within a moment, which nobody needs to hear of. */
const MOMENT_MS = 1000;

/**
 * The connection by which the server declares, binds and deletes; not the one that publishes, which a
 * broker with a memory alarm blocks. Heals by itself.
 */
export class ControlLink {
  readonly #connection: Connection;
  /** Not the library's `ready`, which also says no while it gathers what it is about to write. */
  #isOpen = false;
  #lostAt = -Infinity;
  /** When the broker last did what it was asked for, by `performance.now()`. */
  #answeredAt = 0;
  /** What was asked on each channel and has not been answered. */
  readonly #underWay = new WeakMap<Channel, Set<Promise<unknown>>>();

  constructor(amqpUrl: string, onError: (error: unknown) => void) {
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
    this.#connection.on('connection', () => {
      this.#isOpen = true;
    });
    // Told when an open connection is lost, and of the first attempt in vain.
    this.#connection.on('error', (error) => {
      this.#isOpen = false;
      this.#lostAt = performance.now();
      onError(error);
    });
  }

  /** Whether the broker can be reached now. */
  get isConnected(): boolean {
    return this.#isOpen;
  }

  /** @throws {HttpProblem} `broker_unavailable`, unless the connection was lost a moment ago and is back. */
  async requireOpen(): Promise<void> {
    const leftMs = this.#lostAt + MOMENT_MS - performance.now();
    if (this.#isOpen || (leftMs > 0 && (await this.ready(leftMs)))) return;
    throw new HttpProblem('broker_unavailable');
  }

  /** Calls `listener` after each time that the connection was made. */
  onConnected(listener: () => void): void {
    this.#connection.on('connection', listener);
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
   * Each answer that the broker gives on it counts as a sign of life for {@link guard}. Waits for no broker that is
   * away: work in many steps, which has lost its connection, ends with the next one.
   * @throws {HttpProblem} `broker_unavailable`
   */
  async openChannel(): Promise<Channel> {
    if (!this.#isOpen) throw new HttpProblem('broker_unavailable');
    const channel = await this.#connection.acquire();
    const noteAnswer = (): void => {
      this.#answeredAt = performance.now();
    };
    const noteRefusal = (error: unknown): void => {
      if (error instanceof AMQPChannelError) noteAnswer();
    };
    noteAnswer();
    const underWay = new Set<Promise<unknown>>();
    const proxy = new Proxy(channel, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          const result: unknown = Reflect.apply(value, target, args);
          if (result instanceof Promise) {
            underWay.add(result);
            const ended = (): boolean => underWay.delete(result);
            result.then(noteAnswer, noteRefusal).finally(ended);
          }
          return result;
        };
      },
    });
    this.#underWay.set(proxy, underWay);
    return proxy;
  }

  /** Closes a channel once all that was asked on it has been answered. */
  async retire(channel: Channel): Promise<void> {
    const underWay = this.#underWay.get(channel) ?? new Set();
    while (underWay.size > 0) await Promise.allSettled(underWay);
    await channel.close().catch(() => undefined);
  }

  /**
   * Ends when the broker has done nothing of what it was asked for in 4 s, or after 20 s; and turns what the
   * broker does into one error that a caller can act on. Work that was not done in time goes on: the error
   * says until when (see {@link HttpProblem.ended}).
   * @throws {HttpProblem} `broker_unavailable`
   */
  async guard<Result>(work: () => Promise<Result>): Promise<Result> {
    await this.requireOpen();
    const result = work();
    if (!(await this.#isInTime(result))) {
      const ended = endedWithin(result, LOST_MS);
      throw new HttpProblem('broker_unavailable', 'The broker did not answer in time.', { ended });
    }
    try {
      return await result;
    } catch (error) {
      if (isNotFound(error) || isChannelClosed(error) || error instanceof AMQPConnectionError) {
        throw new HttpProblem('broker_unavailable', undefined, { cause: error });
      }
      throw error;
    }
  }

  /** A broker that works through what many have asked for is not one that does not answer. */
  async #isInTime(work: Promise<unknown>): Promise<boolean> {
    const begunAt = performance.now();
    for (;;) {
      const endsAt = Math.min(Math.max(begunAt, this.#answeredAt) + TIMEOUT_MS, begunAt + MOST_MS);
      const leftMs = endsAt - performance.now();
      if (leftMs <= 0) return false;
      if (await endedWithin(work, leftMs)) return true;
    }
  }

  async close(): Promise<void> {
    // A broker that does not answer must not hold up the shutdown.
    await endedWithin(this.#connection.close(), CLOSE_MS);
    this.#connection.unsafeDestroy();
  }
}

/** So many channels at most, used in turn. One that the broker has closed is replaced. */
export class ChannelPool {
  readonly #link: ControlLink;
  readonly #channels: (Promise<Channel> | undefined)[];
  #turn = 0;

  constructor(link: ControlLink, size: number) {
    this.#link = link;
    this.#channels = new Array<undefined>(size).fill(undefined);
  }

  async next(): Promise<Channel> {
    this.#turn = (this.#turn + 1) % this.#channels.length;
    const index = this.#turn;
    const known = this.#channels[index];
    if (known !== undefined) {
      const channel = await known.catch(() => undefined);
      if (channel?.active === true) return channel;
      // Of all who found it closed, the first opens the next one.
      const next = this.#channels[index];
      if (next !== undefined && next !== known) return next;
    }
    const opening = this.#link.openChannel();
    this.#channels[index] = opening;
    return opening;
  }

  /** It is used for nothing more, and closed once what is under way on it has ended: get one for each step. */
  retire(channel: Channel): void {
    void this.#link.retire(channel);
    for (const [index, opening] of this.#channels.entries()) {
      void opening?.then(
        (known) => {
          if (known === channel && this.#channels[index] === opening) {
            this.#channels[index] = undefined;
          }
        },
        () => undefined,
      );
    }
  }

  close(): void {
    for (const opening of this.#channels) {
      opening?.then((channel) => channel.close()).catch(() => undefined);
    }
  }
}

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof AMQPChannelError && error.code === code;

/** A queue or an exchange is missing, which closes the channel. */
export const isNotFound = (error: unknown): boolean => hasCode(error, 'NOT_FOUND');

/**
 * There is no such queue, which closes the channel. Not one that cannot be reached: because its node is down, or
 * since it has crashed, which RabbitMQ says by the same code.
 */
export const isQueueMissing = (error: unknown): boolean =>
  isNotFound(error) && (error as Error).message.includes('no queue');

/** The channel was closed by what somebody else did on it. */
export const isChannelClosed = (error: unknown): boolean => hasCode(error, 'CH_CLOSE');

/**
 * RabbitMQ 4.3.6 fails so, and closes the connection, when a queue is bound that is just being deleted, as one that
 * has expired is.
 */
export const isInternalError = ({ cause }: Error): boolean =>
  cause instanceof AMQPConnectionError && cause.code === 'INTERNAL_ERROR';

/** Of a binding: that its exchange is missing, rather than its queue. */
export const isExchangeMissing = (error: unknown): boolean =>
  isNotFound(error) && (error as Error).message.includes('no exchange');
