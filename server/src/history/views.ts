import { timelineOf, type HistoryStore, type TimelineRange } from '../storage/history.js';
import type { Storage } from '../storage/index.js';

/** By so much the clocks of two servers may differ before something is left out. */
const CLOCKS_MS = 60_000;

/**
 * All that goes to a user: alone, on lists, in groups since joining them, and to everybody.
 * @param since before which broadcasts did not go to this user, in milliseconds since 1970.
 */
export async function rangesOf(
  userId: string,
  since: number,
  { history: store, groups }: Pick<Storage, 'history' | 'groups'>,
): Promise<TimelineRange[]> {
  const memberships = await groups.listMemberships(userId);
  const ranges = [
    rangeSince(timelineOf.broadcast, since, store),
    ...memberships.map(({ ref, joinedAt }) => rangeSince(timelineOf.group(ref), joinedAt, store)),
  ];
  return [{ timeline: timelineOf.user(userId) }, ...(await Promise.all(ranges))];
}

/** What was sent at a time or later. */
export async function rangeSince(
  timeline: string,
  time: number,
  store: HistoryStore,
): Promise<TimelineRange> {
  // Nothing is stored before it is sent.
  return { timeline, sentFrom: time, seqFrom: await store.seqFrom(time - CLOCKS_MS) };
}
