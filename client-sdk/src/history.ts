import type { HistoryItem } from '@warren/protocol';
import type { Answer } from './api.js';
import { addressText, type Parcel } from './message.js';
import { toBytes } from './utf8.js';

/** What {@link Client.history} asks for. */
export interface HistoryQuery {
  /** What this user and another one have sent to each other. */
  with?: string;
  /** What went to a group that the user is in. Without `with` and `group`: all that went to the user. */
  group?: string;
  /** Only messages that are older than the one with this id. */
  before?: string;
  /** Only messages that are newer than the one with this id. */
  after?: string;
  /** How many at most: 1 to 200. Default 50. */
  limit?: number;
  /** `desc` (default): the newest first. */
  order?: 'desc' | 'asc';
}

/** As it stands behind the `?` of a URL, without what is undefined. */
export const toSearch = (query: object): string =>
  Object.entries(query)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`)
    .join('&');

/** Whether an answer is a page of the history. */
export const hasItems = ({ items }: Answer): boolean => Array.isArray(items);

/** A message of the history as if the broker had handed it out. */
export function toParcel(item: HistoryItem, recovered: boolean): Parcel {
  const { id, type, data, base64, contentType, from, to, at, correlationId, headers } = item;
  const timestamp = Date.parse(at);
  return {
    kind: 'queued',
    redelivered: false,
    recovered,
    body: base64 === undefined ? toBytes(textOf(data, contentType)) : fromBase64(base64),
    properties: {
      messageId: id,
      type,
      timestamp,
      contentType: contentType ?? 'application/json',
      ...(correlationId !== undefined && { correlationId }),
      headers: {
        ...headers,
        'x-warren-at': String(timestamp),
        'x-warren-to': addressText(to),
        ...(from !== undefined && { 'x-warren-from': encodeURIComponent(from) }),
      },
    },
  };
}

const textOf = (data: unknown, contentType: string | undefined): string =>
  contentType?.startsWith('text/') === true ? String(data) : JSON.stringify(data);

const fromBase64 = (text: string): Uint8Array =>
  Uint8Array.from(globalThis.atob(text), (character) => character.charCodeAt(0));
