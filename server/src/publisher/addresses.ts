import {
  BROADCAST_KEYS,
  deviceKeys,
  groupKeys,
  HISTORY_KEY,
  LIST_KEY,
  userKeys,
  type NamePrefixes,
  type Recipient,
  type RecipientKeys,
} from '@warren/protocol';

/** One publish: its routing key, and those that are hidden from the recipients. */
export interface Route {
  routingKey: string;
  bcc?: string[];
}

export interface Address {
  /** Whether the broker may have much to do with it. */
  isFanOut: boolean;
  routes: Route[];
}

/**
 * Each queue stores all keys of its message, so that what a list costs grows with its square; in pieces
 * of this size it is as fast as one publish for each.
 */
const LIST_CHUNK = 50;

/**
 * Where a message has to be published to reach somebody.
 * @param history whether the same publish reaches the history; not for a list, of which that has to know.
 * @throws {RangeError} for an id that cannot be.
 */
export function addressOf(
  to: Recipient,
  { live, history }: { live: boolean; history: boolean },
  prefixes?: NamePrefixes,
): Address {
  const keyOf = (keys: RecipientKeys): string => (live ? keys.live : keys.mail);
  const one = (keys: RecipientKeys, isFanOut: boolean): Address => ({
    isFanOut,
    routes: [{ routingKey: keyOf(keys), ...(history && { bcc: [HISTORY_KEY] }) }],
  });
  if ('user' in to) return one(userKeys(to.user, prefixes), false);
  if ('device' in to) return one(deviceKeys(to.device.user, to.device.device, prefixes), false);
  if ('group' in to) return one(groupKeys(to.group), true);
  if ('broadcast' in to) return one(BROADCAST_KEYS, true);
  const keys = [...new Set(to.users)].map((user) => keyOf(userKeys(user, prefixes)));
  const routes: Route[] = [];
  for (let start = 0; start < keys.length; start += LIST_CHUNK) {
    routes.push({ routingKey: LIST_KEY, bcc: keys.slice(start, start + LIST_CHUNK) });
  }
  return { isFanOut: true, routes };
}
