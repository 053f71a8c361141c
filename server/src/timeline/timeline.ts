import {
  messageOutcomeSchema,
  TIMELINE_MS,
  type MessageOutcome,
  type TimelineEntry,
  type TimelineQuery,
  type TimelineReply,
} from '@warren/protocol';
import type { DeadLetterStore, StoredDeadLetter } from '../storage/dead-letters.js';
import { isPushFailure } from '../storage/outcomes.js';
import type { FailedPushRow, Happening, TimelineStore, TrackedRow } from '../storage/timeline.js';
import { summaryOf } from './summaries.js';

export interface TimelineOptions {
  store: TimelineStore;
  deadLetters: DeadLetterStore;
}

/** So many of each kind are looked through for one page; who has more sees the newest. */
const MOST = 5000;
const OF_MESSAGE = 200;

/** What happened to a user: connections, sessions, messages, pushes. */
export class Timeline {
  readonly #options: TimelineOptions;

  constructor(options: TimelineOptions) {
    this.#options = options;
  }

  /** The newest first. Of somebody who is not known it is empty. */
  async read(userId: string, query: TimelineQuery): Promise<TimelineReply> {
    const { store, deadLetters } = this.#options;
    const { limit } = query;
    const earliest = Date.now() - TIMELINE_MS;
    const since = Math.max(earliest, Date.parse(query.since ?? '') || earliest);
    const before = query.before === undefined ? Infinity : Date.parse(query.before);
    const range = { since, limit: MOST };
    const [happenings, tracked, dead] = await Promise.all([
      store.list(userId, range),
      store.listTracked(userId, range),
      deadLetters.listOfUser(userId, range),
    ]);
    const pushed = tracked.filter(({ outcome }) => outcome !== 'delivered' && outcome !== 'read');
    const pushes = await store.listFailedPushes(
      userId,
      pushed.map((row) => row.message_id),
    );
    const entries = [
      ...happenings.map(fromHappening),
      // Of one moment, what came last is the newest.
      ...tracked.flatMap((row) => stepsOf(row).reverse()),
      ...pushesOf(pushes, tracked),
      // What the message's outcome says already is not said twice.
      ...dead
        .filter((letter) => !isTold(letter, tracked))
        .flatMap((letter) => fromDeadLetter(letter).reverse()),
    ]
      .filter(({ at }) => Date.parse(at) >= since && Date.parse(at) < before)
      .sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0));
    const page = wholeMoments(entries, limit);
    const isLast = page.length === entries.length;
    return { entries: page, ...(!isLast && { next: page.at(-1)?.at }) };
  }

  /** Of a message, whoever it went to, but for what the tracked recipients tell; the first first. */
  async ofMessage(messageId: string): Promise<TimelineEntry[]> {
    const { store, deadLetters } = this.#options;
    const [happenings, dead] = await Promise.all([
      store.listOfMessage(messageId, OF_MESSAGE),
      deadLetters.listOfMessage(messageId, OF_MESSAGE),
    ]);
    return [...happenings.map(fromHappening), ...dead.flatMap(fromDeadLetter)].sort((a, b) =>
      a.at < b.at ? -1 : 1,
    );
  }
}

/** A page begins before the last time of the one before, so no time may be cut in two. */
function wholeMoments(entries: TimelineEntry[], limit: number): TimelineEntry[] {
  let end = Math.min(limit, entries.length);
  while (end < entries.length && entries[end]?.at === entries[end - 1]?.at) end++;
  return entries.slice(0, end);
}

const toIso = (at: number): string => new Date(at).toISOString();

function entryOf(entry: Omit<TimelineEntry, 'summary' | 'at'> & { at: number }): TimelineEntry {
  const told = { ...entry, at: toIso(entry.at) };
  return { ...told, summary: summaryOf(told) };
}

function fromHappening(happening: Happening): TimelineEntry {
  const { userId, at, kind, deviceId, messageId, type, reason } = happening;
  const outcome = messageOutcomeSchema.safeParse(reason).data;
  return entryOf({
    at,
    kind,
    user: userId,
    ...(deviceId != null && { deviceId }),
    ...(messageId != null && { messageId }),
    ...(type != null && { type }),
    ...(kind === 'unreachable' && outcome !== undefined
      ? { outcome }
      : reason != null && { reason }),
  });
}

const NO_FAILURES: MessageOutcome[] = ['queued', 'delivered', 'read', 'pushed'];

/** What a tracked message went through, the first first. */
export function stepsOf(row: TrackedRow): TimelineEntry[] {
  const outcome = messageOutcomeSchema.parse(row.outcome);
  const { message_id: messageId, user_id: user, type } = row;
  const common = { user, messageId, type };
  const why = row.reason === null ? {} : { reason: row.reason };
  const steps = [entryOf({ ...common, at: row.created_at, kind: 'sent' })];
  for (const [kind, at, more] of [
    ['pushed', row.pushed_at, {}],
    ['push_failed', row.push_failed_at, why],
    ['delivered', row.delivered_at, {}],
    ['read', row.read_at, {}],
  ] as const) {
    if (at !== null) steps.push(entryOf({ ...common, at, kind, ...more }));
  }
  const isPush = isPushFailure(outcome);
  const isFailure = isPush ? row.push_failed_at === null : !NO_FAILURES.includes(outcome);
  if (isFailure) {
    const at = row.outcome_at;
    steps.push(entryOf({ ...common, at, kind: 'failed', outcome, ...(isPush && why) }));
  }
  return steps.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}

/** When each attempt failed is not written down; the time of what followed is the latest that it can be. */
function pushesOf(pushes: FailedPushRow[], tracked: TrackedRow[]): TimelineEntry[] {
  const rows = new Map(tracked.map((row) => [row.message_id, row]));
  return pushes.flatMap(({ message_id: messageId, user_id: user, device_id: deviceId, reason }) => {
    const row = rows.get(messageId);
    if (row === undefined) return [];
    const at = row.push_failed_at ?? row.outcome_at;
    const { type } = row;
    const why = reason === null ? {} : { reason };
    return [entryOf({ at, kind: 'push_failed', user, deviceId, messageId, type, ...why })];
  });
}

function isTold({ messageId, reason, state }: StoredDeadLetter, tracked: TrackedRow[]): boolean {
  return (
    state === 'waiting' &&
    tracked.some((row) => row.message_id === messageId && row.outcome === reason)
  );
}

function fromDeadLetter(letter: StoredDeadLetter): TimelineEntry[] {
  const { at, userId, deviceId, messageId, type, reason, state, changedAt } = letter;
  if (userId === undefined) return [];
  const common = {
    user: userId,
    ...(deviceId !== undefined && { deviceId }),
    ...(messageId !== undefined && { messageId }),
    ...(type !== undefined && { type }),
  };
  const entries = [entryOf({ ...common, at, kind: 'dead_letter', reason })];
  if ((state === 'resent' || state === 'discarded') && changedAt !== null) {
    entries.push(entryOf({ ...common, at: changedAt, kind: state }));
  }
  return entries;
}
