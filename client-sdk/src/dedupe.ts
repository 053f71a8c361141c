import type { ClientStorage } from './platform/platform.js';
import { forget } from './storage.js';

/** How a message ended; `superseded` by a newer one with its collapse key, so that no handler had it. */
export type Ending = 'acked' | 'rejected' | 'superseded';

/** `stored`: 1 for a message that the history has. */
type Entry = [id: string, ending: Ending, at: number, stored?: 1];

/** Up to where a device has come. */
export interface Position {
  /** The last stored message that was handled. */
  last?: string;
  /** The oldest stored one that is remembered, when older ones were forgotten. */
  oldest?: string;
  /** When the last message was handled, in milliseconds since 1970. */
  lastAt?: number;
}

const MAX_ENTRIES = 10_000;
const MAX_AGE_MS = 24 * 60 * 60 * 1000;
/** In storage: more than the broker ever sends ahead, in pieces that are quick to write. */
const PIECES = 40;
const PIECE_ENTRIES = 25;

export interface DedupeOptions {
  now: () => number;
  /** Undefined: ids are remembered as long as the page lasts. */
  storage: ClientStorage | undefined;
  /** Where the pieces lie, without their number. */
  key: string;
  onStorageError: (error: unknown) => void;
}

/**
 * Remembers the ids of messages that have ended, so that one which the broker hands out again,
 * because its ack was lost, is not handled again. In memory it holds 10,000; the last 1,000 are also
 * kept in storage, written before the ack, for the next start of the app and for other tabs. Bounded:
 * the oldest are forgotten, and all after 24 hours.
 */
export class DedupeWindow {
  readonly #options: DedupeOptions;
  readonly #endings = new Map<string, { ending: Ending; at: number; isStored: boolean }>();
  #hasForgotten = false;
  #piece: Entry[] = [];
  #number = 0;
  #storage: ClientStorage | undefined;

  constructor(options: DedupeOptions) {
    this.#options = options;
  }

  get(id: string): Ending | undefined {
    const entry = this.#endings.get(id);
    if (entry === undefined) return undefined;
    return this.#options.now() - entry.at <= MAX_AGE_MS ? entry.ending : undefined;
  }

  /** However long ago that was. */
  has(id: string): boolean {
    return this.#endings.has(id);
  }

  get position(): Position {
    const position: Position = {};
    for (const [id, { at, isStored }] of this.#endings) {
      position.lastAt = Math.max(position.lastAt ?? 0, at);
      if (!isStored) continue;
      if (this.#hasForgotten) position.oldest ??= id;
      position.last = id;
    }
    return position;
  }

  add(id: string, ending: Ending, isStored: boolean, at = this.#options.now()): void {
    if (this.get(id) === ending) return;
    this.#endings.delete(id);
    this.#endings.set(id, { ending, at, isStored });
    if (this.#endings.size > MAX_ENTRIES) {
      // A Map iterates in the order of insertion.
      for (const oldest of this.#endings.keys()) {
        this.#endings.delete(oldest);
        this.#hasForgotten = true;
        break;
      }
    }
    if (this.#storage !== undefined) {
      this.#write(isStored ? [id, ending, at, 1] : [id, ending, at]);
    }
  }

  /** Reads what is kept and goes on keeping: for the one tab that has the connection. */
  open(): void {
    if (this.#storage !== undefined || this.#options.storage === undefined) return;
    this.#storage = this.#options.storage;
    const pieces: [number: number, entries: Entry[]][] = [];
    for (let slot = 0; slot < PIECES; slot++) {
      try {
        const kept = this.#storage.getItem(this.#keyOf(slot));
        if (kept !== null) pieces.push(JSON.parse(kept) as (typeof pieces)[number]);
      } catch {
        // Not ours, or cut off: the next round writes over it.
      }
    }
    pieces.sort(([a], [b]) => a - b);
    // Some were written over, or the next ones will be.
    if (pieces.length === PIECES) this.#hasForgotten = true;
    for (const [number, entries] of pieces) {
      this.#number = number + 1;
      for (const [id, ending, at, stored] of entries) {
        if (!this.#endings.has(id)) this.#endings.set(id, { ending, at, isStored: stored === 1 });
      }
    }
    this.#piece = [];
  }

  /** Leaves the storage to another tab. */
  close(): void {
    this.#storage = undefined;
  }

  /** Forgets everything, in storage too. */
  clear(): void {
    this.close();
    this.#endings.clear();
    this.#hasForgotten = false;
    this.#number = 0;
    for (let slot = 0; slot < PIECES; slot++) forget(this.#options.storage, this.#keyOf(slot));
  }

  #keyOf(number: number): string {
    return `${this.#options.key}:${String(number % PIECES)}`;
  }

  #write(entry: Entry): void {
    this.#piece.push(entry);
    try {
      this.#storage?.setItem(
        this.#keyOf(this.#number),
        JSON.stringify([this.#number, this.#piece]),
      );
    } catch (error) {
      // Full, or forbidden: said once, and the memory alone has to do.
      this.close();
      this.#options.onStorageError(error);
    }
    if (this.#piece.length >= PIECE_ENTRIES) {
      this.#piece = [];
      this.#number++;
    }
  }
}
