/**
 * Keeps the device's id and the ids of handled messages. `localStorage` fits. Answers at once: for
 * React Native's AsyncStorage see `openStorage` in `@warren/client/react-native`.
 */
export interface ClientStorage {
  getItem: (key: string) => string | null;
  setItem: (key: string, value: string) => void;
  removeItem: (key: string) => void;
}

/**
 * What the app is doing.
 * - `active`: the user looks at it. - `background`: it runs, unseen.
 * - `frozen`: it does not run, or is about to stop running at any moment.
 */
export type Phase = 'active' | 'background' | 'frozen';

/**
 * - `change`: `phase()` or `isOnline()` may have changed; also when nothing did, as on `focus`.
 * - `terminate`: the process is to end; what the listener returns is awaited before it does.
 */
export type LifecycleSignal = 'change' | 'terminate';

/** What the SDK uses of BroadcastChannel. */
export interface TabChannel {
  postMessage: (message: unknown) => void;
  onmessage: ((event: MessageEvent) => void) | null;
  close: () => void;
}

/**
 * What the SDK needs of the place it runs in. Every other module takes these from here, so that a
 * test, or a place that lacks one of them, can bring its own. {@link browser} is the default;
 * {@link node}, `electron()` and `reactNative()` give what differs elsewhere.
 */
export interface Platform {
  fetch: typeof globalThis.fetch;
  /** Undefined where nothing can be kept. */
  storage: ClientStorage | undefined;
  /** What the app runs on, for its user to recognize the device by. */
  name?: string | undefined;
  /** Whether this is Node without a page, where a device's id must be given. */
  isServer: boolean;
  /** From 0 (inclusive) to 1 (exclusive). */
  random: () => number;
  /** Milliseconds since 1970: time is judged by the wall clock, since timers sleep with the device. */
  now: () => number;
  setTimer: (callback: () => void, ms: number) => unknown;
  clearTimer: (timer: unknown) => void;
  /** Read at this moment, never remembered: events get lost. */
  phase: () => Phase;
  /** False only where the device is sure to have no network. */
  isOnline: () => boolean;
  /** Tells when the app's life changes. @returns an idempotent function that ends it. */
  watch: (listener: (signal: LifecycleSignal) => unknown) => () => void;
  /** What the option `background` is when it is not given. */
  background: 'disconnect' | 'keep';
  /** Whether timers go on in the background. Where they do not, there is no grace period. */
  backgroundTimers: boolean;
  /** Whether the app may be open several times over one storage, as pages are. */
  hasTabs: boolean;
  /** Web Locks, to elect one of many tabs. Undefined: tabs do not share. */
  locks: Pick<LockManager, 'request'> | undefined;
  /** Connects the tabs. Undefined: tabs do not share. */
  openChannel: ((name: string) => TabChannel) | undefined;
}
