import type { WarrenError } from './errors.js';

/**
 * - `idle`: not started.
 * - `authorizing`: asks the application for a token and the server for a session.
 * - `connecting`: opens the connection to the broker.
 * - `connected`: consumes.
 * - `waiting`: the last attempt failed; the next one begins at `retryAt`.
 * - `closed`: stopped by the application.
 * - `failed`: ended by an error that trying again does not cure.
 */
export type State =
  'idle' | 'authorizing' | 'connecting' | 'connected' | 'waiting' | 'closed' | 'failed';

/** Which states may follow each; anything else is a bug in the SDK. */
const TRANSITIONS: Record<State, readonly State[]> = {
  idle: ['authorizing', 'closed'],
  authorizing: ['connecting', 'waiting', 'failed', 'closed'],
  connecting: ['connected', 'authorizing', 'waiting', 'failed', 'closed'],
  connected: ['authorizing', 'connecting', 'waiting', 'failed', 'closed'],
  waiting: ['authorizing', 'closed'],
  closed: ['authorizing'],
  failed: ['authorizing', 'closed'],
};

/** What is known of the connection at one moment. */
export interface Snapshot {
  state: State;
  /** Why it came to this; undefined where nothing went wrong. */
  reason: WarrenError | undefined;
  /** When the next attempt begins, in milliseconds since 1970; in `waiting` only. */
  retryAt: number | undefined;
}

export interface StateChange {
  current: State;
  previous: State;
  reason: WarrenError | undefined;
  retryAt: number | undefined;
}

/** Holds the one state; every change of it goes through here and is told once. */
export class StateMachine {
  #snapshot: Snapshot = { state: 'idle', reason: undefined, retryAt: undefined };
  readonly #onChange: (change: StateChange) => void;

  constructor(onChange: (change: StateChange) => void) {
    this.#onChange = onChange;
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  transition(next: State, reason?: WarrenError, retryAt?: number): void {
    const previous = this.#snapshot.state;
    if (previous === next) return;
    if (!TRANSITIONS[previous].includes(next)) {
      throw new Error(`No way leads from ${previous} to ${next}.`);
    }
    this.#snapshot = { state: next, reason, retryAt };
    this.#onChange({ current: next, previous, reason, retryAt });
  }
}
