import {
  deviceKeys,
  userKeys,
  type NamePrefixes,
  type Outcome,
  type RecipientKeys,
} from '@warren/protocol';
import { compose, type SendOptions } from './compose.js';
import { ConfirmChannel, type LinkState } from './confirm-channel.js';

/** In bytes once it is JSON; Warren's rabbitmq.conf has the same limit. */
export const DEFAULT_MAX_MESSAGE_BYTES = 1024 * 1024;

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
  readonly #exchange: string;
  readonly #prefixes: NamePrefixes | undefined;
  readonly #maxMessageBytes: number;

  constructor(options: PublisherOptions) {
    this.#exchange = options.exchange ?? 'warren.direct';
    this.#prefixes = options.prefixes;
    this.#maxMessageBytes = positive(options, 'maxMessageBytes', DEFAULT_MAX_MESSAGE_BYTES);
    this.#channel = new ConfirmChannel({
      amqpUrl: options.amqpUrl,
      connectionName: options.connectionName ?? 'warren publisher',
      maxInFlight: positive(options, 'maxInFlight', 1000),
      maxWaiting: positive(options, 'maxWaiting', 10_000),
      timeoutMs: positive(options, 'timeoutMs', 4500),
      heartbeatSeconds: options.heartbeatSeconds ?? 10,
      onError: options.onError ?? (() => undefined),
    });
  }

  /** Whether messages go out now, or wait for the broker. */
  get state(): LinkState {
    return this.#channel.state;
  }

  /** How many messages have neither been confirmed nor rejected yet. */
  get pending(): number {
    return this.#channel.pending;
  }

  /** Resolves to whether the broker was reached within `timeoutMs`; sending need not wait for it. */
  ready(timeoutMs = 10_000): Promise<boolean> {
    return this.#channel.ready(timeoutMs);
  }

  /**
   * Sends to all devices of a user.
   * @throws {PublishError}
   * @throws {RangeError} for an id, a type or a TTL that cannot be.
   */
  async toUser<Type extends TypeOf<Events>>(
    userId: string,
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    return this.#send(userKeys(userId, this.#prefixes), type, data, options);
  }

  /**
   * Sends to one device of a user.
   * @throws {PublishError}
   * @throws {RangeError} for an id, a type or a TTL that cannot be.
   */
  async toDevice<Type extends TypeOf<Events>>(
    { user, device }: DeviceAddress,
    type: Type,
    data: Events[Type],
    options: SendOptions = {},
  ): Promise<SendResult> {
    return this.#send(deviceKeys(user, device, this.#prefixes), type, data, options);
  }

  /**
   * Takes no more sends, waits until those under way have ended, and closes the connection.
   * Idempotent; what has not ended after `timeoutMs` (default 5,000) is rejected.
   */
  close(timeoutMs = 5000): Promise<void> {
    return this.#channel.close(timeoutMs);
  }

  async #send(
    keys: RecipientKeys,
    type: string,
    data: unknown,
    options: SendOptions,
  ): Promise<SendResult> {
    const { live, body, properties } = compose(type, data, options, this.#maxMessageBytes);
    const routingKey = live ? keys.live : keys.mail;
    const routing = await this.#channel.publish(
      { exchange: this.#exchange, routingKey, mandatory: true, ...properties },
      body,
    );
    const id = properties.messageId;
    if (routing === 'routed') return { id, outcome: 'queued' };
    return { id, outcome: live ? 'offline' : 'unprovisioned' };
  }
}

/** Connects in the background at once; see {@link Publisher}. */
export function createPublisher<Events extends EventMap = Record<string, unknown>>(
  options: PublisherOptions,
): Publisher<Events> {
  return new Publisher<Events>(options);
}

type NumberOption = 'maxMessageBytes' | 'maxInFlight' | 'maxWaiting' | 'timeoutMs';

function positive(options: PublisherOptions, name: NumberOption, byDefault: number): number {
  const value = options[name] ?? byDefault;
  if (!Number.isFinite(value) || value < 1) throw new RangeError(`${name} must be at least 1.`);
  return value;
}
