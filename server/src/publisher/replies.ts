import { DEFAULT_MAX_MESSAGE_BYTES, encode } from './compose.js';
import type { ConfirmChannel } from './confirm-channel.js';

/** The exchange that answers go to; as in `@warren/rabbitmq`, which the publish helper does not load. */
export const REPLIES = 'warren.replies';
/** The type of an answer that says that there is none. */
export const FAILED_TYPE = 'failed';
/** Who answers, percent-encoded; the server has checked it. */
export const REPLY_USER_HEADER = 'x-warren-user';

/** The correlation id of a request: the key of who waits, and the request's own. */
export type ReplyAddress = `${string}.${string}`;

const ADDRESS = /^([0-9a-f]{32})\.[0-9a-f]{32}$/;

export interface Answer {
  userId: string;
  correlationId: string;
  /** Undefined: the client has failed. */
  reply: { data: unknown } | undefined;
}

/**
 * Hands a client's answer to whoever waits for it.
 * @returns false when nobody does any more. @throws {PublishError}
 */
export async function handOverAnswer(
  channel: ConfirmChannel,
  { userId, correlationId, reply }: Answer,
): Promise<boolean> {
  const key = ADDRESS.exec(correlationId)?.[1];
  if (key === undefined) return false;
  const body = encode(reply?.data ?? null, correlationId, DEFAULT_MAX_MESSAGE_BYTES);
  const routing = await channel.publish(
    {
      exchange: REPLIES,
      routingKey: key,
      messageId: correlationId,
      correlationId,
      type: reply === undefined ? FAILED_TYPE : 'reply',
      contentType: 'application/json',
      durable: false,
      mandatory: true,
      headers: { [REPLY_USER_HEADER]: encodeURIComponent(userId) },
    },
    body,
  );
  return routing === 'routed';
}
