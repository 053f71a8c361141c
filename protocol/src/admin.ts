import { z } from 'zod';
import { messageOutcomeSchema } from './outcomes.js';
import { pushProviderSchema } from './push.js';
import { idSchema, inQuery, sessionIdSchema, userStateSchema } from './rest.js';
import { timelineEntrySchema } from './timeline.js';

/** `viewer` looks at everything; `operator` also acts. */
export const adminRoleSchema = z.enum(['viewer', 'operator']);
export type AdminRole = z.infer<typeof adminRoleSchema>;

/** What `POST /v1/admin/tokens` answers. */
export const adminTokenSchema = z.object({
  /** For `Authorization: Bearer` on the routes of admins, in place of the key or JWT it was asked for with. */
  token: z.string(),
  expiresAt: z.iso.datetime(),
  role: adminRoleSchema,
  /** How the audit log calls whoever has it. */
  actor: z.string(),
});
export type AdminToken = z.infer<typeof adminTokenSchema>;

/** The body of `POST /v1/admin/sessions`. Unknown fields are ignored, for SDKs newer than the server. */
export const consoleBodySchema = z.object({
  deviceId: idSchema.optional(),
  /** The current session's id renews it. */
  sessionId: sessionIdSchema.optional(),
});
export type ConsoleBody = z.infer<typeof consoleBodySchema>;

/** How long a console is fed after it has last said what it shows, in seconds. */
export const FEED_SECONDS = 60;

/** Patterns of routing keys on `warren.events`, with `*` for one word and `#` for any number of them. */
const eventPatternSchema = z
  .string()
  .regex(/^[A-Za-z0-9_.*#-]{1,200}$/, { error: 'must be a pattern of events', abort: true })
  .refine((pattern) => !canMatch(pattern, ['trace', undefined]), {
    error: 'must not match trace.<user>: name the user in "watch"',
  });

/** Whether a topic exchange lets the pattern match such a key; `undefined` in it stands for any word. */
function canMatch(pattern: string, key: (string | undefined)[]): boolean {
  /** How many of the key's words what was read of the pattern can match. */
  let reached = new Set([0]);
  for (const word of pattern.split('.')) {
    const next = new Set<number>();
    for (const count of reached) {
      if (word === '#') for (let more = count; more <= key.length; more++) next.add(more);
      else if (count < key.length && (word === '*' || word === (key[count] ?? word))) {
        next.add(count + 1);
      }
    }
    reached = next;
  }
  return reached.has(key.length);
}

/** The body of `PUT /v1/admin/sessions/:id/feed`: all that is to arrive, in place of what did. */
export const feedBodySchema = z.strictObject({
  /** Not those of traces, which come by `watch` alone: the audit log has whom each operator has watched. */
  events: z.array(eventPatternSchema).max(20).default([]),
  /** Users whose messages are shown as they are sent, delivered and acked. */
  watch: z.array(idSchema).max(3).default([]),
});
export type FeedBody = z.infer<typeof feedBodySchema>;

/** What it answers. */
export const feedReplySchema = z.object({ expiresAt: z.iso.datetime() });
export type FeedReply = z.infer<typeof feedReplySchema>;

/** How many entries one page has, at most. */
const MAX_ADMIN_PAGE = 200;
const limitSchema = inQuery(z.int().min(1).max(MAX_ADMIN_PAGE)).prefault(50);

/** What `GET /v1/admin/users` is asked with. */
export const adminUsersQuerySchema = z.strictObject({
  /** A part of the id, upper or lower case. Default: everybody. */
  search: z.string().max(256).default(''),
  /** The last user of the page before. */
  after: idSchema.optional(),
  limit: limitSchema,
});
export type AdminUsersQuery = z.infer<typeof adminUsersQuerySchema>;

export const adminUsersReplySchema = z.object({
  /** In the order in which the database keeps them. */
  users: z.array(
    z.object({
      user: z.string(),
      online: z.boolean(),
      devices: z.int(),
      lastSeenAt: z.iso.datetime().nullable(),
    }),
  ),
  /** Give it as `after` for the next page; missing on the last one. */
  next: z.string().optional(),
});
export type AdminUsersReply = z.infer<typeof adminUsersReplySchema>;

/** What `GET /v1/admin/users/:id` answers: no token of a push device. */
export const adminUserSchema = userStateSchema.extend({
  groups: z.array(z.string()),
  pushDevices: z.array(
    z.object({
      deviceId: z.string(),
      provider: pushProviderSchema,
      language: z.string().optional(),
      updatedAt: z.iso.datetime(),
    }),
  ),
});
export type AdminUser = z.infer<typeof adminUserSchema>;

/** The body of `POST /v1/admin/users/:id/purge`. */
export const purgeBodySchema = z.strictObject({
  /** This device alone. Default: all of the user's. */
  deviceId: idSchema.optional(),
});
export const purgeReplySchema = z.object({
  /** How many messages were thrown away. */
  purged: z.int(),
});
export type PurgeReply = z.infer<typeof purgeReplySchema>;

/** What `GET /v1/admin/groups` is asked with. */
export const adminGroupsQuerySchema = adminUsersQuerySchema;
export const adminGroupsReplySchema = z.object({
  groups: z.array(
    z.object({
      groupId: z.string(),
      /** 1,000 at most. */
      members: z.int(),
      hasMoreMembers: z.boolean(),
      createdAt: z.iso.datetime(),
    }),
  ),
  next: z.string().optional(),
});
export type AdminGroupsReply = z.infer<typeof adminGroupsReplySchema>;

/** What `GET /v1/admin/audience` answers: whom a broadcast reaches. */
export const audienceSchema = z.object({
  users: z.int(),
  devices: z.int(),
  /** Devices that are connected; null when it is not known. */
  online: z.int().nullable(),
});
export type Audience = z.infer<typeof audienceSchema>;

/** Why a message is a dead letter; `job` for work of Warren's own that nobody could do. */
export const deadReasonSchema = z.enum(['expired', 'overflowed', 'rejected', 'job']);
export type DeadReason = z.infer<typeof deadReasonSchema>;

const deadLetterFilter = {
  reason: deadReasonSchema.optional(),
  /** The user whose mailbox it was. */
  user: idSchema.optional(),
  /** The message's type. */
  type: z.string().min(1).max(128).optional(),
};

/** What `GET /v1/admin/dead-letters` is asked with. */
export const deadLettersQuerySchema = z.strictObject({
  ...deadLetterFilter,
  /** The last one of the page before. */
  after: inQuery(z.int().min(1)).optional(),
  limit: limitSchema,
});
export type DeadLettersQuery = z.infer<typeof deadLettersQuerySchema>;

export const deadLetterSchema = z.object({
  id: z.int(),
  /** When it was given up. */
  at: z.iso.datetime(),
  reason: deadReasonSchema,
  /** The queue that has given it up. */
  queue: z.string(),
  user: z.string().optional(),
  deviceId: z.string().optional(),
  messageId: z.string().optional(),
  type: z.string().optional(),
  /** Of the body, in bytes. */
  size: z.int(),
  /** Of a job: what was wrong. */
  detail: z.string().optional(),
});
export type DeadLetter = z.infer<typeof deadLetterSchema>;

export const deadLettersReplySchema = z.object({
  /** The newest first. */
  letters: z.array(deadLetterSchema),
  /** How many fit the filter. */
  total: z.int(),
  /** Give it as `after` for the next page; missing on the last one. */
  next: z.int().optional(),
});
export type DeadLettersReply = z.infer<typeof deadLettersReplySchema>;

/** What `GET /v1/admin/dead-letters/:id` answers. */
export const deadLetterDetailSchema = deadLetterSchema.extend({
  /** As text, 64 KiB at most; undefined when it is not UTF-8. */
  body: z.string().optional(),
  contentType: z.string().optional(),
  headers: z.record(z.string(), z.unknown()),
});
export type DeadLetterDetail = z.infer<typeof deadLetterDetailSchema>;

/** The body of `POST /v1/admin/dead-letters/resend` and `…/discard`: these, or all that fit. */
export const deadLettersBodySchema = z.union([
  z.strictObject({ ids: z.array(z.int().min(1)).min(1).max(10_000) }),
  z.strictObject({ all: z.literal(true), ...deadLetterFilter }),
]);
export type DeadLettersBody = z.infer<typeof deadLettersBodySchema>;

/** What they answer: how many of each. */
export const deadLettersDoneSchema = z.object({
  /** Sent again under a new id, or thrown away. */
  done: z.int(),
  /** There is no mailbox any more to send it to; it stays a dead letter. */
  unreachable: z.int(),
  /** Not among the dead letters any more. */
  gone: z.int(),
});
export type DeadLettersDone = z.infer<typeof deadLettersDoneSchema>;

/** What `GET /v1/admin/messages/:id` is asked with. */
export const adminMessageQuerySchema = z.strictObject({
  /** The last user of the page before. */
  after: idSchema.optional(),
  limit: limitSchema,
});

/** What it answers: all that is known of a message, tracked or not. */
export const adminMessageSchema = z.object({
  id: z.string(),
  type: z.string().optional(),
  createdAt: z.iso.datetime().optional(),
  /** When it stops waiting. */
  expiresAt: z.iso.datetime().optional(),
  /** To whom, without the entries of a list. */
  to: z.unknown().optional(),
  from: z.string().optional(),
  /** Whether its outcome is followed, and whether the history has it. */
  tracked: z.boolean(),
  stored: z.boolean(),
  /** Whether the broker has confirmed it; only of a tracked one. */
  confirmed: z.boolean().optional(),
  counts: z.partialRecord(messageOutcomeSchema, z.int()),
  recipients: z.array(
    z.object({
      user: z.string(),
      outcome: messageOutcomeSchema,
      /** What happened to it, the first first. */
      steps: z.array(timelineEntrySchema),
      pushes: z.array(
        z.object({
          deviceId: z.string(),
          provider: pushProviderSchema,
          state: z.string(),
          reason: z.string().optional(),
        }),
      ),
    }),
  ),
  /** What is known besides: of messages that nobody follows. */
  events: z.array(timelineEntrySchema),
  /** Give it as `after` for the next page of recipients; missing on the last one. */
  next: z.string().optional(),
});
export type AdminMessage = z.infer<typeof adminMessageSchema>;

/** What `GET /v1/admin/audit` is asked with. */
export const auditQuerySchema = z.strictObject({
  /** The last one of the page before. */
  after: inQuery(z.int().min(1)).optional(),
  limit: limitSchema,
});
export const auditReplySchema = z.object({
  /** The newest first. */
  entries: z.array(
    z.object({
      id: z.int(),
      at: z.iso.datetime(),
      actor: z.string(),
      action: z.string(),
      target: z.string(),
      /** `done`, the code of an error, or null while it is not known. */
      result: z.string().nullable(),
    }),
  ),
  next: z.int().optional(),
});
export type AuditReply = z.infer<typeof auditReplySchema>;
