import type { Delivery, PushInput } from '@warren/protocol';
import { uuidv7 } from 'uuidv7';
import { HttpProblem } from '../problem.js';
import { PostError, SignedPost } from './signed-post.js';

/** A message that a client wants to send. */
export interface ClientMessage {
  /** Who sends it; its login has been checked. */
  from: string;
  /** Of a group, the sender is a member. */
  to: { user: string } | { group: string };
  type: string;
  data: unknown;
  delivery: Delivery;
}

/** It may be sent; those who do not handle it in time get this push. */
export interface AllowedWithPush {
  push: PushInput;
}

/** Whether it may be sent. Whatever is neither `true` nor a push refuses it. */
export type Policy = (
  message: ClientMessage,
) => Promise<boolean | AllowedWithPush> | boolean | AllowedWithPush;

/**
 * The application's, by HTTP: 200 with `{"allow": true}` lets the message through, with a `push` beside it
 * if there is to be one. Undefined when it has none.
 */
export function policyOf({
  policyUrl,
}: {
  policyUrl: { url: string; secret: string } | undefined;
}): Policy | undefined {
  if (policyUrl === undefined) return undefined;
  const post = new SignedPost(policyUrl.url, policyUrl.secret);
  return async (message) => {
    try {
      const answer = await post.send(uuidv7(), message);
      const { allow, push } = Object(answer) as { allow?: unknown; push?: PushInput };
      return allow === true && push !== undefined ? { push } : allow === true;
    } catch (error) {
      // An application that answers 403 has been asked, and refuses.
      if (error instanceof PostError && error.status === 403) return false;
      throw new HttpProblem('policy_unavailable', undefined, { cause: error });
    }
  };
}
