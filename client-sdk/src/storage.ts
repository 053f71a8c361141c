import type { ClientStorage, Platform } from './platform/platform.js';

/**
 * The id that is kept under a key, or a new one.
 * @param passing what it is where the storage is missing, full or forbidden.
 */
export function keepId(
  platform: Platform,
  storage: ClientStorage | undefined,
  key: string,
  passing = newId(platform.random),
): string {
  // An empty one is none.
  return put(storage, key, () => newId(platform.random)) || passing;
}

/**
 * Writes the id, when there is none: an application may have cleared all that a page has kept.
 * @returns whether it will be there when the app starts again.
 */
export const keep = (storage: ClientStorage | undefined, key: string, id: string): boolean =>
  put(storage, key, () => id) === id;

/** What is kept under a key, at last; another tab may have written its own at the same moment. */
function put(storage: ClientStorage | undefined, key: string, make: () => string) {
  try {
    if (!storage?.getItem(key)) storage?.setItem(key, make());
    return storage?.getItem(key);
  } catch {
    return undefined;
  }
}

/** Needs not be secret, so it does not ask for `crypto`, which insecure pages and Hermes lack. */
export function newId(random: () => number): string {
  return Array.from({ length: 4 }, () =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0'),
  ).join('');
}

/** Removes what is kept under a key; what a forbidden storage holds cannot be helped. */
export function forget(storage: ClientStorage | undefined, key: string): void {
  try {
    storage?.removeItem(key);
  } catch {
    // It would not have let it be written either.
  }
}
