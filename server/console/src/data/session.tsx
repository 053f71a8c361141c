import { createContext, use, useEffect, useMemo, useState, useSyncExternalStore } from 'react';
import type { ReactNode } from 'react';
import type { AdminToken } from '@warren/protocol';
import { Api } from './api.js';
import { Live, type LiveEvent, type LiveState } from './live.js';
import type { StatsSnapshot } from './stats.js';

/** Gone with the tab. The token stands for the admin key, which is kept nowhere. */
const KEY = 'warren-console';

export interface Session extends AdminToken {
  api: Api;
  live: Live;
  isOperator: boolean;
  signOut: () => void;
}

const SessionContext = createContext<Session | undefined>(undefined);

/** What is kept in this tab. */
export interface SignInState {
  token: AdminToken | undefined;
  /** Whether there was a token that is good no more. */
  hasEnded: boolean;
}

export function readSignIn(): SignInState {
  try {
    const token = JSON.parse(sessionStorage.getItem(KEY) ?? '') as AdminToken;
    const hasEnded = Date.parse(token.expiresAt) <= Date.now();
    return { token: hasEnded ? undefined : token, hasEnded };
  } catch {
    return { token: undefined, hasEnded: false };
  }
}

export function keepToken(token: AdminToken | undefined): void {
  if (token === undefined) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, JSON.stringify(token));
}

export function SessionProvider({
  token,
  onSignOut,
  onEnded,
  children,
}: {
  token: AdminToken;
  onSignOut: () => void;
  /** The token is good no more. */
  onEnded: () => void;
  children: ReactNode;
}) {
  const [session] = useState<Session>(() => {
    const api = new Api(token.token, onEnded);
    const live = new Live(api, token);
    return { ...token, api, live, isOperator: token.role === 'operator', signOut: onSignOut };
  });
  useEffect(() => {
    session.live.start();
    return () => void session.live.stop();
  }, [session]);
  return <SessionContext value={session}>{children}</SessionContext>;
}

export function useSession(): Session {
  const session = use(SessionContext);
  if (session === undefined) throw new Error('There is no session here.');
  return session;
}

export function useStats(): StatsSnapshot {
  const { stats } = useSession().live;
  return useSyncExternalStore(stats.subscribe, stats.getSnapshot);
}

export function useLiveState(): LiveState {
  const { live } = useSession();
  return useSyncExternalStore(live.subscribeToState, live.getState);
}

/** The newest events first; at most so many, painted a few times a second however fast they come. */
export function useEvents(
  want: { events?: string[]; watch?: string[] },
  { isPaused = false, most = 500 } = {},
): { events: Numbered[]; missed: number; clear: () => void } {
  const { live } = useSession();
  const [shown, setShown] = useState<{ events: Numbered[]; missed: number }>(NOTHING);
  const key = JSON.stringify(want);
  useEffect(() => {
    if (isPaused) return;
    let fresh: Numbered[] = [];
    let missed = 0;
    const stop = live.listen(JSON.parse(key) as typeof want, (event) => {
      fresh.push({ number: ++count, event });
      if (fresh.length > most) missed += fresh.splice(0, fresh.length - most).length;
    });
    const timer = window.setInterval(() => {
      if (fresh.length === 0) return;
      const news = fresh.reverse();
      const dropped = missed;
      fresh = [];
      missed = 0;
      setShown((before) => ({
        events: [...news, ...before.events].slice(0, most),
        missed: before.missed + dropped,
      }));
    }, PAINT_MS);
    return () => {
      clearInterval(timer);
      stop();
    };
  }, [live, key, isPaused, most]);
  return useMemo(
    () => ({
      ...shown,
      clear: () => {
        setShown(NOTHING);
      },
    }),
    [shown],
  );
}

export interface Numbered {
  /** Of this page: for React's keys. */
  number: number;
  event: LiveEvent;
}

let count = 0;
const NOTHING = { events: [], missed: 0 };
const PAINT_MS = 500;
