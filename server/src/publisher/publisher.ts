import {
  deviceKeys,
  isValidMessageId,
  isValidType,
  MESSAGE_ID_RULE,
  TYPE_RULE,
  userKeys,
  type Delivery,
  type NamePrefixes,
  type Outcome,
  type RecipientKeys,
} from '@warren/protocol';
import { uuidv7 } from 'uuidv7';
import { ConfirmChannel, type LinkState } from './confirm-channel.js';
import { PublishError } from './errors.js';

/** Types of messages and the payload of each, to have sends checked by the compiler. */
export type EventMap = object;
type TypeOf<Events extends EventMap> = keyof Events & string;

export interface PublisherOptions {
  /** `amqp:` or `amqps:`, with the account and the vhost: `amqp://name:password@host:5672/warren`. */
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

export interface SendOptions {
  /** The idempotency key, also the message's id. Default: a new UUIDv7. */
  id?: string;
  /** `queued` (default) waits in the mailbox; `live` reaches only who is connected now. */
  delivery?: Delivery;
  /** How long it may wait, in milliseconds. Default: as the queue's policy says, 7 days. */
  ttlMs?: number;
  /** Handed to the handler as it is. */
  correlationId?: string;
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
    this.#maxMessageBytes = positive(options, 'maxMessageBytes', 1024 * 1024);
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
    { id = uuidv7(), delivery = 'queued', ttlMs, correlationId }: SendOptions,
  ): Promise<SendResult> {
    // The library would fail on them later, with the channel and all that is on its way.
    if (!isValidType(type)) throw new RangeError(`A message's type ${TYPE_RULE}.`);
    if (!isValidMessageId(id)) throw new RangeError(`A message's id ${MESSAGE_ID_RULE}.`);
    if (ttlMs !== undefined && !(Number.isInteger(ttlMs) && ttlMs > 0)) {
      throw new RangeError('ttlMs must be a whole number of milliseconds, 1 or more.');
    }
    const body = this.#encode(data, id);
    const live = delivery === 'live';
    const routing = await this.#channel.publish(
      {
        exchange: this.#exchange,
        routingKey: live ? keys.live : keys.mail,
        messageId: id,
        type,
        contentType: 'application/json',
        // A live message is worthless after a restart of the broker, so it is not written to disk.
        durable: !live,
        mandatory: true,
        ...(ttlMs !== undefined && { expiration: String(ttlMs) }),
        ...(correlationId !== undefined && { correlationId }),
      },
      body,
    );
    if (routing === 'routed') return { id, outcome: 'queued' };
    return { id, outcome: live ? 'offline' : 'unprovisioned' };
  }

  #encode(data: unknown, id: string): Buffer {
    let json: string | undefined;
    let cause: unknown;
    try {
      json = JSON.stringify(data);
    } catch (error) {
      cause = error;
    }
    if (json === undefined) {
      const why = 'The payload cannot be written as JSON.';
      throw new PublishError('payload_not_serializable', why, id, { cause });
    }
    const body = Buffer.from(json, 'utf8');
    if (body.length > this.#maxMessageBytes) {
      const why = `The payload has ${String(body.length)} bytes; ${String(this.#maxMessageBytes)} are allowed.`;
      throw new PublishError('payload_too_large', why, id);
    }
    return body;
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
