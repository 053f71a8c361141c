import type { Client, EventMap } from './client.js';
import { WarrenError } from './errors.js';

type AnyClient = Client<EventMap>;
interface Identity {
  apiUrl: string;
  userId: string;
  deviceId: string;
}

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

const keyOf = ({ apiUrl, userId, deviceId }: Identity): string =>
  JSON.stringify([apiUrl, userId, deviceId]);

/**
 * Makes `client` the one of its device, or finds the one that is.
 * @param client the client itself, which must then be the one; or how to make one.
 * @throws {WarrenError} `conflicting_options`
 */
export function register(
  identity: Identity,
  client: { start: unknown } | (() => AnyClient),
): AnyClient {
  const clients = registry();
  const key = keyOf(identity);
  const known = clients.get(key);
  if (typeof client === 'function') {
    if (known !== undefined) return known;
    const made = client();
    clients.set(key, made);
    return made;
  }
  const given = client as AnyClient;
  if (known !== undefined && known !== given) {
    throw new WarrenError(
      'conflicting_options',
      'Another client was made for this device after this one was stopped: use that one.',
    );
  }
  clients.set(key, given);
  return given;
}

export function unregister(identity: Identity, client: unknown): void {
  const key = keyOf(identity);
  if (registry().get(key) === client) registry().delete(key);
}
