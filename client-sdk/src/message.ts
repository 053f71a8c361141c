import type { Delivery, DeliveryProperties } from './transport.js';
import { textDecoder } from './utf8.js';

/**
 * Turns a body into the message's data, for formats other than JSON, text and bytes, or for bodies that
 * are encrypted. `fallback` does what is done without it. What it throws rejects the message
 * (`undecodable`). It may be called in several tabs for one message, and must not change the body.
 */
export type Decode = (
  body: Uint8Array,
  properties: DeliveryProperties,
  fallback: () => unknown,
) => unknown;

/** A delivery without its connection, as another tab can get it. */
export interface Parcel extends Pick<Delivery, 'body' | 'properties' | 'redelivered'> {
  kind: Message['delivery'];
  recovered: boolean;
}

/** To whom a stored message went. */
export type MessageTarget =
  | { user: string }
  | { device: { user: string; device: string } }
  | { group: string }
  | { broadcast: true };

/** What a handler gets. */
export interface Message<Data = unknown> {
  /** The sender's idempotency key; undefined for a bare message of a back end that sets none. */
  id: string | undefined;
  type: string;
  data: Data;
  /** When it was sent, to the second; undefined when the sender did not say. */
  timestamp: Date | undefined;
  /** Whether it waited in the mailbox (`queued`) or was for who is connected (`live`). */
  delivery: 'queued' | 'live';
  /** Whether the broker has handed it out before. The SDK has not: that it would have noticed. */
  redelivered: boolean;
  /** Whether the mailbox had lost it, and the SDK has fetched it from the history. */
  recovered: boolean;
  correlationId: string | undefined;
  /** The user who sent it, by `client.send`; undefined for a message of the application's server. */
  from: string | undefined;
  /** To whom a stored message went; undefined for any other, and for one to a list. */
  to: MessageTarget | undefined;
  /**
   * The `x-…` headers. Send strings: RabbitMQ hands STOMP clients, such as browsers, no booleans and not every kind
   * of number.
   */
  headers: Readonly<Record<string, string>>;
}

/** A message that says nothing about itself has this type. */
const DEFAULT_TYPE = 'message';

const JSON_TYPE = /^application\/([\w.-]+\+)?json\b/i;

export const typeOf = ({ properties }: Pick<Delivery, 'properties'>): string =>
  properties.type ?? DEFAULT_TYPE;

/**
 * At once without a hook: most messages need no promise.
 * @throws when the body is not what its content type says.
 */
export function decode(parcel: Parcel, hook: Decode | undefined): Message | Promise<Message> {
  const { body, properties, kind, redelivered, recovered } = parcel;
  const { messageId, timestamp, correlationId, contentType, headers } = properties;
  const toMessage = (data: unknown): Message => ({
    id: messageId,
    type: typeOf(parcel),
    data,
    timestamp: timestamp === undefined ? undefined : new Date(timestamp),
    delivery: kind,
    redelivered,
    recovered,
    correlationId,
    from: decoded(headers['x-warren-from']),
    to: targetOf(headers['x-warren-to']),
    headers,
  });
  const fallback = (): unknown => decodeBody(body, contentType);
  if (hook === undefined) return toMessage(fallback());
  return Promise.resolve(hook(body, properties, fallback)).then(toMessage);
}

function decoded(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** As it stands in the header `x-warren-to`. */
export function addressText(to: MessageTarget): string {
  if ('broadcast' in to) return 'broadcast';
  if ('group' in to) return `group:${encodeURIComponent(to.group)}`;
  if ('user' in to) return `user:${encodeURIComponent(to.user)}`;
  return ['device', to.device.user, to.device.device].map(encodeURIComponent).join(':');
}

function targetOf(text: string | undefined): MessageTarget | undefined {
  const [kind, id, device] = text?.split(':').map(decoded) ?? [];
  if (kind === 'broadcast') return { broadcast: true };
  if (id === undefined) return undefined;
  if (kind === 'group') return { group: id };
  if (kind === 'user') return { user: id };
  return kind === 'device' && device !== undefined ? { device: { user: id, device } } : undefined;
}

let decoder: ReturnType<typeof textDecoder> | undefined;

function toText(body: Uint8Array): string {
  // Made when first needed: an application may bring one before.
  decoder ??= textDecoder({ fatal: true });
  return decoder.decode(body);
}

/** But for UTF-8, which needs no decoder of its own. */
const OTHER_CHARSET = /;\s*charset="?(?!utf-?8\b)([^\s;"]+)/i;

/** As UTF-8, too, when the charset is not known here, or not what the body is in. */
function toNamedText(body: Uint8Array, contentType: string): string {
  const charset = OTHER_CHARSET.exec(contentType)?.[1];
  if (charset === undefined) return toText(body);
  try {
    return new TextDecoder(charset, { fatal: true }).decode(body);
  } catch {
    return toText(body);
  }
}

function decodeBody(body: Uint8Array, contentType: string | undefined): unknown {
  if (contentType === undefined || contentType === '') return guess(body);
  if (JSON_TYPE.test(contentType)) return JSON.parse(toText(body));
  if (contentType.startsWith('text/')) return toNamedText(body, contentType);
  return plainBytes(body);
}

/** Handlers get the same by every transport, not Node's Buffer by one of them. */
const plainBytes = (body: Uint8Array): Uint8Array =>
  new Uint8Array(body.buffer, body.byteOffset, body.byteLength);

/** A back end that sets no content type sends JSON, or text as it is, or bytes. */
function guess(body: Uint8Array): unknown {
  let text: string;
  try {
    text = toText(body);
  } catch {
    return plainBytes(body);
  }
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
