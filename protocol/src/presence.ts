import { z } from 'zod';
import { idListSchema, idSchema } from './rest.js';

/** What `GET /v1/presence` is asked with: ids with commas between them. `POST` takes any id. */
export const presenceQuerySchema = z.strictObject({
  users: z
    .string()
    .transform((text) => text.split(','))
    .pipe(idListSchema),
});

/** The body of `POST /v1/presence`. */
export const presenceBodySchema = z.strictObject({ users: idListSchema });

export const presenceReplySchema = z.object({
  /** In the order in which they were asked for. */
  users: z.array(
    z.object({
      user: idSchema,
      online: z.boolean(),
      /** ISO 8601: when a session was last opened, or the last connection ended; null when never. */
      lastSeenAt: z.iso.datetime().nullable(),
    }),
  ),
});
export type PresenceReply = z.infer<typeof presenceReplySchema>;
