/**
 * Hooks for React 18 and newer; safe under StrictMode and on the server. Begin at {@link useClient}.
 *
 * @module @warren/client/react
 */
'use client';

import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { getClient, type Client, type EventMap, type MessageOf } from './client.js';
import type { HandlerContext } from './handler-context.js';
import type { ClientOptions } from './options.js';
import type { Snapshot } from './state.js';

/** What is known where there is no client: on the server, before the first effect, logged out. */
const NO_CLIENT: Snapshot = {
  state: 'idle',
  reason: undefined,
  retryAt: undefined,
  role: 'alone',
  receiving: false,
};

const nothing = (): void => undefined;

/**
 * The client of whoever is logged in, connected for as long as a component that uses it is mounted and
 * a second longer: StrictMode and navigation keep the connection. Any number of components may use it;
 * there is one client for an `apiUrl`, user and device.
 *
 * Changed functions (`getToken`, `decode`) are taken over. Another `apiUrl`, `userId` or `deviceId` is
 * another client; other options must not change.
 * @param options `null`: nobody is logged in.
 * @returns `null` on the server, in the first render, and while `options` is null.
 * @throws {WarrenError} as `getClient`, into the nearest error boundary.
 */
export function useClient<Events extends EventMap = Record<string, unknown>>(
  options: ClientOptions | null,
): Client<Events> | null {
  const [found, setFound] = useState<Found<Events>>();
  const latest = useRef(options);
  const identity =
    options === null ? null : JSON.stringify([options.apiUrl, options.userId, options.deviceId]);
  // What was found for somebody else is not shown for a single frame.
  const current = found?.identity === identity ? found : undefined;
  const client = current?.client ?? null;
  useEffect(() => {
    latest.current = options;
    // A second call replaces the functions.
    if (options !== null && client !== null) getClient<Events>(options);
  });
  useEffect(() => {
    if (identity === null || latest.current === null) return;
    try {
      setFound({ identity, client: getClient<Events>(latest.current) });
    } catch (problem) {
      setFound({ identity, problem });
    }
  }, [identity]);
  // One commit later, when the handlers of all components have been registered.
  useEffect(() => client?.retain(), [client]);
  if (current?.problem !== undefined) throw current.problem as Error;
  return client;
}

interface Found<Events extends EventMap> {
  identity: string;
  client?: Client<Events>;
  problem?: unknown;
}

/**
 * State, reason and more, now and after each change.
 * @param client `null`: `idle`.
 */
export function useConnection<Events extends EventMap>(client: Client<Events> | null): Snapshot {
  return useSyncExternalStore(
    client?.subscribe ?? subscribeToNothing,
    client?.getSnapshot ?? getNothing,
    getNothing,
  );
}

const subscribeToNothing = (): (() => void) => nothing;
const getNothing = (): Snapshot => NO_CLIENT;

/**
 * Handles messages of a type while the component is mounted, with the function of the last render; see
 * `Client.handle`. One component for each type, mounted for as long as the app runs: a message that
 * comes while nobody handles its type is rejected.
 * @param client `null`: does nothing yet.
 */
export function useHandler<Events extends EventMap, Type extends (keyof Events & string) | '*'>(
  client: Client<Events> | null,
  type: Type,
  handler: (message: MessageOf<Events, Type>, context: HandlerContext) => unknown,
): void {
  const latest = useRef(handler);
  useEffect(() => {
    latest.current = handler;
  });
  useEffect(
    () => client?.handle<Type>(type, (message, context) => latest.current(message, context)),
    [client, type],
  );
}

/**
 * The messages of a type that were handled, in this tab or another, since the component was mounted; the
 * oldest first. It only looks: somewhere there must be a handler (`useHandler`, `client.handle`).
 * @param client `null`: none.
 * @param options `limit`: how many are kept, the newest. Default 100.
 */
export function useMessages<Events extends EventMap, Type extends (keyof Events & string) | '*'>(
  client: Client<Events> | null,
  type: Type,
  { limit = 100 }: { limit?: number } = {},
): readonly MessageOf<Events, Type>[] {
  const kept = useRef<Kept<MessageOf<Events, Type>>>({ client, type, messages: [] });
  const newest = useRef(limit);
  useEffect(() => {
    newest.current = limit;
  });
  const subscribe = useCallback(
    (onChange: () => void) => {
      kept.current = { client, type, messages: [] };
      return (
        client?.observe<Type>(type, (message) => {
          const messages = [...kept.current.messages, message].slice(-newest.current);
          kept.current = { client, type, messages };
          onChange();
        }) ?? nothing
      );
    },
    [client, type],
  );
  const getMessages = (): readonly MessageOf<Events, Type>[] => {
    // Another account's are not shown for a single frame.
    const isCurrent = kept.current.client === client && kept.current.type === type;
    return isCurrent && kept.current.messages.length > 0 ? kept.current.messages : NO_MESSAGES;
  };
  return useSyncExternalStore(subscribe, getMessages, getNoMessages);
}

interface Kept<Item> {
  client: unknown;
  type: string;
  messages: readonly Item[];
}

const NO_MESSAGES: readonly never[] = [];
const getNoMessages = (): readonly never[] => NO_MESSAGES;
