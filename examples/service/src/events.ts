/** What the price service tells the replicas of the cache. */
export interface PriceEvents {
  'price.changed': { article: string; cents: number };
  /** Asks one of them for what it holds. */
  'price.asked': { article: string };
}

/** To Warren the cache is a user, and each of its replicas a device: all of them get each change. */
export const CACHE = 'price-cache';
