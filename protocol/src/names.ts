import { createHash } from 'node:crypto';

/** Ids of users, groups and devices have this many bytes of UTF-8 at most. */
export const MAX_ID_BYTES = 256;
/** An encoded id that would be longer is replaced by its hash. RabbitMQ's names end at 255 bytes. */
const MAX_ENCODED_BYTES = 80;

const PLAIN = /[A-Za-z0-9-]/;
/** Most ids are encoded as they are. */
const ALL_PLAIN = /^[A-Za-z0-9-]{1,80}$/;

/** What {@link isValidId} asks for, as the end of a sentence. */
export const ID_RULE =
  'have 1 to 256 bytes of valid UTF-8 and no control characters, and be neither "." nor ".."';

/**
 * Whether `id` can name a user, group or device: 1 to 256 bytes of UTF-8. Refused are a lone surrogate, since
 * every one of them would become the same three bytes, and two ids one queue; control characters, which a terminal
 * obeys and not every database holds; and `.` and `..`, which whoever parses a URL takes out of its path, encoded or
 * not.
 */
export function isValidId(id: string): boolean {
  const bytes = Buffer.byteLength(id, 'utf8');
  if (bytes < 1 || bytes > MAX_ID_BYTES) return false;
  return id !== '.' && id !== '..' && !/[\p{Cc}\p{Cs}]/u.test(id);
}

/**
 * Writes an id so that it can stand in the name of a queue or in a routing key: `[A-Za-z0-9-]` stay,
 * any other byte of its UTF-8 becomes `_HH` (upper case), and a result over 80 bytes becomes `_h`
 * and the base64url SHA-256 of the id. Two ids never share a result; a result never holds `.`, `*`,
 * `#`, `%` or `/`, which mean something to exchanges, to scopes and in URLs.
 * @throws {RangeError} when {@link isValidId} does not hold.
 */
export function encodeId(id: string): string {
  if (ALL_PLAIN.test(id)) return id;
  if (!isValidId(id)) {
    throw new RangeError(`An id must ${ID_RULE}.`);
  }
  let encoded = '';
  for (const byte of Buffer.from(id, 'utf8')) {
    const character = String.fromCharCode(byte);
    encoded += PLAIN.test(character)
      ? character
      : `_${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  if (encoded.length <= MAX_ENCODED_BYTES) return encoded;
  return `_h${createHash('sha256').update(id, 'utf8').digest('base64url')}`;
}

/** The words that names begin with; the defaults are `user` and `live`. */
export interface NamePrefixes {
  user: string;
  live: string;
}

export const DEFAULT_PREFIXES: Readonly<NamePrefixes> = { user: 'user', live: 'live' };

/** Where a message to somebody goes: keys on the direct exchange. */
export interface RecipientKeys {
  /** Waits in the mailbox until it is handled. */
  mail: string;
  /** Reaches who is connected now. */
  live: string;
}

/** All devices of a user. */
export function userKeys(userId: string, prefixes = DEFAULT_PREFIXES): RecipientKeys {
  const user = encodeId(userId);
  return { mail: `${prefixes.user}.${user}`, live: `${prefixes.live}.${user}` };
}

/** One device of a user, without having to know the unguessable part of its queue's name. */
export function deviceKeys(
  userId: string,
  deviceId: string,
  prefixes = DEFAULT_PREFIXES,
): RecipientKeys {
  const path = `${encodeId(userId)}.${encodeId(deviceId)}`;
  return { mail: `${prefixes.user}.${path}`, live: `${prefixes.live}.${path}` };
}

/** The names of a device's two queues; `nonce` keeps them unguessable. */
export function deviceQueues(
  userId: string,
  deviceId: string,
  nonce: string,
  prefixes = DEFAULT_PREFIXES,
): RecipientKeys {
  const { mail, live } = deviceKeys(userId, deviceId, prefixes);
  return { mail: `${mail}.${nonce}`, live: `${live}.${nonce}` };
}

/** All members of a group: each key leads to a fanout exchange that their queues are bound to. */
export function groupKeys(groupId: string): RecipientKeys {
  const group = encodeId(groupId);
  // Not `live.group.…`, which would be a device of the user named "group".
  return { mail: `group.${group}`, live: `group.${group}.live` };
}

/** Everybody. */
export const BROADCAST_KEYS: Readonly<RecipientKeys> = {
  mail: 'broadcast',
  live: 'broadcast.live',
};

/**
 * The routing key of a message to a list, whose real keys are in BCC: the primary one is shown to
 * every recipient. Leads nowhere by itself.
 */
export const LIST_KEY = 'list';

/** Leads to the history's queue; stands in the BCC of a stored message. */
export const HISTORY_KEY = 'history';

/** Leads to the queue of messages of which those who do not handle them in time get a push. */
export const PUSH_KEY = 'push';

/** First words of keys that are none of a user's. */
export const RESERVED_PREFIXES: readonly string[] = [
  'group',
  BROADCAST_KEYS.mail,
  LIST_KEY,
  HISTORY_KEY,
  PUSH_KEY,
];
