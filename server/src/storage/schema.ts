import type { Generated } from 'kysely';

/** `x-queue-type` of mailboxes. */
export type MailboxType = 'classic' | 'quorum';

/** A device of a user, or a mailbox that waits for the user's first one. */
export interface DeviceTable {
  id: Generated<number>;
  user_id: string;
  /** Empty for a mailbox that no device has taken yet; no real id is empty. */
  device_id: string;
  /** The mailbox that its sessions are granted on. */
  queue: string;
  /** What kind of queue that is. */
  mailbox_type: MailboxType;
  /** The mailbox that takes over once the other one is empty; new mail goes there. Null: there is none. */
  next_queue: string | null;
  next_type: MailboxType | null;
  /** Since when it may have mail. Milliseconds since 1970. */
  next_since: number | null;
  /** Since when the other one gets none any more; null while it may. */
  next_alone_since: number | null;
  /** A mailbox that was empty when the next one took over, and is still to be deleted. */
  retired_queue: string | null;
  live_queue: string;
  /** Null before the first session. */
  session_id: string | null;
  /** Whose session it is, when the client says; null when it does not. */
  installation_id: string | null;
  /** Milliseconds since 1970. */
  created_at: number;
  last_seen_at: number | null;
  /** When the newest token of the session ends; null when there is none, or it was enforced. */
  expires_at: number | null;
  /** When it was decided that the device goes; its queues may still have to be deleted. */
  ended_at: number | null;
  /** What the user recognizes it by, and what its client runs on; null when the client does not say. */
  name: string | null;
  platform: string | null;
  /** Whether the client forgets its id; 0 or 1. */
  is_passing: number;
  /** Whether the mailbox is bound to the groups of its user; 0 or 1. */
  is_bound: number;
  /** When it was last noticed that the mailbox had lost messages; null when the device has recovered. */
  missed_at: number | null;
  /** When the first of those was sent, as far as it is known. */
  missed_since: number | null;
  /** Whether some of them may be in no history; 0 or 1. */
  missed_for_good: number;
}

/** A device whose mailbox has expired; should it come back, it has missed something. */
export interface ExpiredDeviceTable {
  user_id: string;
  device_id: string;
  created_at: number;
  last_seen_at: number;
  expired_at: number;
}

/** An open connection to the broker, as its events have told. */
export interface ConnectionTable {
  /** As the broker calls it; unique while it is open. */
  name: string;
  /** What the client called itself. */
  login: string;
  /** Who it has proved to be; null while that is not known. */
  user_name: string | null;
  /** The node that has it, and which of its runs; null when that is not known. */
  run: string | null;
  /** What a server called it that has made it to see how far the journal is; null for all others. */
  mark: string | null;
  /** Whether it is known to be by STOMP; 0 or 1. */
  is_stomp: number;
}

/** One row: what is known of the journal that the connections are written from. */
export interface ConnectionJournalTable {
  id: number;
  /** Whether no open connection can be older than its queue and unknown; 0 or 1. */
  is_whole: number;
}

export interface UserTable {
  user_id: string;
  created_at: number;
}

/** A user who was erased a moment ago. */
export interface ErasureTable {
  user_id: string;
  /** Milliseconds since 1970. */
  at: number;
}

/** What was ended, and stays so after the device or the user is forgotten. */
export interface CutoffTable {
  user_id: string;
  /** Empty: all devices of the user. */
  device_id: string;
  /** Sessions that began before are over. Milliseconds since 1970. */
  sessions_before: number;
  /** The application's tokens that were issued before are refused; 0 when none are. */
  tokens_before: number;
  /** Which installation was logged out last; null when no logout has named one. */
  installation_id: string | null;
}

export interface GroupTable {
  id: Generated<number>;
  group_id: string;
  created_at: number;
  /** When it was decided that it goes; its exchanges may still have to be deleted. */
  ended_at: number | null;
  /** What members see of it: `all`, or what was sent since they have `joined`. */
  history: string;
  /** Whether new members are bound to one of many exchanges rather than to its own; 0 or 1. */
  is_sharded: number;
}

export interface MemberTable {
  /** `groups.id` */
  group_ref: number;
  user_id: string;
  joined_at: number;
  /** What is still to be done on the broker. */
  pending: Pending;
}

/** What was done that concerns many, and by whom. */
export interface AuditTable {
  id: Generated<number>;
  /** Milliseconds since 1970. */
  at: number;
  actor: string;
  action: string;
  target: string;
  /** `done`, or the code of an error; null while it is not known. */
  result: string | null;
}

/** A session of the admin console. */
export interface ConsoleTable {
  session_id: string;
  actor: string;
  queue: string;
  /** JSON of what is bound to its queue. */
  feed: string;
  /** When it ends, unless it is heard of again. */
  expires_at: number;
}

/** What happened to a user, but for what became of tracked messages and dead letters. */
export interface TimelineTable {
  id: Generated<number>;
  user_id: string;
  at: number;
  kind: string;
  device_id: string | null;
  message_id: string | null;
  /** Of the message. */
  type: string | null;
  reason: string | null;
  /** What several servers may write down; it stands there once. */
  occasion: string | null;
}

/** An entry of the queue of dead letters, which has the message itself. */
export interface DeadLetterTable {
  id: Generated<number>;
  at: number;
  reason: string;
  /** The queue that has given it up. */
  queue: string;
  user_id: string | null;
  device_id: string | null;
  message_id: string | null;
  type: string | null;
  size: number;
  /** Of a job: what was wrong. */
  detail: string | null;
  /** The same of one that is handed over twice. */
  fingerprint: string;
  /** `waiting`, `resent` or `discarded`. */
  state: string;
  changed_at: number | null;
}

/** Of those that wait. */
export interface DeadLetterContentTable {
  id: number;
  content: Buffer;
  content_type: string | null;
  correlation_id: string | null;
  /** As JSON. */
  headers: string;
}

/** Whether a user is online, as it was last told to others. */
export interface PresenceTable {
  user_id: string;
  /** 0 or 1. */
  is_online: number;
  changed_at: number;
}

/** Events that are still to be published. */
export interface OutboxTable {
  id: Generated<number>;
  event_id: string;
  routing_key: string;
  /** JSON. */
  body: string;
  /** Until then, one process has it in hand. */
  claimed_until: number;
  /** 1 for one of very many of the same message. */
  is_bulk: Generated<number>;
}

/** A message whose sender wants to know what becomes of it. Times are milliseconds since 1970. */
export interface MessageTable {
  id: string;
  /** Of what it says and to whom, so that its id cannot be used for another one. */
  fingerprint: string;
  type: string;
  /** To whom, as JSON, without the entries of a list. */
  target: string;
  /** The one mailbox that it goes to; null: those of all devices that the recipients had then. */
  queue: string | null;
  /** Whether the broker has confirmed it; 0 or 1. */
  is_confirmed: number;
  created_at: number;
  /** When it stops waiting. */
  expires_at: number;
  /** Who has sent it, where that is a user; null. */
  from_user: string | null;
  /** What is pushed, as JSON; null when nothing is. */
  push: string | null;
  /** When somebody of the recipients may be due for a push; null when nobody is any more. */
  push_at: number | null;
}

/** What became of a message for one of its recipients. */
export interface RecipientTable {
  message_id: string;
  user_id: string;
  outcome: string;
  outcome_at: number;
  delivered_at: number | null;
  read_at: number | null;
  /** When it is settled without an answer; null when it has ended. */
  deadline: number | null;
  /** When it is decided whether there is a push; null when it has been, or none is wanted. */
  push_at: number | null;
  /** When a provider has taken the first push. */
  pushed_at: number | null;
  /** Whether a mailbox, or the live queue of somebody connected, got a copy, which may still be handled; 0 or 1. */
  has_copy: number;
  /** When it was clear that there will be no push while that copy waits. */
  push_failed_at: number | null;
  /** Of pushes that came to nothing: why. */
  reason: string | null;
}

/** A device that can be reached by push. */
export interface PushDeviceTable {
  id: Generated<number>;
  user_id: string;
  device_id: string;
  provider: string;
  /** What the provider knows it by: a token, or a subscription as JSON. */
  token: string;
  /** Of provider and token: nobody else has it. */
  token_hash: string;
  language: string | null;
  /** JSON. */
  preferences: string;
  updated_at: number;
}

/** A push of a message to one device of one recipient. */
export interface PushTable {
  message_id: string;
  user_id: string;
  device_id: string;
  provider: string;
  /**
   * `new`: decided. `handed_over`: the provider's queue has it. And at last `sent` or `failed`, unless its
   * recipient has acked before.
   */
  state: string;
  /** Why it has failed; null. */
  reason: string | null;
  /** The job that it belongs to; null before one has taken it. A message may be decided about twice. */
  owner: string | null;
}

/** That a message will not be handled out of this mailbox. */
export interface FailedCopyTable {
  message_id: string;
  queue: string;
}

/** A stored message. Times are milliseconds since 1970. */
export interface HistoryTable {
  /** Its place in the order. */
  seq: number;
  message_id: string;
  type: string;
  at: number;
  /** Never before that of a smaller `seq`. */
  stored_at: number;
  /** When mailboxes gave it up; null: as their policy says. */
  expires_at: number | null;
  from_user: string | null;
  /** To whom, as JSON, without the entries of a list. */
  target: string;
  /** JSON, or base64. */
  body: string;
  is_base64: number;
  /** JSON of content type, correlation id and headers; null when there are none. */
  properties: string | null;
}

/** That a message belongs to somebody's view of the history. */
export interface HistoryEntryTable {
  timeline: string;
  seq: number;
  /** When the message was sent, and how long its body is: so that it need not be looked at. */
  at: number;
  size: number;
  /** The one device that it went to; null: all of them. */
  device_id: string | null;
}

/** What was removed because it was old, or one of too many. */
export interface HistoryTrimTable {
  /** Empty: all of them. */
  timeline: string;
  /** When the newest message that was removed had been sent. */
  at: number;
}

/** That the history has come so far. */
export interface HistoryMarkTable {
  mark: string;
  at: number;
}

/** One row, which whoever writes the history locks. */
export interface HistoryStateTable {
  id: number;
  last_seq: number;
}

/** In the database a number, since most rows have nothing pending and an index holds the others. */
export const PENDING = { nothing: 0, bind: 1, unbind: 2 } as const;
export type Pending = (typeof PENDING)[keyof typeof PENDING];

export interface Schema {
  users: UserTable;
  devices: DeviceTable;
  connections: ConnectionTable;
  connection_journal: ConnectionJournalTable;
  expired_devices: ExpiredDeviceTable;
  cutoffs: CutoffTable;
  erasures: ErasureTable;
  groups: GroupTable;
  members: MemberTable;
  audit: AuditTable;
  consoles: ConsoleTable;
  timeline: TimelineTable;
  dead_letters: DeadLetterTable;
  dead_letter_contents: DeadLetterContentTable;
  presence: PresenceTable;
  outbox: OutboxTable;
  messages: MessageTable;
  recipients: RecipientTable;
  failed_copies: FailedCopyTable;
  push_devices: PushDeviceTable;
  pushes: PushTable;
  history: HistoryTable;
  history_entries: HistoryEntryTable;
  history_trims: HistoryTrimTable;
  history_marks: HistoryMarkTable;
  history_state: HistoryStateTable;
}
