import { z } from 'zod';
import { foreignText, idSchema, inQuery, toForeign } from './rest.js';

/** How many messages one page has, at most and by default. */
export const MAX_HISTORY_PAGE = 200;
const DEFAULT_HISTORY_PAGE = 50;

/** A message's id, as `before` and `after` take it. */
const cursorSchema = foreignText(128);

const PAGE = {
  /** Only messages that are older than the one with this id. */
  before: cursorSchema.optional(),
  /** Only messages that are newer than the one with this id. */
  after: cursorSchema.optional(),
  limit: inQuery(z.int().min(1).max(MAX_HISTORY_PAGE)).prefault(DEFAULT_HISTORY_PAGE),
  /** `desc`: the newest first. */
  order: z.enum(['desc', 'asc']).default('desc'),
};
export interface HistoryPageQuery {
  before?: string | undefined;
  after?: string | undefined;
  limit: number;
  order: 'desc' | 'asc';
}

/** What `GET /v1/history` is asked with. */
export const historyQuerySchema = z
  .strictObject({
    /** What went to this user: alone, on a list, in a group since joining it, or to everybody. */
    user: idSchema.optional(),
    /** With `user`: what these two have sent to each other. */
    with: idSchema.optional(),
    /** What went to this group. */
    group: idSchema.optional(),
    ...PAGE,
  })
  .refine(({ user, group }) => (user === undefined) !== (group === undefined), {
    error: 'must have exactly one of: user, group',
  })
  .refine((query) => query.with === undefined || query.user !== undefined, {
    error: 'takes "with" only beside "user"',
  });
export type HistoryQuery = z.infer<typeof historyQuerySchema>;

/** What `GET /v1/me/history` is asked with. Unknown fields are ignored, for clients newer than the server. */
export const ownHistoryQuerySchema = z
  .object({
    /** What this user and another one have sent to each other. */
    with: idSchema.optional(),
    /** What went to a group that the user is in. */
    group: idSchema.optional(),
    ...PAGE,
  })
  .refine((query) => query.with === undefined || query.group === undefined, {
    error: 'must have only one of: with, group',
  });
export type OwnHistoryQuery = z.infer<typeof ownHistoryQuerySchema>;

const addressSchema = z.union([
  z.object({ user: z.string() }),
  z.object({ device: z.object({ user: z.string(), device: z.string() }) }),
  z.object({ group: z.string() }),
  z.object({ broadcast: z.literal(true) }),
]);

/** A message as the history keeps it. */
export const historyItemSchema = z.object({
  id: z.string(),
  type: z.string(),
  /** The payload, unless it is neither JSON nor text. */
  data: z.unknown().optional(),
  /** The payload in base64, when it is neither JSON nor text. */
  base64: z.string().optional(),
  /** When it is not `application/json`. */
  contentType: z.string().optional(),
  /** The user who sent it; missing for a message of the application's server. */
  from: z.string().optional(),
  /** To whom it went. What went to a list looks as if it had gone to this user alone. */
  to: addressSchema,
  /** ISO 8601; when it was sent. */
  at: z.iso.datetime(),
  correlationId: z.string().optional(),
  /** The other `x-…` headers that it had. */
  headers: z.record(z.string(), z.string()).optional(),
});
export type HistoryItem = z.infer<typeof historyItemSchema>;

export const historyReplySchema = z.object({
  items: z.array(historyItemSchema),
  /** For the next page: as `before` when the newest come first, else as `after`. Missing on the last one. */
  next: z.string().optional(),
});
export type HistoryReply = z.infer<typeof historyReplySchema>;

/** Whatever AMQP takes for a message_id: a device that has handled such a message must be able to recover. */
const rememberedSchema = z.string().max(255).transform(toForeign);

/**
 * What `GET /v1/me/recovery` is asked with: what a device remembers of the messages that it has handled.
 * Unknown fields are ignored.
 */
export const recoveryQuerySchema = z.object({
  deviceId: idSchema,
  /** The id of the last stored message that the device has handled. */
  last: rememberedSchema.optional(),
  /** The id of the oldest stored one that it still knows: what came before could not be told from a new one. */
  oldest: rememberedSchema.optional(),
  /** When it has handled its last message, in milliseconds since 1970. */
  lastAt: inQuery(z.int().nonnegative()).optional(),
  /** `next` of the page before, beside the others. */
  cursor: z
    .string()
    .regex(/^\d{1,15}-\d{1,15}$/)
    .optional(),
  limit: inQuery(z.int().min(1).max(MAX_HISTORY_PAGE)).prefault(MAX_HISTORY_PAGE),
});
export type RecoveryQuery = z.infer<typeof recoveryQuerySchema>;

export const recoveryReplySchema = z.object({
  /** What went to the device meanwhile, the oldest first. */
  items: z.array(historyItemSchema),
  /** Give it as `cursor` for the next page; missing on the last one. */
  next: z.string().optional(),
  /** Whether these are all: false when messages were lost that no history has, or has no more. */
  complete: z.boolean(),
  /** Names what was missed, for `POST /v1/me/recovery`. */
  mark: z.string(),
});
export type RecoveryReply = z.infer<typeof recoveryReplySchema>;

/** The body of `POST /v1/me/recovery`: the device has handled all pages. Unknown fields are ignored. */
export const recoveredBodySchema = z.object({
  deviceId: idSchema,
  mark: z.string().regex(/^\d{1,15}$/, { error: 'must be the mark of the reply' }),
});
export type RecoveredBody = z.infer<typeof recoveredBodySchema>;

/** The type of the message that tells a connected client that its mailbox has lost something. */
export const MISSED_TYPE = 'warren.missed';
