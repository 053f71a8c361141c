import {
  AT_HEADER,
  DEFAULT_TYPE,
  FROM_HEADER,
  isValidId,
  isValidMessageId,
  isValidType,
  LISTED_CONTENT_TYPE,
  readAddress,
  TO_HEADER,
  TTL_HEADER,
  type Recipient,
} from '@warren/protocol';
import { isUtf8 } from 'node:buffer';
import type { Message } from 'amqplib';
import type { Group } from '../storage/groups.js';
import { timelineOf, type HistoryRecord } from '../storage/history.js';

/** What the history keeps of a message beside its columns; each part only when there is one. */
export interface KeptProperties {
  contentType?: string;
  correlationId?: string;
  headers?: Record<string, string>;
}

/** A message that cannot be kept, whoever tries. */
export class UnfitError extends Error {
  override readonly name = 'UnfitError';
}

/** A message as it is read from the queue; which group its recipients are, is still to be looked up. */
export type ReadMessage = Omit<HistoryRecord, 'timelines'> & { to: Recipient };

/** Properties that have a column of their own, and those that only the broker or the way here need. */
const NOT_KEPT = [TO_HEADER, AT_HEADER, FROM_HEADER, TTL_HEADER, 'x-death'];
const BROKERS_OWN = /^x-(first|last)-death-/;
const JSON_TYPE = /^application\/([\w.-]+\+)?json\b/i;
const PLAIN_JSON = 'application/json';
/**
 * By so much the clock of a publisher may be ahead. What is sent later than now would be newer than anything that is
 * asked for: whoever has handled it has missed nothing, and once it is removed everybody has.
 */
const CLOCKS_MS = 60_000;
/** JavaScript's dates end here, in milliseconds since 1970. */
const LAST_DATE = 8.64e15;

/** @throws {UnfitError} */
export function readMessage({ content, properties }: Message, now: number): ReadMessage {
  const headers = (properties.headers ?? {}) as Record<string, unknown>;
  const messageId = properties.messageId as string | undefined;
  // Whoever hands it out again must be able to tell.
  if (messageId === undefined) throw new UnfitError('A stored message must have a message_id.');
  if (!isValidMessageId(messageId)) throw new UnfitError('The message_id is not valid.');
  const type = (properties.type as string | undefined) ?? DEFAULT_TYPE;
  if (!isValidType(type)) throw new UnfitError('The type is not valid.');
  const contentType = (properties.contentType as string | undefined) ?? '';
  const { to, body, kept } =
    contentType === LISTED_CONTENT_TYPE
      ? readListed(content)
      : { to: readTo(headers[TO_HEADER]), ...readBody(content, contentType) };
  const sentAt = readTime(headers[AT_HEADER]) ?? fromSeconds(properties.timestamp) ?? now;
  const at = sentAt > now + CLOCKS_MS ? now : sentAt;
  const ttlMs = readTime(headers[TTL_HEADER] ?? properties.expiration);
  return {
    messageId,
    type,
    at,
    expiresAt: ttlMs === undefined ? null : at + ttlMs,
    from: readFrom(headers[FROM_HEADER]),
    to,
    target: JSON.stringify('users' in to ? { users: to.users.length } : to),
    body: body.text,
    isBase64: body.isBase64,
    properties: toKept(kept, properties.correlationId as string | undefined, headers),
    deviceId: 'device' in to ? to.device.device : null,
  };
}

/** Whose views a message belongs to; none for a group that is gone. @param groups by their ids. */
export function timelinesOf(
  { to, from, at }: ReadMessage,
  groups: ReadonlyMap<string, Group>,
): string[] {
  if ('broadcast' in to) return [timelineOf.broadcast];
  if ('users' in to) return to.users.map(timelineOf.user);
  if ('device' in to) return [timelineOf.user(to.device.user)];
  if ('group' in to) {
    const group = groups.get(to.group);
    // One that was sent before this group was made went to another one of its name.
    return group === undefined || at < group.createdAt ? [] : [timelineOf.group(group.ref)];
  }
  const { user } = to;
  if (from === null) return [timelineOf.user(user)];
  const conversation = [timelineOf.conversation(user, from), timelineOf.conversation(from, user)];
  return [...new Set([timelineOf.user(user), ...conversation])];
}

interface Body {
  text: string;
  isBase64: boolean;
}

function readTo(value: unknown): Recipient {
  const to = readAddress(text(value));
  if (to === undefined) throw new UnfitError(`The header ${TO_HEADER} must say to whom it goes.`);
  return to;
}

function readListed(content: Buffer): { to: Recipient; body: Body; kept: string | undefined } {
  const end = content.indexOf('\n');
  const users = parsed(content.toString('utf8', 0, Math.max(0, end)));
  if (!isIdList(users)) {
    throw new UnfitError(`A body of ${LISTED_CONTENT_TYPE} must begin with a line of its users.`);
  }
  return {
    to: { users: [...new Set(users)] },
    ...readBody(content.subarray(end + 1), PLAIN_JSON),
  };
}

const isIdList = (value: unknown): value is string[] =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((id) => typeof id === 'string' && isValidId(id));

/** As it is, not as it would be written again: numbers of more than 53 bits would be others. */
function readBody(content: Buffer, contentType: string): { body: Body; kept: string | undefined } {
  const kept = contentType === PLAIN_JSON || contentType === '' ? undefined : contentType;
  const asText = isUtf8(content) ? content.toString('utf8') : undefined;
  if (asText !== undefined) {
    const mayBeJson = contentType === '' || JSON_TYPE.test(contentType);
    if (mayBeJson && isJson(asText)) {
      return { body: { text: asText, isBase64: false }, kept };
    }
    if (contentType === '' || contentType.startsWith('text/')) {
      const body = { text: JSON.stringify(asText), isBase64: false };
      return { body, kept: contentType === '' ? 'text/plain' : contentType };
    }
  }
  const body = { text: content.toString('base64'), isBase64: true };
  return { body, kept: contentType === '' ? 'application/octet-stream' : contentType };
}

const isJson = (json: string): boolean => parsed(json) !== undefined;

/** Undefined for what is no JSON. */
function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function readFrom(value: unknown): string | null {
  if (value === undefined) return null;
  try {
    const from = decodeURIComponent(text(value));
    return isValidId(from) ? from : null;
  } catch {
    return null;
  }
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** What a Date can be; undefined for anything else. */
function readTime(value: unknown): number | undefined {
  const time = typeof value === 'string' ? Number(value) : value;
  if (typeof time !== 'number' || !Number.isInteger(time)) return undefined;
  return time >= 0 && time <= LAST_DATE ? time : undefined;
}

const fromSeconds = (timestamp: unknown): number | undefined => {
  const seconds = readTime(timestamp);
  return seconds === undefined ? undefined : readTime(seconds * 1000);
};

function toKept(
  contentType: string | undefined,
  correlationId: string | undefined,
  all: Record<string, unknown>,
): string | null {
  const headers = Object.entries(all).filter(
    ([name, value]) =>
      name.startsWith('x-') &&
      typeof value === 'string' &&
      !NOT_KEPT.includes(name) &&
      !BROKERS_OWN.test(name),
  );
  const kept: KeptProperties = {
    ...(contentType !== undefined && { contentType }),
    ...(correlationId !== undefined && { correlationId }),
    ...(headers.length > 0 && { headers: Object.fromEntries(headers) as Record<string, string> }),
  };
  return Object.keys(kept).length === 0 ? null : JSON.stringify(kept);
}
