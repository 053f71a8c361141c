import { z } from 'zod';
import { isValidId } from './names.js';

/** Bodies of requests end here: 256 KiB. */
export const MAX_BODY_BYTES = 256 * 1024;
/** As long as a mailbox keeps a message when nothing else is said: 7 days. */
export const MAX_TTL_MS = 7 * 24 * 60 * 60 * 1000;

/** A message of a back end that says nothing about itself has this type. */
export const DEFAULT_TYPE = 'message';

/** An id of a user, group or device. */
export const idSchema = z.string().refine(isValidId, {
  error: 'must have 1 to 256 bytes of valid UTF-8',
  params: { code: 'invalid_id' },
});

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

const typeSchema = z.string().refine(isValidType, { error: TYPE_RULE });
const messageIdSchema = z.string().refine(isValidMessageId, { error: MESSAGE_ID_RULE });

/** Where a message goes: all devices of a user, or one device. */
export type Recipient = { user: string } | { device: { user: string; device: string } };

// Written as one object rather than a union, whose errors would speak of every branch at once.
export const recipientSchema = z
  .strictObject({
    user: idSchema.optional(),
    device: z.strictObject({ user: idSchema, device: idSchema }).optional(),
  })
  .transform((to, context): Recipient => {
    if (to.user !== undefined && to.device === undefined) return { user: to.user };
    if (to.device !== undefined && to.user === undefined) return { device: to.device };
    context.addIssue({ code: 'custom', message: 'must have exactly one of: user, device' });
    return z.NEVER;
  });

/**
 * - `live`: only who is connected now gets it.
 * - `queued`: waits in the device's queue until it is handled or its time is over.
 */
export const deliverySchema = z.enum(['live', 'queued']);
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
  delivery: deliverySchema.default('queued'),
  /** How long it may wait, in milliseconds. Default: the queue's policy, 7 days. */
  ttlMs: z.int().positive().max(MAX_TTL_MS).optional(),
  /** Of the messages with one key that wait for a device, the client handles only the newest. */
  collapseKey: z.string().refine(isValidCollapseKey, { error: COLLAPSE_KEY_RULE }).optional(),
});
export type SendBody = z.infer<typeof sendBodySchema>;

/**
 * What became of a message when the broker confirmed it.
 * - `queued`: at least one queue of the recipient has it.
 * - `unprovisioned`: the recipient has no queue, so nobody has it.
 * - `offline`: it was `live`, and nobody is connected.
 */
export const outcomeSchema = z.enum(['queued', 'unprovisioned', 'offline']);
export type Outcome = z.infer<typeof outcomeSchema>;

export const sendReplySchema = z.object({
  id: z.string(),
  recipients: z.array(z.object({ user: z.string(), outcome: outcomeSchema })),
});
export type SendReply = z.infer<typeof sendReplySchema>;

/** The body of `POST /v1/sessions`. Unknown fields are ignored, for clients newer than the server. */
export const sessionBodySchema = z.object({
  /** Default: one that the server makes. */
  deviceId: idSchema.optional(),
  /** The current session's id renews it; without, the device is taken over. */
  sessionId: z.string().min(1).max(64).optional(),
  /**
   * What all tabs of one browser, or all attempts of one process, have in common: a session that one
   * of them opened does not replace those of the others.
   */
  installationId: z.string().min(1).max(64).optional(),
  /**
   * With `sessionId`: its last connection broke without a word, and may still look open to the broker,
   * which would keep the queue for it. The server closes it.
   */
  abandoned: z.boolean().optional(),
});
export type SessionBody = z.infer<typeof sessionBodySchema>;

/** The longest life of a token that `POST /v1/users/:id/tokens` makes: 30 days, in seconds. */
export const MAX_TOKEN_TTL_SECONDS = 30 * 24 * 60 * 60;

/** The body of `POST /v1/users/:id/tokens`. */
export const tokenBodySchema = z.strictObject({
  /** How long the token lasts, in seconds; 30 days at most. */
  ttlSeconds: z.int().positive().max(MAX_TOKEN_TTL_SECONDS).default(3600),
});

export const tokenReplySchema = z.object({
  /** A user's JWT, for `Authorization: Bearer` on the routes of users. */
  token: z.string(),
  /** ISO 8601. */
  expiresAt: z.iso.datetime(),
});
export type TokenReply = z.infer<typeof tokenReplySchema>;

/** The body of `POST /v1/users/:id/disconnect` and `…/revoke`. */
export const cutOffBodySchema = z.strictObject({
  /** This device alone. Default: all of the user's. */
  deviceId: idSchema.optional(),
});
export type CutOffBody = z.infer<typeof cutOffBodySchema>;

/** The body of `PUT /v1/users/:id`. */
export const provisionBodySchema = z.strictObject({
  /**
   * Devices that get their queues now. Without any, a user that has no device yet gets one mailbox,
   * and the first device that opens a session takes it as its own.
   */
  devices: z.array(idSchema).max(20).default([]),
});
export type ProvisionBody = z.infer<typeof provisionBodySchema>;

/** What `PUT` and `GET /v1/users/:id` answer. */
export const userStateSchema = z.object({
  userId: z.string(),
  online: z.boolean(),
  devices: z.array(
    z.object({
      /** Null for a mailbox that waits for the user's first device. */
      deviceId: z.string().nullable(),
      queue: z.string(),
      online: z.boolean(),
      /** Messages that wait or are being handled; null when the queue is gone. */
      depth: z.int().nullable(),
      /** ISO 8601; when a session was last opened or renewed, or its connection last ended. */
      lastSeenAt: z.string().nullable(),
    }),
  ),
});
export type UserState = z.infer<typeof userStateSchema>;

/** The body of `POST /dev/token`, which exists only where `npm start` runs. */
export const devTokenBodySchema = z.strictObject({ userId: idSchema });
