import { z } from 'zod';
import {
  deliverySchema,
  messageIdSchema,
  ttlSchema,
  typeSchema,
  collapseKeySchema,
} from './messages.js';
import { idSchema } from './rest.js';

/** A request is waited for at most so long, in milliseconds. */
export const MAX_REQUEST_MS = 60_000;

/** The body of `POST /v1/requests`. */
export const requestBodySchema = z.strictObject({
  /** Of a user's devices, the first that answers counts. */
  to: z
    .strictObject({
      user: idSchema.optional(),
      device: z.strictObject({ user: idSchema, device: idSchema }).optional(),
    })
    .transform((to, context): { user: string } | { device: { user: string; device: string } } => {
      if (to.user !== undefined && to.device === undefined) return { user: to.user };
      if (to.device !== undefined && to.user === undefined) return { device: to.device };
      context.addIssue({ code: 'custom', message: 'must have exactly one of: user, device' });
      return z.NEVER;
    }),
  type: typeSchema,
  data: z.unknown().refine((data) => data !== undefined, { error: 'is required' }),
  /** How long the answer is waited for, in milliseconds. */
  timeoutMs: z.int().positive().max(MAX_REQUEST_MS).default(10_000),
});
export type RequestBody = z.infer<typeof requestBodySchema>;

export const requestReplySchema = z.object({
  /** What the client has answered. */
  reply: z.unknown(),
});
export type RequestReply = z.infer<typeof requestReplySchema>;

/** The body of `POST /v1/me/replies/:correlationId`. */
export const answerBodySchema = z.object({
  /** Any JSON. */
  reply: z.unknown().optional(),
  /** There is no reply, since the client's handler has failed. */
  failed: z.boolean().default(false),
});
export type AnswerBody = z.infer<typeof answerBodySchema>;

/** The body of `POST /v1/me/messages`. Unknown fields are ignored, for clients newer than the server. */
export const clientSendBodySchema = z.object({
  to: z
    .object({ user: idSchema.optional(), group: idSchema.optional() })
    .transform((to, context): { user: string } | { group: string } => {
      if (to.user !== undefined && to.group === undefined) return { user: to.user };
      if (to.group !== undefined && to.user === undefined) return { group: to.group };
      context.addIssue({ code: 'custom', message: 'must have exactly one of: user, group' });
      return z.NEVER;
    }),
  type: typeSchema,
  data: z.unknown().refine((data) => data !== undefined, { error: 'is required' }),
  /** Sent again with the same one, it is handled once. */
  id: messageIdSchema.max(64).optional(),
  delivery: deliverySchema.default('queued'),
  ttlMs: ttlSchema.optional(),
  collapseKey: collapseKeySchema.optional(),
});
export type ClientSendBody = z.infer<typeof clientSendBodySchema>;

export const clientSendReplySchema = z.object({
  /** As the recipients see it. */
  id: z.string(),
});
export type ClientSendReply = z.infer<typeof clientSendReplySchema>;
