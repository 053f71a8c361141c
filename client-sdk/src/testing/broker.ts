import {
  HEARTBEAT_MS,
  TransportError,
  type ConnectOptions,
  type Delivery,
  type DeliveryProperties,
  type Transport,
  type TransportConnection,
  type TransportFailure,
} from '../transport.js';
import type { FakeClock } from './clock.js';

/** How a message ended. `offline`: it was live, and nobody was connected. */
export type TestOutcome = 'acked' | 'rejected' | 'offline';

/** What a publisher puts in. */
export interface TestMessage {
  body: Uint8Array;
  properties: DeliveryProperties;
  /** For who is connected now; else it waits. */
  live: boolean;
}

interface Entry extends TestMessage {
  redelivered: boolean;
  end: (outcome: TestOutcome) => void;
}

interface Queue {
  waiting: Entry[];
  /** Given out, neither acked nor rejected. */
  unacked: Entry[];
  consumer: Consumer | undefined;
}

interface Consumer {
  connection: FakeConnection;
  prefetch: number;
  onDelivery: (delivery: Delivery) => void;
}

/** The names that the grants of a test bed carry. */
export const TEST_QUEUES = { queued: 'user.test', live: 'live.test' } as const;

/**
 * A broker in memory with one device's two queues: what waits stays, what was not acked when a
 * connection ended comes again, in its order, and a queue has one consumer.
 */
export class FakeBroker implements Transport {
  readonly name = 'stomp';
  /** Every connection that was made, the newest last. */
  readonly connections: FakeConnection[] = [];
  /** What was rejected, the oldest first. */
  readonly deadLetters: TestMessage[] = [];
  /** What the next attempts to connect fail with, one each. */
  readonly refusals: TransportFailure[] = [];
  /** False: nothing gets through. */
  reachable = true;
  readonly #clock: FakeClock;
  readonly #queues: Record<string, Queue> = {
    [TEST_QUEUES.queued]: { waiting: [], unacked: [], consumer: undefined },
    [TEST_QUEUES.live]: { waiting: [], unacked: [], consumer: undefined },
  };

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  /** Messages in the mailbox: waiting, or given out and not acked. */
  get depth(): number {
    const { waiting, unacked } = this.#queue(TEST_QUEUES.queued);
    return waiting.length + unacked.length;
  }

  /** Of those, the ones that were given out and are not acked yet. */
  get unacked(): number {
    return this.#queue(TEST_QUEUES.queued).unacked.length;
  }

  /** The newest connection. @throws {Error} when nobody has connected yet. */
  get connection(): FakeConnection {
    const last = this.connections.at(-1);
    if (last === undefined) throw new Error('Nobody has connected yet.');
    return last;
  }

  connect(options: ConnectOptions): Promise<TransportConnection> {
    const refusal = this.refusals.shift() ?? (this.reachable ? undefined : 'lost');
    if (refusal !== undefined) {
      return Promise.reject(new TransportError(refusal, 'The test refused the connection.'));
    }
    const connection = new FakeConnection(options, this, this.#clock);
    this.connections.push(connection);
    return Promise.resolve(connection);
  }

  /** Puts a message in. @returns how it ended, once it has. */
  enqueue(message: TestMessage): Promise<TestOutcome> {
    const name = message.live ? TEST_QUEUES.live : TEST_QUEUES.queued;
    const queue = this.#queue(name);
    if (message.live && queue.consumer === undefined) return Promise.resolve('offline');
    return new Promise((end) => {
      queue.waiting.push({ ...message, redelivered: false, end });
      this.#pump(name);
    });
  }

  /** @internal */
  consume(name: string, consumer: Consumer): void {
    this.#queue(name).consumer = consumer;
    this.#pump(name);
  }

  /** @internal What a connection leaves behind goes back to its place. */
  release(connection: FakeConnection): void {
    for (const queue of Object.values(this.#queues)) {
      if (queue.consumer?.connection !== connection) continue;
      queue.consumer = undefined;
      for (const entry of queue.unacked) entry.redelivered = true;
      queue.waiting.unshift(...queue.unacked);
      queue.unacked = [];
    }
  }

  #queue(name: string): Queue {
    const queue = this.#queues[name];
    if (queue === undefined) throw new TransportError('cancelled', `There is no queue ${name}.`);
    return queue;
  }

  #pump(name: string): void {
    const queue = this.#queue(name);
    const { consumer } = queue;
    while (consumer?.connection.isOpen === true && queue.unacked.length < consumer.prefetch) {
      const entry = queue.waiting.shift();
      if (entry === undefined) return;
      queue.unacked.push(entry);
      const settleAs = (outcome: 'acked' | 'rejected') => (): boolean => {
        if (!consumer.connection.isOpen) return false;
        const index = queue.unacked.indexOf(entry);
        if (index === -1) throw new Error('A message was settled twice.');
        queue.unacked.splice(index, 1);
        if (outcome === 'rejected') this.deadLetters.push(entry);
        entry.end(outcome);
        this.#pump(name);
        return true;
      };
      const { body, properties, redelivered } = entry;
      consumer.onDelivery({
        body,
        properties,
        redelivered,
        ack: settleAs('acked'),
        reject: settleAs('rejected'),
      });
    }
  }
}

/** One connection to a {@link FakeBroker}. */
export class FakeConnection implements TransportConnection {
  readonly ended: Promise<TransportError>;
  /** What the client connected with. */
  readonly options: ConnectOptions;
  readonly #broker: FakeBroker;
  readonly #clock: FakeClock;
  #end: (error: TransportError) => void = () => undefined;
  #open = true;
  #silent = false;
  #heardAt: number;
  #heartbeat: unknown;

  /** @internal */
  constructor(options: ConnectOptions, broker: FakeBroker, clock: FakeClock) {
    this.options = options;
    this.#broker = broker;
    this.#clock = clock;
    this.#heardAt = clock.now;
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.#beat();
  }

  get isOpen(): boolean {
    return this.#open;
  }

  get lastHeardAt(): number {
    return this.#heardAt;
  }

  consume(
    queue: string,
    prefetch: number,
    onDelivery: (delivery: Delivery) => void,
  ): Promise<void> {
    this.#broker.consume(queue, { connection: this, prefetch, onDelivery });
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.break('lost');
    return Promise.resolve();
  }

  /** Ends it, as a network or a broker would. */
  break(failure: TransportFailure): void {
    if (!this.#open) return;
    this.#open = false;
    this.#clock.platform.clearTimer(this.#heartbeat);
    this.#broker.release(this);
    this.#end(new TransportError(failure, 'The test ended the connection.'));
  }

  /** From now on it looks open, and nothing comes any more: as after a change of networks. */
  silence(): void {
    this.#silent = true;
  }

  #beat(): void {
    if (!this.#silent) this.#heardAt = this.#clock.now;
    this.#heartbeat = this.#clock.platform.setTimer(() => {
      this.#beat();
    }, HEARTBEAT_MS);
  }
}
