import { z } from 'zod';
import { messageOutcomeSchema } from './outcomes.js';
import { inQuery } from './rest.js';

/** How far back a timeline goes, in milliseconds: 7 days. */
export const TIMELINE_MS = 7 * 24 * 60 * 60 * 1000;

/**
 * What happens to a user.
 * - `connected`, `disconnected`: a device's connection to the broker; `reason` says why Warren has closed it.
 * - `too_many_connections`: a device had more at once than a client needs, and the older ones were closed.
 * - `session`: a device has opened one, or has taken one over. - `session_ended`: logged out, removed,
 *   revoked, or its mailbox is gone; `reason` says which.
 * - `mailbox_lost`: the queue of a device was gone, and with it what waited there.
 * - `sent`: a tracked message to the user. - `delivered`, `read`, `pushed`, `failed`: what became of it.
 * - `unreachable`: a message to a user who has no mailbox, or a live one to nobody who is connected.
 * - `handler_failed`: the application has rejected a message; `reason` names the error.
 * - `dead_letter`: a mailbox has given a message up; `reason`: `expired`, `overflowed`, `rejected`.
 * - `resent`, `discarded`: what an operator has done with a dead letter.
 * - `push_failed`: a push to one device; `reason` is the provider's. Without a device: no push could be sent of
 *   a message that waits in the mailbox; `reason` says why.
 * - `omitted`: more of a kind happened in a minute than is written down; `reason`: `connections`, `sessions`,
 *   `handler_failed`, `unprovisioned`, `offline`.
 */
export const timelineKindSchema = z.enum([
  'connected',
  'disconnected',
  'too_many_connections',
  'session',
  'session_ended',
  'mailbox_lost',
  'sent',
  'delivered',
  'read',
  'pushed',
  'failed',
  'unreachable',
  'handler_failed',
  'dead_letter',
  'resent',
  'discarded',
  'push_failed',
  'omitted',
]);
export type TimelineKind = z.infer<typeof timelineKindSchema>;

export const timelineEntrySchema = z.object({
  /** ISO 8601. */
  at: z.iso.datetime(),
  kind: timelineKindSchema,
  /** In words. Text may change. */
  summary: z.string(),
  user: z.string(),
  deviceId: z.string().optional(),
  messageId: z.string().optional(),
  /** Of the message. */
  type: z.string().optional(),
  outcome: messageOutcomeSchema.optional(),
  reason: z.string().optional(),
});
export type TimelineEntry = z.infer<typeof timelineEntrySchema>;

/** How many entries one page has, at most. */
export const MAX_TIMELINE_PAGE = 1000;

/** What `GET /v1/users/:id/timeline` is asked with. */
export const timelineQuerySchema = z.strictObject({
  /** ISO 8601. Default: 7 days ago, which is as far as it goes. */
  since: z.iso.datetime({ offset: true }).optional(),
  /** Entries before this time; that of the last entry of the page before. ISO 8601. */
  before: z.iso.datetime({ offset: true }).optional(),
  limit: inQuery(z.int().min(1).max(MAX_TIMELINE_PAGE)).prefault(200),
});
export type TimelineQuery = z.infer<typeof timelineQuerySchema>;

/** What it answers. */
export const timelineReplySchema = z.object({
  /** The newest first. */
  entries: z.array(timelineEntrySchema),
  /** Give it as `before` for the next page; missing on the last one. */
  next: z.iso.datetime().optional(),
});
export type TimelineReply = z.infer<typeof timelineReplySchema>;
