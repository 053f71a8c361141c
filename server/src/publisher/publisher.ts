import {
  HISTORY_KEY,
  LISTED_CONTENT_TYPE,
  TTL_HEADER,
  type NamePrefixes,
  type Outcome,
  type Recipient,
} from '@warren/protocol';
import { addressOf } from './addresses.js';
import {
  compose,
  DEFAULT_MAX_MESSAGE_BYTES,
  type ComposedMessage,
  type OwnHeaders,
  type SendOptions,
} from './compose.js';
import { PublishError } from './errors.js';
import { Requester, type RequesterOptions } from './requester.js';
import {
  ConfirmChannel,
  type ConfirmChannelOptions,
  type LinkState,
  type Routing,
} from './confirm-channel.js';

/** Types of messages and the payload of each, to have sends checked by the compiler. */
export type EventMap = object;
type TypeOf<Events extends EventMap> = keyof Events & string;

export interface PublisherOptions {
  /** `amqp:` or `amqps:`, with the account and the vhost: `amqp://name:password@host:5672/warren`. Required. */
  amqpUrl: string;
  /** The direct exchange. Default `warren.direct`. */
  exchange?: string;
  /** First words of queues and keys. Default `user` and `live`. */
  prefixes?: NamePrefixes;
  /**
   * How long one send may take, in milliseconds: waiting for its turn, for a broker that is away,
   * and for the confirm. Default 4,500. Then it is rejected: `broker_unavailable` if nothing was
   * sent, `outcome_unknown` if it may still arrive.
   */
  timeoutMs?: number;
  /**
   * How long the confirm of a send to a list, a group or everybody may take, in milliseconds: it comes
   * when all queues have the message. Default 30,000.
   */
  fanOutTimeoutMs?: number;
  /** How many messages may be on their way to a confirm at once; more wait. Default 1,000. */
  maxInFlight?: number;
  /** How many may wait behind them; more are rejected at once. Default 10,000. */
  maxWaiting?: number;
  /** The largest payload, in bytes once it is JSON. Default 1 MiB, as in Warren's rabbitmq.conf. */
  maxMessageBytes?: number;
  /** How often the connection proves that it is alive, in seconds. Default 10; 0 switches it off. */
  heartbeatSeconds?: number;
  /** Shown in RabbitMQ's list of connections. Default `warren publisher`. */
  connectionName?: string;
  /** Told when the connection breaks; it is made again without help. Default: nothing happens. */
  onError?: (error: Error) => void;
}

export interface SendResult {
  id: string;
  /**
   * Of more than one recipient, what became of it where it went best. `stored` for what the history keeps:
   * whether a mailbox has it as well, the broker does not tell.
   */
  outcome: Outcome;
}

/** One device of one user. */
export interface DeviceAddress {
  user: string;
  device: string;
}

/**
 * Publishes messages to users. Every promise ends: with the outcome after the broker's confirm, or
 * with a {@link PublishError} that says whether the message may still arrive. Calls made one after
 * the other arrive in that order.
 */
export class Publisher<Events extends EventMap = Record<string, unknown>> {
  readonly #channel: ConfirmChannel;
  readonly #fanOutOptions: ConfirmChannelOptions;
  /** A message to one user would wait behind one to a hundred thousand. Opened when first needed. */
  #fanOut: ConfirmChannel | undefined;
  readonly #requesterOptions: RequesterOptions;
  /** Made when first needed. */
  #requester: Requester | undefined;
  readonly #exchange: string;
  readonly #prefixes: NamePrefixes | undefined;
  readonly #maxMessageBytes: number;
  #isClosed = false;

  constructor(options: PublisherOptions) {
    this.#exchange = options.exchange ?? 'warren.direct';
    this.#prefixes = options.prefixes;
    this.#maxMessageBytes = positive(options, 'maxMessageBytes', DEFAULT_MAX_MESSAGE_BYTES);
    const connectionName = options.connectionName ?? 'warren publisher';
    const channelOptions: ConfirmChannelOptions = {
      amqpUrl: options.amqpUrl,
      connectionName,
      maxInFlight: positive(options, 'maxInFlight', 1000),
      maxWaiting: positive(options, 'maxWaiting', 10_000),
      timeoutMs: positive(options, 'timeoutMs', 4500),
      heartbeatSeconds: options.heartbeatSeconds ?? 10,
      onError: options.onError ?? (() => undefined),
    };
    this.#channel = new ConfirmChannel(channelOptions);
    this.#requesterOptions = {
      amqpUrl: options.amqpUrl,
      connectionName: `${connectionName} (replies)`,
      onError: channelOptions.onError,
    };
    this.#fanOutOptions = {
      ...channelOptions,
      connectionName: `${connectionName} (fan-out)`,
      confirmTimeoutMs: positive(options, 'fanOutTimeoutMs', 30_000),
    };
  }

  /** Whether messages go out now, or wait for the broker. */
  get state(): LinkState {
    return this.#channel.state;
  }

  /** How many messages have neither been confirmed nor rejected yet. */
  get pending(): number {
    return this.#channel.pending + (this.#fanOut?.pending ?? 0);
  }

  /** Resolves to whether the broker was reached within `timeoutMs`; sending need not wait for it. */
  ready(timeoutMs = 10_000): Promise<boolean> {
    return this.#channel.ready(timeoutMs);
  }

  /**
   * Sends to all devices of a user.
   * @throws {PublishError}
   * @throws {RangeError} for an id, a type or an option that cannot be.
   */
  async toUser<Type extends TypeOf<Events>>(
    userId: string,
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    return this.send({ user: userId }, type, data, options);
  }

  /**
   * Sends to one device of a user.
   * @throws {PublishError}
   * @throws {RangeError} for an id, a type or an option that cannot be.
   */
  async toDevice<Type extends TypeOf<Events>>(
    address: DeviceAddress,
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    return this.send({ device: address }, type, data, options);
  }

  /**
   * Sends to each user of a list, in few publishes; nobody learns who else is on it. `queued` says that
   * one of them has it: the broker does not tell which. `POST /v1/messages` tells of each.
   * @throws {PublishError} `outcome_unknown` also when only a part was confirmed.
   * @throws {RangeError} for an id, a type or an option that cannot be, and for an empty list.
   */
  async toUsers<Type extends TypeOf<Events>>(
    userIds: readonly string[],
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    if (userIds.length === 0) throw new RangeError('A list must name one user or more.');
    return this.send({ users: [...userIds] }, type, data, options);
  }

  /**
   * Sends to all members of a group, in one publish. `unprovisioned`: there is no such group, or none of
   * its members has a mailbox.
   * @throws {PublishError}
   * @throws {RangeError} for an id, a type or an option that cannot be.
   */
  async toGroup<Type extends TypeOf<Events>>(
    groupId: string,
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    return this.send({ group: groupId }, type, data, options);
  }

  /**
   * Asks a user who is connected, and waits for the answer (`client.answer`). Of several devices, the first
   * to answer counts.
   * @param options `timeoutMs`: how long to wait, in milliseconds. Default 10,000.
   * @returns what the client has answered, as JSON.
   * @throws {PublishError} `recipient_offline`, `request_timeout`, `request_failed`, and as for sends.
   * @throws {RangeError} for an id or a type that cannot be.
   */
  async request<Type extends TypeOf<Events>>(
    to: { user: string } | { device: DeviceAddress },
    type: Type,
    data: Events[Type],
    { timeoutMs = 10_000 }: { timeoutMs?: number } = {},
  ): Promise<unknown> {
    if (this.#isClosed) {
      throw new PublishError('publisher_closed', 'The publisher is closed.', '');
    }
    this.#requester ??= new Requester(this.#requesterOptions);
    const userId = 'user' in to ? to.user : to.device.user;
    return this.#requester.ask(userId, timeoutMs, async (correlationId) => {
      const options = { delivery: 'live' as const, ttlMs: timeoutMs, correlationId };
      const { outcome } = await this.send(to, type, data, options);
      if (outcome === 'queued') return;
      const why = 'The user is not connected now.';
      throw new PublishError('recipient_offline', why, correlationId);
    });
  }

  /**
   * Sends to everybody, in one publish.
   * @throws {PublishError}
   * @throws {RangeError} for an id, a type or an option that cannot be.
   */
  async broadcast<Type extends TypeOf<Events>>(
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    return this.send({ broadcast: true }, type, data, options);
  }

  /**
   * @internal Sends to whom the address names; what the other methods do. Sends to one user or device keep their
   * order, and so do those to many, but not the ones among the others.
   * @throws {PublishError}
   * @throws {RangeError} for an id, a type or an option that cannot be.
   */
  async send(
    to: Recipient,
    type: string,
    data: unknown,
    options: SendOptions & OwnHeaders = {},
  ): Promise<SendResult> {
    const message = compose(to, type, data, options, this.#maxMessageBytes);
    const { body, properties, delivery } = message;
    const copy = delivery === 'stored' ? historyCopy(to, message) : undefined;
    const reach = {
      live: delivery === 'live',
      history: delivery === 'stored' && copy === undefined,
    };
    const { isFanOut, routes } = addressOf(to, reach, this.#prefixes);
    const channel = isFanOut ? this.#fanOutChannel() : this.#channel;
    const common = { exchange: this.#exchange, mandatory: true as const };
    const publishes = [
      ...(copy === undefined
        ? []
        : [channel.publish({ ...common, ...copy.properties, routingKey: HISTORY_KEY }, copy.body)]),
      ...routes.map(({ routingKey, bcc }) =>
        channel.publish(
          {
            ...common,
            ...properties,
            routingKey,
            ...(bcc !== undefined && { headers: { ...properties.headers, BCC: bcc } }),
          },
          body,
        ),
      ),
    ];
    const id = properties.messageId;
    const routings = await allEnded(publishes, id);
    if (delivery === 'stored') return { id, outcome: requireStored(id, routings) };
    if (routings.includes('routed')) return { id, outcome: 'queued' };
    return { id, outcome: delivery === 'live' ? 'offline' : 'unprovisioned' };
  }

  /**
   * Takes no more sends, waits until those under way have ended, and closes the connection.
   * Idempotent; what has not ended after `timeoutMs` (default 5,000) is rejected.
   */
  async close(timeoutMs = 5000): Promise<void> {
    this.#isClosed = true;
    await Promise.all([this.#channel.close(timeoutMs), this.#fanOut?.close(timeoutMs)]);
    await this.#requester?.close();
  }

  #fanOutChannel(): ConfirmChannel {
    // One that is closed refuses as it should.
    if (this.#isClosed) return this.#channel;
    this.#fanOut ??= new ConfirmChannel(this.#fanOutOptions);
    return this.#fanOut;
  }
}

/**
 * The history's own copy, where the recipients' would not do: it knows who is on a list, who do not know
 * each other; and it does not expire. Undefined where one publish reaches both.
 */
function historyCopy(
  to: Recipient,
  { body, properties }: ComposedMessage,
): Pick<ComposedMessage, 'body' | 'properties'> | undefined {
  const { expiration, ...lasting } = properties;
  if (expiration === undefined && !('users' in to)) return undefined;
  const headers = {
    ...properties.headers,
    ...(expiration !== undefined && { [TTL_HEADER]: expiration }),
  };
  if (!('users' in to)) return { body, properties: { ...lasting, headers } };
  return {
    body: Buffer.concat([Buffer.from(`${JSON.stringify(to.users)}\n`), body]),
    properties: { ...lasting, headers, contentType: LISTED_CONTENT_TYPE },
  };
}

/**
 * @throws {PublishError} when the history's queue is not there: `broker_refused`, or `outcome_unknown` where
 * mailboxes have it all the same.
 */
function requireStored(id: string, [history, ...mailboxes]: Routing[]): Outcome {
  if (history === 'routed') return 'stored';
  const code = mailboxes.includes('routed') ? 'outcome_unknown' : 'broker_refused';
  const why = 'The broker has no queue for the history: start a server, or run "warren provision".';
  throw new PublishError(code, why, id);
}

/**
 * A part that is rejected must not leave the others without anybody who waits for them, nor speak for them.
 * @throws {PublishError} `outcome_unknown` when not all parts are known to be unsent.
 */
async function allEnded(publishes: Promise<Routing>[], id: string): Promise<Routing[]> {
  const [only] = publishes;
  if (only !== undefined && publishes.length === 1) return [await only];
  const ends = await Promise.allSettled(publishes);
  const errors = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []));
  if (errors.length === 0) return Promise.all(publishes);
  if (errors.length === ends.length) throw errors.find(isUnknown) ?? errors[0];
  const why = 'Only a part of it was confirmed.';
  throw new PublishError('outcome_unknown', why, id, { cause: errors[0] });
}

const isUnknown = (error: unknown): boolean =>
  error instanceof PublishError && error.code === 'outcome_unknown';

/** Connects in the background at once; see {@link Publisher}. */
export function createPublisher<Events extends EventMap = Record<string, unknown>>(
  options: PublisherOptions,
): Publisher<Events> {
  return new Publisher<Events>(options);
}

type NumberOption =
  'maxMessageBytes' | 'maxInFlight' | 'maxWaiting' | 'timeoutMs' | 'fanOutTimeoutMs';

function positive(options: PublisherOptions, name: NumberOption, byDefault: number): number {
  const value = options[name] ?? byDefault;
  if (!Number.isFinite(value) || value < 1) throw new RangeError(`${name} must be at least 1.`);
  return value;
}
