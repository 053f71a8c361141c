import { z } from 'zod';
import { problemSchema } from './errors.js';
import { MAX_TTL_MS } from './limits.js';
import { isValidId } from './names.js';
import { pushSchema } from './push.js';
import { idListSchema, idSchema } from './rest.js';

/** A message of a back end that says nothing about itself has this type. */
export const DEFAULT_TYPE = 'message';

// AMQP's short strings end at 255 bytes; a control character could not travel in a STOMP header; and
// @stomp/stompjs reads an escaped backslash before a "c" as a colon, so that two ids would be one.
const TYPE = /^[^\\\p{Cc}\p{Cs}]{1,63}$/u;
const MESSAGE_ID = /^[\x21-\x5b\x5d-\x7e]{1,128}$/;

export const TYPE_RULE = 'must have 1 to 63 characters, no control character and no backslash';
export const MESSAGE_ID_RULE =
  'must have 1 to 128 printable ASCII characters, no space and no backslash; a UUID fits best';

export const isValidType = (type: string): boolean => TYPE.test(type);
export const isValidMessageId = (id: string): boolean => MESSAGE_ID.test(id);

// As a header by STOMP, with the same rule as the type's.
const COLLAPSE_KEY = /^[^\\\p{Cc}\p{Cs}]{1,128}$/u;
export const COLLAPSE_KEY_RULE =
  'must have 1 to 128 characters, no control character and no backslash';
export const isValidCollapseKey = (key: string): boolean => COLLAPSE_KEY.test(key);
/** The header that carries it. */
export const COLLAPSE_KEY_HEADER = 'x-warren-collapse-key';

/** `1` on a message of which the client tells when it has handled it (`POST /v1/me/receipts`). */
export const TRACK_HEADER = 'x-warren-track';
/** The user who sent it, percent-encoded (encodeURIComponent). */
export const FROM_HEADER = 'x-warren-from';
/** Of a stored message: to whom it went, as {@link writeAddress} writes it. */
export const TO_HEADER = 'x-warren-to';
/** Of a stored message: when it was sent, in milliseconds since 1970. */
export const AT_HEADER = 'x-warren-at';
/**
 * How long a stored message may wait in mailboxes, in milliseconds, on the copy for the history alone: with
 * AMQP's own `expiration` it could expire before it is written down.
 */
export const TTL_HEADER = 'x-warren-ttl';

/** What Warren itself sends to clients has a type that begins so; nobody else's may. */
export const OWN_TYPES = 'warren.';

export const typeSchema = z
  .string()
  .refine(isValidType, { error: TYPE_RULE })
  .refine((type) => !type.startsWith(OWN_TYPES), {
    error: `must not begin with "${OWN_TYPES}", as Warren's own types do`,
  });
export const messageIdSchema = z.string().refine(isValidMessageId, { error: MESSAGE_ID_RULE });

export const ttlSchema = z.int().positive().max(MAX_TTL_MS);
export const collapseKeySchema = z
  .string()
  .refine(isValidCollapseKey, { error: COLLAPSE_KEY_RULE });

/** Where a message goes. */
export type Recipient =
  | { user: string }
  | { device: { user: string; device: string } }
  /** Nobody on the list learns who else is on it. */
  | { users: string[] }
  | { group: string }
  | { broadcast: true };

const RECIPIENTS = {
  user: idSchema.optional(),
  device: z.strictObject({ user: idSchema, device: idSchema }).optional(),
  users: idListSchema.optional(),
  group: idSchema.optional(),
  broadcast: z.literal(true).optional(),
};

// Written as one object rather than a union, whose errors would speak of every branch at once.
export const recipientSchema = z.strictObject(RECIPIENTS).transform((to, context): Recipient => {
  const given = Object.entries(to).filter(([, value]) => value !== undefined);
  if (given.length === 1) return Object.fromEntries(given) as Recipient;
  const names = Object.keys(RECIPIENTS).join(', ');
  context.addIssue({ code: 'custom', message: `must have exactly one of: ${names}` });
  return z.NEVER;
});

/**
 * A recipient in a header: `user:<id>`, `device:<user>:<device>`, `group:<id>` or `broadcast`, ids
 * percent-encoded (encodeURIComponent). A list is not written so, since its recipients would read it.
 */
export function writeAddress(to: Exclude<Recipient, { users: string[] }>): string {
  if ('user' in to) return `user:${encodeURIComponent(to.user)}`;
  if ('group' in to) return `group:${encodeURIComponent(to.group)}`;
  if ('broadcast' in to) return 'broadcast';
  return `device:${encodeURIComponent(to.device.user)}:${encodeURIComponent(to.device.device)}`;
}

/** What {@link writeAddress} has written; undefined for anything else. */
export function readAddress(text: string): Exclude<Recipient, { users: string[] }> | undefined {
  const [kind, ...parts] = text.split(':');
  let ids: string[];
  try {
    ids = parts.map(decodeURIComponent);
  } catch {
    return undefined;
  }
  if (!ids.every(isValidId)) return undefined;
  const [first, second, ...rest] = ids;
  if (rest.length > 0) return undefined;
  if (kind === 'broadcast' && first === undefined) return { broadcast: true };
  if (first === undefined) return undefined;
  if (kind === 'device') {
    return second === undefined ? undefined : { device: { user: first, device: second } };
  }
  if (second !== undefined) return undefined;
  if (kind === 'user') return { user: first };
  return kind === 'group' ? { group: first } : undefined;
}

/**
 * The copy of a message to a list that goes to the history alone has this content type. Its body's first
 * line is a JSON array of the users; the rest is the payload, as JSON.
 */
export const LISTED_CONTENT_TYPE = 'application/vnd.warren.listed';

/**
 * - `live`: only who is connected now gets it.
 * - `queued`: waits in the device's queue until it is handled or its time is over.
 * - `stored`: as `queued`, and the history keeps it.
 */
export const deliverySchema = z.enum(['live', 'queued', 'stored']);
export type Delivery = z.infer<typeof deliverySchema>;

/** The body of `POST /v1/messages`. */
export const sendBodySchema = z.strictObject({
  to: recipientSchema,
  type: typeSchema,
  /** Any JSON, handed to the application as it is. */
  // Not z.json(), which recurses: a deeply nested body would overflow the stack.
  data: z.unknown().refine((data) => data !== undefined, { error: 'is required' }),
  /** The idempotency key; made by the server when missing. */
  id: messageIdSchema.optional(),
  /** The user in whose name it is sent; recipients see it, and it makes a conversation of the two. */
  from: idSchema.optional(),
  delivery: deliverySchema.default('queued'),
  /** How long it may wait, in milliseconds. Default: the queue's policy, 7 days. */
  ttlMs: ttlSchema.optional(),
  /** Of the messages with one key that wait for a device, the client handles only the newest. */
  collapseKey: collapseKeySchema.optional(),
  /** Whether to follow what becomes of it for each recipient: `GET /v1/messages/:id`, and events. */
  track: z.boolean().default(false),
  /** What is shown to those who have not handled it in time. It is tracked then. */
  push: pushSchema.optional(),
});
export type SendBody = z.infer<typeof sendBodySchema>;

/**
 * What became of a message when the broker confirmed it.
 * - `queued`: at least one queue of the recipient has it.
 * - `unprovisioned`: the recipient has no queue, so nobody has it.
 * - `offline`: it was `live`, and nobody is connected.
 * - `stored`: the history has it; whether a queue has it as well is not known. So it is for a group and
 *   a broadcast, from a publisher that only speaks AMQP, and while the database cannot be asked.
 */
export const outcomeSchema = z.enum(['queued', 'unprovisioned', 'offline', 'stored']);
export type Outcome = z.infer<typeof outcomeSchema>;

export const sendReplySchema = z.object({
  id: z.string(),
  /** For a group or a broadcast, which the broker fans out: whether any queue has it. */
  outcome: outcomeSchema.optional(),
  /** For a user, a device or a list. */
  recipients: z.array(z.object({ user: z.string(), outcome: outcomeSchema })).optional(),
});
export type SendReply = z.infer<typeof sendReplySchema>;

/** A request may hold so many messages. */
export const MAX_BATCH = 1000;

/** The body of `POST /v1/messages/batch`. Each is checked by itself, so that a bad one harms no other. */
export const batchBodySchema = z.strictObject({
  messages: z.array(z.unknown()).min(1).max(MAX_BATCH),
});
export type BatchBody = z.infer<typeof batchBodySchema>;

/** In the order of the request. */
export const batchReplySchema = z.object({
  results: z.array(
    z.union([
      z.object({ status: z.literal(202), ...sendReplySchema.shape }),
      z.object({ status: z.int(), problem: problemSchema }),
    ]),
  ),
});
export type BatchReply = z.infer<typeof batchReplySchema>;
