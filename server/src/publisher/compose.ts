import {
  AT_HEADER,
  COLLAPSE_KEY_HEADER,
  COLLAPSE_KEY_RULE,
  FROM_HEADER,
  ID_RULE,
  isValidCollapseKey,
  isValidId,
  isValidMessageId,
  isValidType,
  MESSAGE_ID_RULE,
  TO_HEADER,
  TRACK_HEADER,
  TYPE_RULE,
  writeAddress,
  type Delivery,
  type Recipient,
} from '@warren/protocol';
import { uuidv7 } from 'uuidv7';
import type { OutgoingMessage } from './outgoing-message.js';
import { PublishError } from './errors.js';

/** AMQP's short strings end at so many bytes, and RabbitMQ's TTLs at so many milliseconds, 49 days. */
const MAX_SHORT_STRING = 255;
const MAX_EXPIRATION_MS = 2 ** 32 - 1;

/** In bytes once it is JSON; Warren's rabbitmq.conf has the same limit. */
export const DEFAULT_MAX_MESSAGE_BYTES = 1024 * 1024;

export interface SendOptions {
  /** The idempotency key, also the message's id. Default: a new UUIDv7. */
  id?: string;
  /**
   * `queued` (default) waits in the mailbox; `live` reaches only who is connected now; `stored` waits in the
   * mailbox, and the history keeps it.
   */
  delivery?: Delivery;
  /** How long it may wait, in milliseconds. Default: as the queue's policy says, 7 days. */
  ttlMs?: number;
  /**
   * Of the messages with one key that wait for a device, the client handles only the newest: for a
   * score, a position, a badge. 1 to 128 characters. Default: every message counts.
   */
  collapseKey?: string;
  /** Handed to the handler as it is. Default: none. */
  correlationId?: string;
  /** The user in whose name it is sent; recipients see it as `message.from`. Default: nobody. */
  from?: string;
}

/** What only Warren itself says of a message: the `x-warren-…` headers. */
export interface OwnHeaders {
  /** Whether the client is to tell when it has handled it. */
  track?: boolean;
}

/** A message that is ready to go, but for its address. */
export interface ComposedMessage {
  delivery: Delivery;
  body: Buffer;
  properties: Omit<OutgoingMessage, 'exchange' | 'routingKey' | 'mandatory' | 'headers'> & {
    headers: Record<string, string>;
  };
}

/**
 * Checks a message and gives it its properties.
 * @throws {PublishError} `payload_not_serializable`, `payload_too_large`
 * @throws {RangeError} for an id, a type, a TTL, a collapse key, a correlation id or a sender that cannot be.
 */
export function compose(
  to: Recipient,
  type: string,
  data: unknown,
  options: SendOptions & OwnHeaders,
  maxMessageBytes: number,
): ComposedMessage {
  const { id = uuidv7(), delivery = 'queued', ttlMs, correlationId } = options;
  refuseImpossible(id, type, options);
  const live = delivery === 'live';
  return {
    delivery,
    body: encode(data, id, maxMessageBytes),
    properties: {
      messageId: id,
      type,
      contentType: 'application/json',
      // A live message is worthless after a restart of the broker, so it is not written to disk.
      durable: !live,
      ...(ttlMs !== undefined && { expiration: String(ttlMs) }),
      ...(correlationId !== undefined && { correlationId }),
      headers: headersOf(to, delivery, options),
    },
  };
}

/** The library or the broker would fail on them later, with the channel and all that is on its way. */
function refuseImpossible(id: string, type: string, options: SendOptions): void {
  const { ttlMs, collapseKey, correlationId = '', from } = options;
  if (!isValidType(type)) throw new RangeError(`A message's type ${TYPE_RULE}.`);
  if (!isValidMessageId(id)) throw new RangeError(`A message's id ${MESSAGE_ID_RULE}.`);
  if (collapseKey !== undefined && !isValidCollapseKey(collapseKey)) {
    throw new RangeError(`A collapse key ${COLLAPSE_KEY_RULE}.`);
  }
  if (
    ttlMs !== undefined &&
    !(Number.isInteger(ttlMs) && ttlMs > 0 && ttlMs <= MAX_EXPIRATION_MS)
  ) {
    const most = String(MAX_EXPIRATION_MS);
    throw new RangeError(`ttlMs must be a whole number of milliseconds, 1 to ${most}.`);
  }
  if (Buffer.byteLength(correlationId, 'utf8') > MAX_SHORT_STRING) {
    throw new RangeError(`A correlation id must have ${String(MAX_SHORT_STRING)} bytes at most.`);
  }
  if (from !== undefined && !isValidId(from)) throw new RangeError(`A sender must ${ID_RULE}.`);
}

function headersOf(
  to: Recipient,
  delivery: Delivery,
  { collapseKey, track, from }: SendOptions & OwnHeaders,
): Record<string, string> {
  return {
    ...(delivery === 'stored' && {
      [AT_HEADER]: String(Date.now()),
      ...(!('users' in to) && { [TO_HEADER]: writeAddress(to) }),
    }),
    ...(collapseKey !== undefined && { [COLLAPSE_KEY_HEADER]: collapseKey }),
    ...(track === true && { [TRACK_HEADER]: '1' }),
    // Any character may stand in an id, but not in a header.
    ...(from !== undefined && { [FROM_HEADER]: encodeURIComponent(from) }),
  };
}

/** @throws {PublishError} `payload_not_serializable`, `payload_too_large` */
export function encode(data: unknown, id: string, maxMessageBytes: number): Buffer {
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
  if (body.length > maxMessageBytes) {
    const why = `The payload has ${String(body.length)} bytes; ${String(maxMessageBytes)} are allowed.`;
    throw new PublishError('payload_too_large', why, id);
  }
  return body;
}
