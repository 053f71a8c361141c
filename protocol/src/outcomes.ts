import { z } from 'zod';
import { foreignText, idSchema, inQuery, toForeign } from './rest.js';

/**
 * What has become of a tracked message for one recipient.
 * - `queued`: it waits in a mailbox, or is on its way.
 * - `delivered`: a device has handled it. - `read`: the application says that the user has read it.
 * - `pushed`: nobody has handled it in time, and the provider of a push has taken it. It still waits in the
 *   mailbox, if there is one.
 * - `push_failed`: a push was to be sent, and no provider has taken it. - `no_push_device`: a push was to be
 *   sent, and the recipient has no device that wants it. Both are final for a recipient without a mailbox; for
 *   all others it still waits there, and what becomes of it follows, as after `pushed`.
 *
 * And these, which are final:
 * - `unprovisioned`: the recipient had no mailbox. - `offline`: it was `live`, and nobody was connected.
 * - `expired`: its time was over. - `overflowed`: the mailbox was full, and it was the oldest.
 * - `rejected`: no handler would have it. - `revoked`: the recipient was cut off.
 * - `dropped`: the mailbox is gone, by logout, removal, expiry or loss.
 * - `superseded`: a newer one of its sender, type and collapse key took its place before a device handled it.
 * - `unconfirmed`: no word of it a minute after its time.
 */
export const messageOutcomeSchema = z.enum([
  'queued',
  'delivered',
  'read',
  'pushed',
  'unprovisioned',
  'offline',
  'expired',
  'overflowed',
  'rejected',
  'revoked',
  'dropped',
  'superseded',
  'push_failed',
  'no_push_device',
  'unconfirmed',
]);
export type MessageOutcome = z.infer<typeof messageOutcomeSchema>;

/** How many recipients one page has, at most and by default. */
export const MAX_RECIPIENTS_PAGE = 1000;

/** What `GET /v1/messages/:id` is asked with. */
export const outcomesQuerySchema = z.strictObject({
  /** The last user of the page before. */
  after: idSchema.optional(),
  limit: inQuery(z.int().min(1).max(MAX_RECIPIENTS_PAGE)).prefault(MAX_RECIPIENTS_PAGE),
});

/** What `GET /v1/messages/:id` answers. Times are ISO 8601. */
export const messageStateSchema = z.object({
  id: z.string(),
  type: z.string(),
  createdAt: z.iso.datetime(),
  /** How many recipients have each outcome. */
  counts: z.partialRecord(messageOutcomeSchema, z.int()),
  recipients: z.array(
    z.object({
      user: z.string(),
      outcome: messageOutcomeSchema,
      /** Since when. */
      since: z.iso.datetime(),
      /** Also when word of it came too late to change the outcome. */
      deliveredAt: z.iso.datetime().optional(),
      readAt: z.iso.datetime().optional(),
      /** When a provider has taken the first push. */
      pushedAt: z.iso.datetime().optional(),
      /** As long as the outcome is `push_failed` or `no_push_device`: why. */
      reason: z.string().optional(),
    }),
  ),
  /** Give it as `after` for the next page; missing on the last one. */
  next: z.string().optional(),
});
export type MessageState = z.infer<typeof messageStateSchema>;

// What a client reports is cut to what it can be rather than refused, with all else in the same request, which it would
// not send again.

/** 90 days. */
const MAX_PAST_MS = 90 * 24 * 60 * 60 * 1000;
const durationSchema = z.number().transform((ms) => Math.min(Math.max(ms, 0), MAX_PAST_MS));
const MAX_REPORTED_ID = 128;
/** Empty for one that no message of Warren's has. */
const reportedIdSchema = z
  .string()
  .transform((id) => (id.length > MAX_REPORTED_ID ? '' : toForeign(id)));
const reportedIdsSchema = z
  .array(reportedIdSchema)
  .max(500)
  .transform((ids) => ids.filter((id) => id !== ''))
  .default([]);
const MAX_REPORTED_TYPE = 255;

/** A client's word of how a message ended there. */
export const handlingSchema = z.object({
  /** Missing: the message had none, or one that is none. */
  id: reportedIdSchema.transform((id) => (id === '' ? undefined : id)).optional(),
  type: z.string().transform((type) => toForeign(type.slice(0, MAX_REPORTED_TYPE))),
  /** Why it was rejected; missing: it was acked. */
  error: z
    .enum(['no_handler', 'tab_hung', 'handler_failed', 'handler_timeout', 'undecodable'])
    .optional()
    .catch('handler_failed'),
  /** The name of what the handler threw, `TypeError` for one; never its text. */
  name: z
    .string()
    .regex(/^[\w$.]{1,80}$/)
    .optional()
    .catch(undefined),
  /** How long it took here, until the ack or the rejection, in milliseconds. */
  tookMs: durationSchema,
  /** How long ago that was, in milliseconds. */
  agoMs: durationSchema,
});
export type Handling = z.infer<typeof handlingSchema>;

/** The body of `POST /v1/me/receipts`. Unknown fields are ignored, for clients newer than the server. */
export const receiptsBodySchema = z.object({
  deviceId: foreignText(256).optional(),
  delivered: z.array(reportedIdSchema).max(500).default([]),
  /** How long ago each of `delivered` was acked, in milliseconds; null where it is not known. */
  agoMs: z.array(durationSchema.nullable()).max(500).default([]),
  read: reportedIdsSchema,
  /** Of these the device took a newer one with the same collapse key; it counts with `deviceId` alone. */
  superseded: reportedIdsSchema,
  /** Messages that were rejected, and while somebody watches, all of them. */
  handled: z.array(handlingSchema).max(500).default([]),
  /** Whether somebody watches, as the client was told by a message `warren.watch`. */
  watched: z.boolean().default(false),
});
export type ReceiptsBody = z.infer<typeof receiptsBodySchema>;

/** The type of a live message that asks a user's devices to tell of all that they handle, for a while. */
export const WATCH_TYPE = 'warren.watch';
/** What it carries. */
export interface WatchNews {
  /** For how long from now, in milliseconds. */
  forMs: number;
}

/** The type of a message that tells a user's devices what was read on another one. */
export const READ_TYPE = 'warren.read';
/** What it carries. */
export interface ReadNews {
  ids: string[];
}
