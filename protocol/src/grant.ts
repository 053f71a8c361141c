import { z } from 'zod';

/** The version of the wire contract; a grant and the `Warren-Protocol` request header carry it. */
export const PROTOCOL_VERSION = 1;

/** What `POST /v1/sessions` answers: all that a client needs to consume its device's queues. */
export const sessionGrantSchema = z.object({
  protocol: z.literal(PROTOCOL_VERSION),
  userId: z.string(),
  deviceId: z.string(),
  /** Names this session; sent again, it renews; a session without it takes the device over. */
  sessionId: z.string(),
  queue: z.string(),
  liveQueue: z.string(),
  vhost: z.string(),
  /** The password for the broker; the login is the queue's name. */
  token: z.string(),
  /** ISO 8601; the token's end. Renew before. */
  expiresAt: z.iso.datetime(),
  /** False when the queue is new, so that messages may have been missed. */
  resumed: z.boolean(),
  /**
   * True when the device has missed something, now or in a session before, and has not recovered it yet
   * (`GET /v1/me/recovery`).
   */
  missed: z.boolean().optional(),
  /** Addresses of the broker, to be tried in order. */
  endpoints: z.object({ stomp: z.array(z.string()), amqp: z.array(z.string()) }),
  /** How many unacknowledged messages the broker sends ahead. */
  prefetch: z.int().positive(),
});

export type SessionGrant = z.infer<typeof sessionGrantSchema>;
