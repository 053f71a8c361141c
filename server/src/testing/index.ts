/**
 * A publisher without a broker, for an application's own tests. Begin at {@link TestPublisher}.
 *
 * @module @warren/server/testing
 */
import type { Outcome, Recipient } from '@warren/protocol';
import {
  compose,
  DEFAULT_MAX_MESSAGE_BYTES,
  type ComposedMessage,
  type SendOptions,
} from '../publisher/compose.js';
import { PublishError, type PublishErrorCode } from '../publisher/errors.js';
import {
  type DeviceAddress,
  type EventMap,
  type Publisher,
  type SendResult,
} from '../publisher/publisher.js';

/** A device that messages are handed to: a `TestBed` of `@warren/client/testing` is one. */
export interface TestDevice {
  userId: string;
  deviceId: string;
  enqueue: (message: {
    body: Uint8Array;
    properties: {
      messageId: string;
      type: string;
      contentType: string;
      timestamp: number;
      headers: Record<string, string>;
      correlationId?: string;
    };
    live: boolean;
  }) => Promise<'acked' | 'rejected' | 'offline'>;
}

/** One message that the code under test has sent. */
export interface SentMessage<Events extends EventMap> {
  id: string;
  to: Recipient;
  type: keyof Events & string;
  /** As the receiver gets it: once through JSON. */
  data: unknown;
  options: SendOptions;
  outcome: Outcome;
  /** How it ended on each linked device it went to, once it has. */
  endings: Promise<('acked' | 'rejected' | 'offline')[]>;
}

export interface TestPublisherOptions {
  /**
   * Where messages go on to. Default: none; then every user counts as provisioned, and messages are
   * only recorded.
   */
  devices?: TestDevice[];
  /** Who is in which group: ids of users by the group's. Default: every group is empty. */
  groups?: Record<string, string[]>;
}

/**
 * A publisher without a broker, for an application's own tests: it checks messages as the real one does,
 * records them, and hands them to linked devices.
 * @example
 * const bed = new TestBed({ userId: 'alice' });           // @warren/client/testing
 * const publisher = new TestPublisher({ devices: [bed] });
 * await myApplication({ publisher }).orderShipped('alice');
 * expect(publisher.sent).toMatchObject([{ type: 'order.shipped' }]);
 */
export class TestPublisher<
  Events extends EventMap = Record<string, unknown>,
> implements PublisherLike<Events> {
  /** Everything that was sent, the oldest first. */
  readonly sent: SentMessage<Events>[] = [];
  /** Every send ends at once. */
  readonly pending = 0;
  readonly #devices: TestDevice[] | undefined;
  readonly #groups: Record<string, string[]>;
  readonly #failures: PublishErrorCode[] = [];
  readonly #answers: unknown[] = [];
  #closed = false;

  constructor({ devices, groups = {} }: TestPublisherOptions = {}) {
    this.#devices = devices;
    this.#groups = groups;
  }

  get state(): 'ready' | 'closed' {
    return this.#closed ? 'closed' : 'ready';
  }

  ready(): Promise<boolean> {
    return Promise.resolve(!this.#closed);
  }

  /**
   * Lets the next sends fail, one for each code. After `outcome_unknown` the message is on its way all
   * the same, as it may be in life.
   */
  failNext(...codes: PublishErrorCode[]): void {
    this.#failures.push(...codes);
  }

  /** @throws {PublishError} @throws {RangeError} as the real one does. */
  async toUser<Type extends keyof Events & string>(
    userId: string,
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    return this.#send({ user: userId }, type, data, options);
  }

  /** @throws {PublishError} @throws {RangeError} as the real one does. */
  async toDevice<Type extends keyof Events & string>(
    address: DeviceAddress,
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    return this.#send({ device: address }, type, data, options);
  }

  /** @throws {PublishError} @throws {RangeError} as the real one does. */
  async toUsers<Type extends keyof Events & string>(
    userIds: readonly string[],
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    if (userIds.length === 0) throw new RangeError('A list must name one user or more.');
    return this.#send({ users: [...new Set(userIds)] }, type, data, options);
  }

  /** @throws {PublishError} @throws {RangeError} as the real one does. */
  async toGroup<Type extends keyof Events & string>(
    groupId: string,
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    return this.#send({ group: groupId }, type, data, options);
  }

  /** @throws {PublishError} @throws {RangeError} as the real one does. */
  async broadcast<Type extends keyof Events & string>(
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    return this.#send({ broadcast: true }, type, data, options);
  }

  /** Answers as the test has said ({@link answerNext}). @throws {PublishError} `recipient_offline` */
  async request<Type extends keyof Events & string>(
    to: { user: string } | { device: DeviceAddress },
    type: Type,
    data: Events[Type],
    _options: { timeoutMs?: number } = {},
  ): Promise<unknown> {
    const { id } = await this.#send(to, type, data, { delivery: 'live' });
    if (this.#answers.length === 0) throw failed('recipient_offline', id);
    return this.#answers.shift();
  }

  /** What the next requests are answered with, one each. */
  answerNext(...replies: unknown[]): void {
    this.#answers.push(...replies);
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  #isMeant(to: Recipient, { userId, deviceId }: TestDevice): boolean {
    if ('broadcast' in to) return true;
    if ('user' in to) return userId === to.user;
    if ('device' in to) return userId === to.device.user && deviceId === to.device.device;
    const users = 'users' in to ? to.users : (this.#groups[to.group] ?? []);
    return users.includes(userId);
  }

  // Async, so that what is wrong with the message becomes a rejection.
  async #send(
    to: Recipient,
    type: keyof Events & string,
    data: unknown,
    options: SendOptions,
  ): Promise<SendResult> {
    const message = compose(to, type, data, options, DEFAULT_MAX_MESSAGE_BYTES);
    const id = message.properties.messageId;
    const failure = this.#closed ? 'publisher_closed' : this.#failures.shift();
    if (failure !== undefined && failure !== 'outcome_unknown') throw failed(failure, id);
    const devices = this.#devices?.filter((device) => this.#isMeant(to, device));
    const endings = Promise.all((devices ?? []).map((device) => handOver(device, message)));
    const { delivery } = message;
    const missing = delivery === 'live' ? 'offline' : 'unprovisioned';
    const found = devices?.length === 0 ? missing : 'queued';
    const outcome = delivery === 'stored' ? 'stored' : found;
    const received: unknown = JSON.parse(message.body.toString('utf8'));
    this.sent.push({ id, to, type, data: received, options, outcome, endings });
    if (failure !== undefined) throw failed(failure, id);
    return Promise.resolve({ id, outcome });
  }
}

/** What code that sends should ask for, so that it takes the real publisher and the test's. */
export type PublisherLike<Events extends EventMap = Record<string, unknown>> = Pick<
  Publisher<Events>,
  Exclude<keyof Publisher<Events>, 'send'>
>;

const failed = (code: PublishErrorCode, id: string): PublishError =>
  new PublishError(code, 'The test lets this send fail.', id);

function handOver(
  device: TestDevice,
  { delivery, body, properties }: ComposedMessage,
): ReturnType<TestDevice['enqueue']> {
  const { messageId, type, contentType, correlationId, headers } = properties;
  return device.enqueue({
    live: delivery === 'live',
    body: new Uint8Array(body),
    properties: {
      messageId,
      type,
      contentType,
      timestamp: Date.now(),
      headers,
      ...(correlationId !== undefined && { correlationId }),
    },
  });
}
