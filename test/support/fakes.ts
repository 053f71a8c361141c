import {
  TransportError,
  type ConnectOptions,
  type Delivery,
  type Platform,
  type Transport,
  type TransportConnection,
  type TransportFailure,
} from '@warren/client';

/** Lets every promise that can settle do so. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A clock that stands still until it is told to go on. */
export class FakeClock {
  #now = 1_000_000;
  #timers = new Map<object, { at: number; callback: () => void }>();

  readonly platform: Pick<Platform, 'now' | 'setTimer' | 'clearTimer'> = {
    now: () => this.#now,
    setTimer: (callback, ms) => {
      const timer = {};
      this.#timers.set(timer, { at: this.#now + ms, callback });
      return timer;
    },
    clearTimer: (timer) => {
      this.#timers.delete(timer as object);
    },
  };

  get now(): number {
    return this.#now;
  }

  get pending(): number {
    return this.#timers.size;
  }

  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const next = [...this.#timers].sort(([, a], [, b]) => a.at - b.at)[0];
      if (next === undefined || next[1].at > end) break;
      this.#timers.delete(next[0]);
      this.#now = Math.max(this.#now, next[1].at);
      next[1].callback();
    }
    this.#now = end;
    await settle();
  }
}

/** A connection that a test holds the other end of. */
export class FakeConnection implements TransportConnection {
  readonly ended: Promise<TransportError>;
  readonly consumers = new Map<string, (delivery: Delivery) => void>();
  readonly settled: string[] = [];
  isOpen = true;
  #end: (error: TransportError) => void = () => undefined;

  constructor(readonly options: ConnectOptions) {
    this.ended = new Promise((resolve) => (this.#end = resolve));
  }

  consume(
    queue: string,
    _prefetch: number,
    onDelivery: (delivery: Delivery) => void,
  ): Promise<void> {
    this.consumers.set(queue, onDelivery);
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.break('lost');
    return Promise.resolve();
  }

  break(failure: TransportFailure): void {
    this.isOpen = false;
    this.#end(new TransportError(failure, 'the test ended it'));
  }

  deliver(queue: string, id: string, data: unknown, redelivered = false): void {
    const end = (how: string) => () => {
      if (this.isOpen) this.settled.push(`${how} ${id}`);
      return this.isOpen;
    };
    this.consumers.get(queue)?.({
      body: new TextEncoder().encode(JSON.stringify(data)),
      properties: { messageId: id, type: 'note', contentType: 'application/json', headers: {} },
      redelivered,
      ack: end('ack'),
      reject: end('reject'),
    });
  }
}

/** A transport whose connections a test can look at; `refuse` makes the next attempts fail. */
export class FakeTransport implements Transport {
  readonly name = 'stomp';
  readonly connections: FakeConnection[] = [];
  readonly refusals: TransportFailure[] = [];

  connect(options: ConnectOptions): Promise<TransportConnection> {
    const refusal = this.refusals.shift();
    if (refusal !== undefined)
      return Promise.reject(new TransportError(refusal, 'the test refused'));
    const connection = new FakeConnection(options);
    this.connections.push(connection);
    return Promise.resolve(connection);
  }

  get last(): FakeConnection {
    const last = this.connections.at(-1);
    if (last === undefined) throw new Error('Nobody has connected yet.');
    return last;
  }
}

/** Answers as `POST /v1/sessions` does; `replies` come before the grants. */
export function fakeApi(userId: string) {
  const requests: { deviceId: string; sessionId?: string }[] = [];
  const replies: { status: number; headers?: Record<string, string> }[] = [];
  const fetch = ((_url: string, init: RequestInit) => {
    requests.push(JSON.parse(init.body as string) as (typeof requests)[number]);
    const reply = replies.shift();
    if (reply !== undefined) {
      return Promise.resolve(
        Response.json({}, { status: reply.status, headers: reply.headers ?? {} }),
      );
    }
    const grant = {
      protocol: 1,
      userId,
      deviceId: 'd',
      sessionId: 'the-session',
      queue: 'mail',
      liveQueue: 'live',
      vhost: 'warren',
      token: `token-${String(requests.length)}`,
      expiresAt: new Date(1_000_000 + 3_600_000 * requests.length).toISOString(),
      resumed: true,
      endpoints: { stomp: ['ws://one', 'ws://two'], amqp: [] },
      prefetch: 10,
    };
    return Promise.resolve(Response.json(grant, { status: 201 }));
  }) as typeof globalThis.fetch;
  return { fetch, requests, replies };
}
