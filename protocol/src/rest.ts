import { z } from 'zod';
import { ID_RULE, isValidId } from './names.js';

/** Bodies of requests end here: 256 KiB. */
export const MAX_BODY_BYTES = 256 * 1024;
/** An id of a user, group or device. */
export const idSchema = z.string().refine(isValidId, {
  error: `must ${ID_RULE}`,
  params: { code: 'invalid_id' },
});

/** A list in one request has so many entries at most. */
export const MAX_LIST = 10_000;

/** Each id counts once, however often it stands in the list. */
export const idListSchema = z
  .array(idSchema)
  .min(1)
  .max(MAX_LIST)
  .transform((ids) => [...new Set(ids)]);

const WHOLE_NUMBER = /^-?\d{1,16}$/;
/** A number in a query, in digits: `Number` would take an empty text for 0, and `0x10` for 16. */
export const inQuery = (schema: z.ZodInt) =>
  z.preprocess(
    (text) => (typeof text === 'string' && WHOLE_NUMBER.test(text) ? Number(text) : text),
    schema,
  );

/** Without control characters, which neither databases nor terminals take well. */
export const plainTextSchema = (maxLength: number) =>
  z
    .string()
    .min(1)
    .max(maxLength)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, { error: 'must have no control characters' });

/** Whoever published a message chose its texts; not every database holds every character. */
export const toForeign = (text: string): string => text.replaceAll(/[\0\p{Surrogate}]/gu, '\uFFFD');
export const foreignText = (maxLength: number) =>
  z.string().min(1).max(maxLength).transform(toForeign);

/** What a device is shown as. */
const labelSchema = plainTextSchema(100);
const installationIdSchema = plainTextSchema(64);
export const sessionIdSchema = plainTextSchema(64);

/** The body of `POST /v1/sessions`. Unknown fields are ignored, for clients newer than the server. */
export const sessionBodySchema = z.object({
  /** Default: one that the server makes. */
  deviceId: idSchema.optional(),
  /** The current session's id renews it; without, the device is taken over. */
  sessionId: sessionIdSchema.optional(),
  /**
   * What all tabs of one browser, or all attempts of one process, have in common: a session that one
   * of them opened does not replace those of the others, and one logout ends them all. The next login has
   * another one.
   */
  installationId: installationIdSchema.optional(),
  /**
   * With `sessionId`: its last connection broke without a word, and may still look open to the broker,
   * which would keep the queue for it. The server closes it.
   */
  abandoned: z.boolean().optional(),
  /** Whether the device has handled messages before: a mailbox that is new has left something out then. */
  hasHandled: z.boolean().optional(),
  /** Whether the device's id is kept nowhere: it ends a few minutes after its connection does. */
  passing: z.boolean().optional(),
  /** What the user is to recognize the device by. */
  name: labelSchema.optional(),
  /** What the client runs on: an operating system or a runtime. */
  platform: labelSchema.optional(),
});
export type SessionBody = z.infer<typeof sessionBodySchema>;

/** What `DELETE /v1/sessions/:deviceId` is asked with. Unknown fields are ignored, as above. */
export const logoutQuerySchema = z.object({
  /**
   * That of the sessions which are over: a request for one that is still on its way is refused when it comes
   * (`session_ended`), so that it does not make the device anew.
   */
  installationId: installationIdSchema.optional(),
});

/** What `GET /v1/me/devices` answers. */
export const ownDevicesSchema = z.object({
  devices: z.array(
    z.object({
      deviceId: z.string(),
      /** As the client gave them; null for one that gave none. */
      name: z.string().nullable(),
      platform: z.string().nullable(),
      online: z.boolean(),
      /** ISO 8601; when a session was first opened. */
      createdAt: z.iso.datetime(),
      /** ISO 8601; when a session was last opened or renewed, or its connection last ended. */
      lastSeenAt: z.iso.datetime().nullable(),
    }),
  ),
});
export type OwnDevices = z.infer<typeof ownDevicesSchema>;

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
