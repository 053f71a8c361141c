import { encodeId } from './names.js';
import type { MessageOutcome } from './outcomes.js';

interface About {
  user: string;
}

interface AboutMessage extends About {
  messageId: string;
  type: string;
  outcome: MessageOutcome;
}

/** What can happen, and what is told of it. */
export interface EventBodies {
  /** The user's first device has connected. */
  'user.online': About;
  /** The last one has gone, and did not come back for a moment. */
  'user.offline': About;
  /** A device has opened a session, or has been taken over by one. */
  'session.created': About & { deviceId: string; kind: 'new' | 'takeover' };
  /** A device was logged out, removed or revoked, or its mailbox has expired. */
  'session.ended': About & { deviceId: string | null; reason: string };
  'session.revoked': About & { deviceId: string | null };
  /** The first device of a recipient has handled it. */
  'message.delivered': AboutMessage;
  /** The recipient has read it. */
  'message.read': AboutMessage;
  /** The provider of a push has taken it. */
  'message.pushed': AboutMessage;
  /** It has ended otherwise; `reason` says why there was no push. */
  'message.failed': AboutMessage & { reason?: string };
  /** What a back end has put on `warren.send` could not be sent. */
  'message.refused': {
    messageId: string | null;
    /** The account that sent it, if the message named it and the broker has checked that. */
    account: string | null;
    code: string;
    detail: string;
  };
}

export type EventName = keyof EventBodies;

/** As it stands in the body of a message on `warren.events`, and in that of a webhook. */
export type WarrenEvent = {
  [Name in EventName]: {
    /** Unique; the same when it is told again. */
    id: string;
    event: Name;
    /** ISO 8601. */
    at: string;
  } & EventBodies[Name];
}[EventName];

/** Its routing key: the name and the user, or `_` where there is none. */
export function eventKey(event: EventName, user: string | undefined): string {
  return `${event}.${user === undefined ? '_' : encodeId(user)}`;
}
