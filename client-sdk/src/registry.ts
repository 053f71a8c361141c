import type { Client, EventMap } from './client.js';
import { WarrenError } from './errors.js';
import type { ClientStorage } from './platform/platform.js';

type AnyClient = Client<EventMap>;

// On the global object and under a registered symbol, so that two copies of this module in one
// process (two bundles, a hot reload) share it: two clients would fight for one queue.
function shared<Value>(name: string, make: () => Value): Value {
  const place = globalThis as unknown as Record<symbol, Value | undefined>;
  return (place[Symbol.for(`@warren/client/${name}`)] ??= make());
}

const registry = (): Map<string, AnyClient> =>
  shared('registry', () => new Map<string, AnyClient>());

/**
 * The ids that devices have in this process, by where each is kept: known without asking a storage, also where
 * there is none, or when the application has cleared it.
 */
export function devicesIn(storage: ClientStorage | undefined): Map<string, string> {
  const places = shared('devices', () => new WeakMap<object, Map<string, string>>());
  const place = storage ?? globalThis;
  const known = places.get(place) ?? new Map<string, string>();
  places.set(place, known);
  return known;
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
