import { EventEmitter, once } from 'node:events';
import type { Channel, Message } from 'amqplib';
import type { Logger } from 'pino';
import { endedWithin } from '../ended-within.js';
import {
  aborted,
  delayAfter,
  LastingConnection,
  type LiveConnection,
} from './lasting-connection.js';
import { Prefetch, type InHand } from './prefetch.js';
import { removeUnreadable } from './unreadable.js';

export interface Subscription {
  queue: string;
  /** Makes the queue and its bindings, on each new channel. */
  declare: (channel: Channel) => Promise<void>;
  /** How many messages of a usual size are in hand at once. */
  prefetch: number;
  /**
   * Acked when it resolves; when it rejects, the message is given back, a moment later. The signal aborts when what
   * has not begun is not to.
   */
  take: (message: Message, signal: AbortSignal) => Promise<void>;
  /** Called when a message is gone that the broker could hand out to nobody. */
  onUnreadable?: () => Promise<void>;
}

export interface ConsumersOptions {
  amqpUrl: string;
  /** What the connection is called on the broker. */
  connectionName: string;
  logger: Logger;
}

/** Before a message is given back, in milliseconds. */
const REQUEUE_MS = 1000;
const CONNECT_MS = 4000;
const CLOSE_MS = 5000;

/** Consumes queues by one connection, each by a channel of its own, and again whenever one of them is lost. */
export class Consumers {
  readonly #amqpUrl: string;
  readonly #connection: LastingConnection;
  readonly #logger: Logger;
  readonly #subscriptions = new Map<
    Subscription,
    { stop: AbortController; running: Promise<void> }
  >();
  readonly #underWay = new Set<Promise<void>>();
  readonly #progress = new EventEmitter<{ live: [LiveConnection] }>();
  #live: LiveConnection | undefined;

  constructor({ amqpUrl, connectionName, logger }: ConsumersOptions) {
    this.#amqpUrl = amqpUrl;
    this.#logger = logger;
    this.#connection = new LastingConnection({
      amqpUrl,
      connectionName,
      use: (live) => this.#use(live),
      heal: (signal) => this.#heal(signal),
      onError: (error) => {
        logger.warn({ err: error }, `the connection "${connectionName}" had an error`);
      },
    });
  }

  add(subscription: Subscription): void {
    this.#subscriptions.set(subscription, {
      stop: new AbortController(),
      running: Promise.resolve(),
    });
    if (this.#live !== undefined) this.#start(this.#live, subscription);
  }

  /** What it has in hand goes back. When it resolves, its queue has one consumer less. */
  async remove(subscription: Subscription): Promise<void> {
    const known = this.#subscriptions.get(subscription);
    this.#subscriptions.delete(subscription);
    known?.stop.abort();
    await known?.running;
  }

  /** @throws {Error} when there is no connection within 4 s, or it is lost. */
  async withChannel<Result>(work: (channel: Channel) => Promise<Result>): Promise<Result> {
    const live = this.#live ?? (await this.#nextLive());
    const channel = await live.race(live.connection.createChannel());
    channel.on('error', () => undefined);
    try {
      return await live.race(work(channel));
    } finally {
      await live.race(channel.close()).catch(() => undefined);
    }
  }

  /** Lets what is under way end, for five seconds at most; the rest stays in its queues. */
  async close(): Promise<void> {
    await this.#connection.close();
  }

  async #nextLive(): Promise<LiveConnection> {
    try {
      const signal = AbortSignal.timeout(CONNECT_MS);
      const [live] = (await once(this.#progress, 'live', { signal })) as [LiveConnection];
      return live;
    } catch (cause) {
      throw new Error('The broker could not be reached in time.', { cause });
    }
  }

  /** It is not known in which of the queues it is. */
  async #heal(signal: AbortSignal): Promise<void> {
    const [amqpUrl, logger] = [this.#amqpUrl, this.#logger];
    for (const { queue, prefetch: most, onUnreadable, ...rest } of this.#subscriptions.keys()) {
      const take = (message: Message): Promise<void> => rest.take(message, signal);
      if (!(await removeUnreadable({ amqpUrl, queue, most, take, logger }))) continue;
      await onUnreadable?.().catch((error: unknown) => {
        logger.warn({ err: error, queue }, 'that a message could not be read was not told');
      });
    }
  }

  async #use(live: LiveConnection): Promise<void> {
    this.#live = live;
    this.#progress.emit('live', live);
    for (const subscription of this.#subscriptions.keys()) this.#start(live, subscription);
    await aborted(live.signal);
    this.#live = undefined;
    if (!live.isLost) await endedWithin(Promise.all(this.#underWay), CLOSE_MS);
  }

  #start(live: LiveConnection, subscription: Subscription): void {
    const known = this.#subscriptions.get(subscription);
    if (known !== undefined)
      known.running = this.#keepConsuming(live, subscription, known.stop.signal);
  }

  /** A queue that was deleted, or may not be declared, is no concern of the others. */
  async #keepConsuming(
    live: LiveConnection,
    subscription: Subscription,
    stopped: AbortSignal,
  ): Promise<void> {
    const { queue } = subscription;
    const prefetch = new Prefetch(subscription.prefetch);
    const over = AbortSignal.any([live.signal, stopped]);
    let failures = 0;
    const isWanted = (): boolean => !stopped.aborted && !live.isOver();
    while (isWanted()) {
      try {
        const inHand = prefetch.begin();
        await this.#consume(live, subscription, { over, inHand }, () => {
          failures = 0;
        });
      } catch (error) {
        if (!isWanted()) return;
        if (failures === 0) this.#logger.warn({ err: error, queue }, 'a queue is not consumed');
        await aborted(over, delayAfter(failures++, error));
      }
    }
  }

  /**
   * Until the channel ends, which it throws; it is not wanted any more, or the connection ends; or another number of
   * messages is to be in hand.
   */
  async #consume(
    live: LiveConnection,
    subscription: Subscription,
    { over, inHand }: { over: AbortSignal; inHand: InHand },
    onConsuming: () => void,
  ): Promise<void> {
    const channel = await live.race(live.connection.createChannel());
    const ended = new Promise<never>((_, reject) => {
      channel.on('error', reject);
      channel.on('close', () => {
        reject(new Error('The channel was closed.'));
      });
    });
    ended.catch(() => undefined);
    // Else the connection would remember each channel that was lost.
    const gone = new AbortController();
    const onMessage = (message: Message | null): void => {
      if (message === null) channel.emit('error', new Error('The queue was deleted.'));
      // What is not taken any more goes back when the channel ends.
      else if (!live.isOver() && inHand.take(message.content.length))
        this.#track(take({ live, channel, inHand }, subscription, message));
    };
    try {
      const subscribed = subscribe(channel, subscription, inHand.count, onMessage);
      await live.race(Promise.race([subscribed, ended]));
      live.noteUse();
      onConsuming();
      await Promise.race([ended, aborted(AbortSignal.any([over, inHand.drained, gone.signal]))]);
    } finally {
      gone.abort();
      // What is under way when the connection ends is acked before it does.
      if (!live.isOver()) await live.race(channel.close()).catch(() => undefined);
    }
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => this.#underWay.delete(tracked));
    this.#underWay.add(tracked);
  }
}

async function subscribe(
  channel: Channel,
  { queue, declare }: Pick<Subscription, 'queue' | 'declare'>,
  prefetch: number,
  onMessage: (message: Message | null) => void,
): Promise<void> {
  await declare(channel);
  await channel.prefetch(prefetch);
  await channel.consume(queue, onMessage);
}

async function take(
  { live, channel, inHand }: { live: LiveConnection; channel: Channel; inHand: InHand },
  subscription: Subscription,
  message: Message,
): Promise<void> {
  let isDone = true;
  try {
    await subscription.take(message, live.signal);
  } catch {
    await aborted(live.signal, REQUEUE_MS);
    isDone = false;
  }
  inHand.release(message.content.length);
  if (live.isLost) return;
  try {
    if (isDone) channel.ack(message);
    else channel.nack(message, false, true);
  } catch {
    // The channel is closed, so that it comes again.
  }
}
