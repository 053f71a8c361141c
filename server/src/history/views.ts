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
  const parts = [
    { timeline: timelineOf.broadcast, sentFrom: since },
    ...memberships.map(({ ref, joinedAt }) => ({
      timeline: timelineOf.group(ref),
      sentFrom: joinedAt,
    })),
  ];
  return [{ timeline: timelineOf.user(userId) }, ...(await withPlaces(parts, store))];
}

/** What was sent at a time or later. */
export async function rangeSince(
  timeline: string,
  sentFrom: number,
  store: HistoryStore,
): Promise<TimelineRange> {
  const [range] = await withPlaces([{ timeline, sentFrom }], store);
  return range ?? { timeline, sentFrom };
}

/** Adds where they begin: nothing is stored before it is sent. */
async function withPlaces(
  parts: { timeline: string; sentFrom: number }[],
  store: HistoryStore,
): Promise<TimelineRange[]> {
  const seqs = await store.seqsFrom(parts.map(({ sentFrom }) => sentFrom - CLOCKS_MS));
  return parts.map((part, index) => ({ ...part, seqFrom: seqs[index] }));
}
