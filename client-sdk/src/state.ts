import type { WarrenError } from './errors.js';

/**
 * - `idle`: not started.
 * - `authorizing`: asks the application for a token and the server for a session.
 * - `connecting`: opens the connection to the broker.
 * - `connected`: consumes.
 * - `waiting`: the last attempt failed; the next one begins at `retryAt`.
 * - `paused`: in the background, frozen, offline, or another tab has the connection; goes on by itself.
 * - `closed`: stopped by the application.
 * - `failed`: ended by an error that trying again does not cure.
 */
export type State =
  'idle' | 'authorizing' | 'connecting' | 'connected' | 'waiting' | 'paused' | 'closed' | 'failed';

/** Which states may follow each; anything else is a bug in the SDK. */
const TRANSITIONS: Record<State, readonly State[]> = {
  idle: ['authorizing', 'paused', 'closed'],
  authorizing: ['connecting', 'waiting', 'paused', 'failed', 'closed'],
  connecting: ['connected', 'authorizing', 'waiting', 'paused', 'failed', 'closed'],
  connected: ['authorizing', 'connecting', 'waiting', 'paused', 'failed', 'closed'],
  waiting: ['authorizing', 'paused', 'failed', 'closed'],
  // Again `paused`, for another reason.
  paused: ['authorizing', 'paused', 'failed', 'closed'],
  closed: ['authorizing', 'paused'],
  failed: ['authorizing', 'paused', 'closed'],
};

/**
 * This tab's part.
 * - `alone`: it shares with nobody. - `leader`: it has the connection. - `follower`: another has it.
 */
export type Role = 'alone' | 'leader' | 'follower';

/** What is known of the connection at one moment. The same object until something changes. */
export interface Snapshot {
  state: State;
  /**
   * Why it came to this; undefined where nothing went wrong and nothing holds it up. Its `code` is a
   * {@link PauseCode} in `paused`, a {@link TerminalCode} in `failed`, a {@link PassingCode} in
   * `waiting`.
   */
  reason: WarrenError | undefined;
  /** When the next attempt begins, in milliseconds since 1970; in `waiting` and `offline` only. */
  retryAt: number | undefined;
  role: Role;
  /** Whether messages reach this tab now, by its own connection or by that of another tab. */
  receiving: boolean;
}

export interface StateChange {
  current: State;
  previous: State;
  reason: WarrenError | undefined;
  /** Milliseconds since 1970. */
  retryAt: number | undefined;
}

/** Holds the one state; every change of it goes through here and is told once. */
export class StateMachine {
  #snapshot: Snapshot = {
    state: 'idle',
    reason: undefined,
    retryAt: undefined,
    role: 'alone',
    receiving: false,
  };
  readonly #onState: (change: StateChange) => void;
  readonly #onSnapshot: () => void;

  constructor(onState: (change: StateChange) => void, onSnapshot: () => void) {
    this.#onState = onState;
    this.#onSnapshot = onSnapshot;
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  transition(next: State, reason?: WarrenError, retryAt?: number): void {
    const { state: previous, reason: before, role } = this.#snapshot;
    if (previous === next && before?.code === reason?.code) return;
    if (!TRANSITIONS[previous].includes(next)) {
      throw new Error(`No way leads from ${previous} to ${next}.`);
    }
    this.#snapshot = { state: next, reason, retryAt, role, receiving: next === 'connected' };
    this.#onState({ current: next, previous, reason, retryAt });
    this.#onSnapshot();
  }

  /** Which part this tab has, and whether messages reach it by another one. */
  share(role: Role, receiving = this.#snapshot.state === 'connected'): void {
    const before = this.#snapshot;
    if (before.role === role && before.receiving === receiving) return;
    this.#snapshot = { ...before, role, receiving };
    this.#onSnapshot();
  }
}
