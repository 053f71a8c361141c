import type { Handling } from '@warren/protocol';
import { UnavailableError, type Api } from './api.js';
import type { Backoff } from './backoff.js';
import { WarrenError } from './errors.js';
import type { ClientStorage, Platform } from './platform/platform.js';
import { forget } from './storage.js';
import { Countdown } from './timing.js';

/** What is told of a message. */
const KINDS = ['delivered', 'read', 'superseded'] as const;
type Kind = (typeof KINDS)[number];

/** How a message ended here: without an `error`, well. `at`, by this device's clock, in milliseconds since 1970. */
export type Handled = Omit<Handling, 'agoMs'> & { at: number };

export interface ReceiptsOptions {
  api: Api;
  deviceId: string;
  platform: Platform;
  /** Undefined: what could not be told is lost with the page. */
  storage: ClientStorage | undefined;
  /** Where it is kept. */
  key: string;
  backoff: Backoff;
  onError: (error: WarrenError) => void;
}

/** Those of one moment are told together. */
const GATHER_MS = 200;
/** Between two requests: a steady stream of messages is no stream of requests. */
const PAUSE_MS = 1000;
/** In one request. */
const BATCH = 200;
/** Of each kind; more are not told of: the oldest come first. */
const MAX_KEPT = 2000;
/** All are written at once, so that in a flood each would write again what all before it have written. */
const KEEP_MS = 200;
/** The server notes no longer ids. */
const MOST_CHARACTERS = 128;
/** However long somebody wants to watch: it is asked for again and again. */
const MAX_WATCH_MS = 60_000;

/** Tells the server which messages were handled and read, in batches, until it has heard. */
export class Receipts {
  readonly #options: ReceiptsOptions;
  /** When each was told of; 0 for what another page has left behind. */
  readonly #pending: Record<Kind, Map<string, number>> = {
    delivered: new Map(),
    read: new Map(),
    superseded: new Map(),
  };
  #handled: Handled[] = [];
  /** How many go in the next request: fewer after one was refused, to find what is wrong in it. */
  #batch = BATCH;
  #watchedUntil = 0;
  #storage: ClientStorage | undefined;
  /** Until the storage is written again. */
  #keeping: unknown;
  /** Whether the storage lacks something. */
  #isStale = false;
  /** Whether it was said that no more are told of. */
  #isFull = false;
  #timer: unknown;
  #sending: Promise<void> | undefined;
  /** Until the next request may be sent. */
  #pause: Countdown | undefined;
  /** Whether what could not be told is tried again. */
  #isActive = false;

  constructor(options: ReceiptsOptions) {
    this.#options = options;
  }

  add(kind: Kind, ids: readonly string[]): void {
    const pending = this.#pending[kind];
    const now = this.#options.platform.now();
    for (const id of ids) {
      if (!canBeTold(id) || pending.has(id)) continue;
      if (pending.size < MAX_KEPT) pending.set(id, now);
      else this.#tellFull();
    }
    this.#keep();
    this.#schedule(GATHER_MS);
  }

  /** Somebody watches, and wants to hear of every message. */
  watch(forMs: number): void {
    this.#watchedUntil = this.#options.platform.now() + Math.min(forMs, MAX_WATCH_MS);
  }

  /** Tells of rejections, and while somebody watches, of everything; once, and not at any price. */
  addHandled(handled: Handled): void {
    if (handled.error === undefined && !this.#isWatched) return;
    if (this.#handled.push(handled) > BATCH) this.#handled.shift();
    this.#schedule(GATHER_MS);
  }

  /** Tries until it is told, as long as the client runs. */
  start(): void {
    this.#isActive = true;
    if (this.#size > 0) this.#schedule(GATHER_MS);
  }

  /** Tells at once, and does not try again. Never rejects; what could not be told is kept. */
  async stop(): Promise<void> {
    this.#isActive = false;
    await this.flush();
  }

  /** Takes up what was kept, and goes on keeping: for the one tab that has the connection. */
  open(): void {
    if (this.#storage !== undefined || this.#options.storage === undefined) return;
    this.#storage = this.#options.storage;
    try {
      const kept = JSON.parse(this.#storage.getItem(this.#options.key) ?? '{}') as Partial<
        Record<Kind, string[]>
      >;
      for (const kind of KINDS) {
        for (const id of kept[kind] ?? []) this.#pending[kind].set(id, 0);
      }
    } catch {
      // Not ours, or cut off.
    }
    if (this.#size > 0) this.#schedule(GATHER_MS);
  }

  /** Leaves the storage to another tab. */
  close(): void {
    this.#keepNow();
    this.#storage = undefined;
  }

  /** Forgets everything, in storage too. */
  clear(): void {
    this.close();
    this.#options.platform.clearTimer(this.#timer);
    this.#timer = undefined;
    for (const pending of Object.values(this.#pending)) pending.clear();
    this.#handled = [];
    forget(this.#options.storage, this.#options.key);
  }

  /** Tells at once. Never rejects; what could not be told is kept. */
  async flush(): Promise<void> {
    // Before anything that takes time: the page may be about to go.
    this.#keepNow();
    this.#options.platform.clearTimer(this.#timer);
    this.#timer = undefined;
    await this.#sending;
    if (this.#size > 0) await this.#start();
  }

  get #size(): number {
    return KINDS.reduce((sum, kind) => sum + this.#pending[kind].size, this.#handled.length);
  }

  get #isWatched(): boolean {
    return this.#options.platform.now() < this.#watchedUntil;
  }

  #schedule(ms: number): void {
    if (this.#timer !== undefined || this.#sending !== undefined) return;
    const { platform } = this.#options;
    this.#timer = platform.setTimer(
      () => {
        this.#timer = undefined;
        void this.#start();
      },
      Math.max(ms, this.#pause?.left ?? 0),
    );
  }

  #start(): Promise<void> {
    const { platform } = this.#options;
    this.#sending ??= this.#send().then((pauseMs) => {
      this.#sending = undefined;
      this.#pause = new Countdown(platform, pauseMs);
      if (this.#size > 0 && this.#isActive) this.#schedule(pauseMs);
    });
    return this.#sending;
  }

  /** @returns how long to wait before the next request, in milliseconds. */
  async #send(): Promise<number> {
    const { api, backoff, deviceId, platform } = this.#options;
    const now = platform.now();
    let left = this.#batch;
    const some = (kind: Kind): string[] => {
      const ids = [...this.#pending[kind].keys()].slice(0, left);
      left -= ids.length;
      return ids;
    };
    const told = {
      delivered: some('delivered'),
      read: some('read'),
      superseded: some('superseded'),
    };
    const agoMs = told.delivered.map((id) => {
      const at = this.#pending.delivered.get(id) ?? 0;
      return at === 0 ? null : Math.max(0, now - at);
    });
    const handled = this.#handled.map(({ at, ...rest }) => ({
      ...rest,
      agoMs: Math.max(0, now - at),
    }));
    // Not worth a second try.
    this.#handled = [];
    try {
      const body = {
        delivered: told.delivered,
        read: told.read,
        ...(agoMs.length > 0 && { agoMs }),
        ...(told.superseded.length > 0 && { deviceId, superseded: told.superseded }),
        ...(handled.length > 0 && { deviceId, handled, watched: this.#isWatched }),
      };
      // The page may be closed before the answer is there.
      const reply = await api.call({ method: 'POST', path: 'me/receipts', body, keepalive: true });
      // The next token may be a good one.
      if (reply.status === 401) return Math.max(reply.retryAfterMs, PAUSE_MS + backoff.next());
      const count = this.#batch - left;
      this.#batch = reply.ok || count < 2 ? BATCH : count >> 1;
      // One of them is wrong, and the others are not to go with it.
      if (this.#batch < BATCH) return PAUSE_MS;
    } catch (error) {
      const asked = error instanceof UnavailableError ? error.retryAfterMs : 0;
      return Math.max(asked, PAUSE_MS + backoff.next());
    }
    backoff.reset();
    for (const kind of KINDS) for (const id of told[kind]) this.#pending[kind].delete(id);
    this.#isFull = false;
    this.#write();
    return PAUSE_MS;
  }

  #tellFull(): void {
    if (this.#isFull) return;
    this.#isFull = true;
    const why = `${String(MAX_KEPT)} receipts wait to be told; more are dropped.`;
    this.#options.onError(new WarrenError('receipts_dropped', why));
  }

  /** The first at once, before its message is acked; those that follow soon, together. */
  #keep(): void {
    if (this.#storage === undefined) return;
    this.#isStale = true;
    if (this.#keeping !== undefined) return;
    this.#write();
    this.#keeping = this.#options.platform.setTimer(() => {
      this.#keeping = undefined;
      if (this.#isStale) this.#keep();
    }, KEEP_MS);
  }

  #keepNow(): void {
    if (this.#isStale) this.#write();
    this.#options.platform.clearTimer(this.#keeping);
    this.#keeping = undefined;
  }

  #write(): void {
    this.#isStale = false;
    try {
      if (this.#size === 0) this.#storage?.removeItem(this.#options.key);
      else {
        const { delivered, read, superseded } = this.#pending;
        const kept = {
          delivered: [...delivered.keys()],
          read: [...read.keys()],
          ...(superseded.size > 0 && { superseded: [...superseded.keys()] }),
        };
        this.#storage?.setItem(this.#options.key, JSON.stringify(kept));
      }
    } catch {
      // Full: they are told all the same, unless the page dies first.
    }
  }
}

/** Whatever else an application, or a bare message, gives as an id: the server would refuse all beside it. */
const canBeTold = (id: unknown): boolean =>
  typeof id === 'string' && id !== '' && id.length <= MOST_CHARACTERS;
