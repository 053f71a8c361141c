/**
 * For an application's own tests: a client without a broker or a server, put to sleep and woken at will. Begin at {@link TestBed}.
 *
 * @module @warren/client/testing
 */
import type { HistoryItem, RecoveryReply, SessionGrant } from '@warren/protocol';
import type { ClientOptions } from '../options.js';
import type { ClientStorage } from '../platform/platform.js';
import { FakeApp } from './app.js';
import { FakeBroker, TEST_QUEUES, type TestMessage, type TestOutcome } from './broker.js';
import { FakeClock } from './clock.js';
import { toBytes } from '../utf8.js';

export { FakeApp } from './app.js';
export { FakeBroker, FakeConnection, type TestMessage, type TestOutcome } from './broker.js';
export { FakeClock, settle } from './clock.js';

/** What a message has beside its type and data. */
export interface TestDelivery {
  /** Default: a new one. */
  id?: string;
  /** Default `queued`. */
  delivery?: 'queued' | 'live';
  /** Default: none. */
  correlationId?: string;
  /** `x-…` headers. Default: none. */
  headers?: Record<string, string>;
}

/** A message that the history has. */
export interface TestStored {
  type: string;
  data: unknown;
  /** Default: a new one. */
  id?: string;
}

/** A request for a session that the bed has answered. */
export interface TestSessionRequest {
  method: string;
  token: string;
  deviceId: string | undefined;
  sessionId: string | undefined;
  /** Whether the device says that it has handled messages before. */
  hasHandled: boolean;
  /** Whether the device's id is kept nowhere. */
  passing: boolean;
}

/** Something that the client has told or asked the server, beside its session. */
export interface TestCall {
  /** `/v1/me/receipts`, for one. */
  path: string;
  body: Record<string, unknown>;
  /** Whether it outlives the page. */
  keepalive: boolean;
}

export interface TestBedOptions {
  /** Default `alice`. */
  userId?: string;
  /** Default: a new one for each bed, so that each has a client of its own. */
  deviceId?: string;
  /** What the client draws its jitter from. Default: always 0.5. */
  random?: () => number;
}

let beds = 0;

/**
 * All that a client needs, in memory: an app that the test puts to sleep, a clock that it winds, a
 * broker that it breaks. The client itself is the real one.
 * @example
 * const bed = new TestBed();
 * const client = getClient({ ...bed.options, background: 'disconnect' });
 * client.handle('note', ({ data }) => show(data));
 * client.start();
 * await bed.deliver('note', { text: 'hello' }); // 'acked'
 * bed.app.hide();
 * await client.stop();
 */
export class TestBed {
  readonly clock = new FakeClock();
  readonly app = new FakeApp();
  readonly broker = new FakeBroker(this.clock);
  /** What the client has asked the server for, the oldest first. */
  readonly requests: TestSessionRequest[] = [];
  /** What else the client has told or asked the server, the oldest first: receipts, answers, messages. */
  readonly calls: TestCall[] = [];
  /** The status that the next {@link calls} are answered with, one each; then a good one. Only good ones count. */
  readonly callReplies: number[] = [];
  /** What the server answers next instead of a grant, one each. */
  readonly replies: { status: number; headers?: Record<string, string> }[] = [];
  /** How many messages the history gives out at once. Default 200. */
  historyPage = 200;
  /** What the client has kept. */
  readonly stored = new Map<string, string>();
  readonly userId: string;
  readonly deviceId: string;
  /** To be spread into `getClient`. */
  readonly options: Required<
    Pick<
      ClientOptions,
      'apiUrl' | 'userId' | 'deviceId' | 'getToken' | 'transport' | 'platform' | 'storage'
    >
  >;
  #messages = 0;
  #missed: HistoryItem[] | undefined;
  #isComplete = true;

  constructor({ userId = 'alice', deviceId, random = () => 0.5 }: TestBedOptions = {}) {
    this.userId = userId;
    this.deviceId = deviceId ?? `test-device-${String(++beds)}`;
    const storage: ClientStorage = {
      getItem: (key) => this.stored.get(key) ?? null,
      setItem: (key, value) => {
        this.stored.set(key, value);
      },
      removeItem: (key) => {
        this.stored.delete(key);
      },
    };
    this.options = {
      apiUrl: 'http://warren.test',
      userId,
      deviceId: this.deviceId,
      getToken: () => 'test-token',
      transport: this.broker,
      storage,
      platform: {
        ...this.clock.platform,
        ...this.app.platform,
        fetch: (url, init) => this.#answer(url instanceof Request ? url.url : url.toString(), init),
        random,
        isServer: false,
        locks: undefined,
        openChannel: undefined,
      },
    };
  }

  /**
   * Sends the client a message of JSON.
   * @returns how it ended, once it has: while the client is away, that waits.
   */
  deliver(type: string, data: unknown, options: TestDelivery = {}): Promise<TestOutcome> {
    const { id, delivery, correlationId, headers } = options;
    return this.enqueue({
      body: toBytes(JSON.stringify(data)),
      live: delivery === 'live',
      properties: {
        messageId: id ?? `test-message-${String(++this.#messages)}`,
        type,
        contentType: 'application/json',
        headers: headers ?? {},
        ...(correlationId !== undefined && { correlationId }),
      },
    });
  }

  /** As {@link deliver}, with a body and properties of one's own. */
  enqueue(message: TestMessage): Promise<TestOutcome> {
    return this.broker.enqueue(message);
  }

  /**
   * The mailbox has lost messages: the next session is told so, and the client fetches these from the history.
   * @param complete false: others are lost for good, which the client calls a gap.
   */
  lose(stored: TestStored[], { complete = true }: { complete?: boolean } = {}): void {
    this.#isComplete = complete;
    this.#missed = stored.map(({ id, type, data }) => ({
      id: id ?? `test-message-${String(++this.#messages)}`,
      type,
      data,
      to: { user: this.userId },
      at: new Date(this.clock.now).toISOString(),
    }));
  }

  async #answer(url: string, init: RequestInit | undefined): Promise<Response> {
    if (!this.broker.reachable) throw new TypeError('The network is down.');
    const { authorization = '' } = init?.headers as Record<string, string>;
    const body = JSON.parse((init?.body as string | undefined) ?? '{}') as Record<string, string>;
    const path = url.slice(url.indexOf('/v1/'));
    if (!path.startsWith('/v1/sessions')) return this.#note(path, body, init);
    this.requests.push({
      method: init?.method ?? 'GET',
      token: authorization.replace('Bearer ', ''),
      deviceId: body['deviceId'],
      sessionId: body['sessionId'],
      hasHandled: Boolean(body['hasHandled']),
      passing: Boolean(body['passing']),
    });
    const reply = this.replies.shift();
    if (reply !== undefined) {
      return refusal(reply.status, reply.headers);
    }
    if (init?.method === 'DELETE') return new Response(null, { status: 204, headers: MARK });
    const grant: SessionGrant = {
      ...(this.#missed !== undefined && { missed: true }),
      protocol: 1,
      userId: this.userId,
      deviceId: this.deviceId,
      sessionId: 'test-session',
      queue: TEST_QUEUES.queued,
      liveQueue: TEST_QUEUES.live,
      vhost: 'warren',
      token: `test-grant-${String(this.requests.length)}`,
      expiresAt: new Date(this.clock.now + 3_600_000).toISOString(),
      resumed: this.#missed === undefined,
      endpoints: { stomp: ['ws://one', 'ws://two'], amqp: [] },
      prefetch: 50,
    };
    return Promise.resolve(Response.json(grant, { status: 201, headers: MARK }));
  }

  #note(path: string, body: Record<string, unknown>, init: RequestInit | undefined): Response {
    const status = this.callReplies.shift() ?? 200;
    if (status >= 300) return refusal(status);
    this.calls.push({ path, body, keepalive: init?.keepalive === true });
    const answer = this.#answerTo(path, body, init?.method);
    return answer === undefined
      ? new Response(null, { status: 204, headers: MARK })
      : Response.json(answer, { headers: MARK });
  }

  /** Undefined: no more than that it is done. */
  #answerTo(path: string, body: Record<string, unknown>, method = 'GET'): object | undefined {
    const [route = ''] = path.replace('/v1/me/', '').split(/[/?]/);
    if (method === 'DELETE') return undefined;
    if (route === 'messages') return { id: body['id'] };
    if (route === 'push-devices' && method === 'PUT') return { id: this.deviceId };
    if (method === 'GET') return route === 'recovery' ? this.#recover(path) : NOTHING;
    if (route === 'recovery') this.#missed = undefined;
    return undefined;
  }

  #recover(path: string): RecoveryReply {
    const cursor = new URL(path, this.options.apiUrl).searchParams.get('cursor');
    const start = Number(cursor ?? 0);
    const items = this.#missed ?? [];
    const end = start + this.historyPage;
    return {
      items: items.slice(start, end),
      complete: this.#isComplete,
      // As if more was lost meanwhile.
      mark: `test-mark-${String(start)}`,
      ...(end < items.length && { next: String(end) }),
    };
  }
}

/** By which a client tells the server's answers from a proxy's. */
const MARK = { 'warren-protocol': '1' };

/** Of what a user may have: no stored messages, no devices. */
const NOTHING = { items: [], devices: [] };

/** As the server says it: another shape would be a proxy's. */
function refusal(status: number, headers: Record<string, string> = {}): Response {
  const problem = { type: 'urn:warren:problem:test', title: 'As the test says.', status };
  return Response.json(problem, { status, headers: { ...MARK, ...headers } });
}
