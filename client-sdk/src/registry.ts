import type { Client, EventMap } from './client.js';
import { WarrenError } from './errors.js';

type AnyClient = Client<EventMap>;

// On the global object and under a registered symbol, so that two copies of this module in one
// process (two bundles, a hot reload) share it: two clients would fight for one queue.
const KEY: unique symbol = Symbol.for('@warren/client/registry');

function registry(): Map<string, AnyClient> {
  const place = globalThis as { [KEY]?: Map<string, AnyClient> | undefined };
  const known = place[KEY];
  if (known !== undefined) return known;
  const made = new Map<string, AnyClient>();
  place[KEY] = made;
  return made;
}

/** The client of this device, or the one that `make` makes. */
export function findOrAdd(key: string, make: () => AnyClient): AnyClient {
  const clients = registry();
  const client = clients.get(key) ?? make();
  clients.set(key, client);
  return client;
}

/**
 * Takes a client that was stopped in again.
 * @throws {WarrenError} `conflicting_options`
 */
export function claim(key: string, client: unknown): void {
  const clients = registry();
  const known = clients.get(key);
  if (known !== undefined && known !== client) {
    throw new WarrenError('conflicting_options', 'This device has a newer client: use that one.');
  }
  clients.set(key, client as AnyClient);
}

/** Lets a client that was stopped go, so that it can be collected. */
export function release(key: string, client: unknown): void {
  if (registry().get(key) === client) registry().delete(key);
}
