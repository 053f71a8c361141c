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
  /** No push could be sent, `reason` says why. It still waits in the mailbox; what becomes of it is told later. */
  'message.push_failed': AboutMessage & { reason?: string };
  /** It has ended otherwise. Where nothing waited, and no push could be sent, `reason` says why. */
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

/** What a user's messages go through, told while somebody watches. */
export interface Trace {
  user: string;
  /** `sent`: a copy of it went to the user. `handled`, `rejected`: a device says so. */
  step: 'sent' | 'handled' | 'rejected';
  /** Null for a message without one. */
  messageId: string | null;
  type: string;
  /** Of `sent`: the key that it was published with. */
  routingKey?: string;
  /** Of `sent`: how large its body is, in bytes, and the beginning of it. */
  size?: number;
  preview?: string;
  /** Of what a device says. */
  deviceId?: string;
  /** How long the device had it in hand, in milliseconds. */
  tookMs?: number;
  error?: string;
}

/**
 * How many values of a histogram lie in each of its buckets: up to `bounds[i]` seconds, and in a last one the
 * rest.
 */
export interface Buckets {
  bounds: number[];
  counts: number[];
}

/** What one process says of itself and, when somebody listens, of the broker, for one second. */
export interface Stats {
  /** Of the process; another one after each start. */
  instance: string;
  role: 'server' | 'history' | 'push';
  host: string;
  version: string;
  startedAt: string;
  /** How long these figures were gathered, in seconds. */
  seconds: number;
  memoryBytes: number;
  /** Of one core. */
  cpu: number;
  /** Messages that it has sent, and that it could not; recipients of a list count each. */
  sent: number;
  failed: number;
  /** From the call to the broker's confirm. */
  confirms: Buckets;
  /** Of tracked messages: from the publish to the ack. */
  acks: Buckets;
  pushes: { sent: number; failed: number };
  /** Connected users and devices, as a server knows it; null when it does not. */
  online: { users: number; devices: number } | null;
  /** Null when it cannot be asked, or nobody listens. */
  broker: BrokerFigures | null;
}

/** The broker's own figures. */
export interface BrokerFigures {
  version: string;
  nodes: { name: string; isRunning: boolean }[];
  /** Whether an alarm (memory, disk) holds publishers up. */
  hasAlarm: boolean;
  connections: number | null;
  queues: number | null;
  /** Messages in all queues of users, and in that of the dead letters; null when they are not known. */
  waiting: number | null;
  deadLetters: number | null;
  /** A second: published to the broker, and acked by whoever consumes; null without its Prometheus plugin. */
  published: number | null;
  acked: number | null;
}

export type EventName = keyof EventBodies;

/** Events that nobody has to hear: neither kept for webhooks nor told again. */
export interface PassingBodies {
  /** Of each process, once a second. */
  stats: Stats;
  trace: Trace;
}

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

/** As {@link WarrenEvent}, on `stats` and `trace.<user>`. */
export type PassingEvent = {
  [Name in keyof PassingBodies]: { event: Name; at: string } & PassingBodies[Name];
}[keyof PassingBodies];

/** Its routing key: the name and the user, or `_` where there is none. */
export function eventKey(event: EventName, user: string | undefined): string {
  return `${event}.${user === undefined ? '_' : encodeId(user)}`;
}
