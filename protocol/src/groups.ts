import { z } from 'zod';
import { idListSchema, idSchema, inQuery } from './rest.js';

/**
 * What members see of a group's history: `all` of it, or what was sent since they have `joined`. Its
 * messages reach mailboxes only since joining, either way.
 */
export const groupHistorySchema = z.enum(['all', 'joined']);
export type GroupHistory = z.infer<typeof groupHistorySchema>;

/** What `GET /v1/groups/:id` answers. */
export const groupStateSchema = z.object({
  groupId: z.string(),
  history: groupHistorySchema,
  /** How many. */
  members: z.int(),
  /** ISO 8601. */
  createdAt: z.iso.datetime(),
});
export type GroupState = z.infer<typeof groupStateSchema>;

/** The body of `PUT /v1/groups/:id`. */
export const groupBodySchema = z.strictObject({
  /** Default: as it is; `all` for a new group. */
  history: groupHistorySchema.optional(),
});
export type GroupBody = z.infer<typeof groupBodySchema>;

/** The body of `PUT /v1/groups/:id/members/:user`, which takes no fields: a misspelt one would do nothing. */
export const memberBodySchema = z.strictObject({});

/** What `GET /v1/groups/:id/members/:user` answers. */
export const memberSchema = z.object({ user: z.string(), joinedAt: z.iso.datetime() });
export type MemberState = z.infer<typeof memberSchema>;

/** The body of `POST /v1/groups/:id/members`. */
export const membersBodySchema = z
  .strictObject({ add: idListSchema.optional(), remove: idListSchema.optional() })
  .refine(({ add, remove }) => add !== undefined || remove !== undefined, {
    error: 'must have at least one of: add, remove',
  })
  .refine(({ add = [], remove = [] }) => !overlap(add, remove), {
    error: 'must not add and remove the same user',
  });
export type MembersBody = z.infer<typeof membersBodySchema>;

function overlap(some: string[], others: string[]): boolean {
  const known = new Set(some);
  return others.some((id) => known.has(id));
}

/** How many were no members before, and how many were. */
export const membersReplySchema = z.object({ added: z.int(), removed: z.int() });
export type MembersReply = z.infer<typeof membersReplySchema>;

/** How many members one page has, at most and by default. */
export const MAX_PAGE = 1000;

/** What `GET /v1/groups/:id/members` is asked with. */
export const membersQuerySchema = z.strictObject({
  /** The last user of the page before. */
  after: idSchema.optional(),
  limit: inQuery(z.int().min(1).max(MAX_PAGE)).prefault(MAX_PAGE),
});

export const membersPageSchema = z.object({
  members: z.array(memberSchema),
  /** Give it as `after` for the next page; missing on the last one. */
  next: z.string().optional(),
});
export type MembersPage = z.infer<typeof membersPageSchema>;
