/** Where device ids are kept. `localStorage` fits. */
export interface ClientStorage {
  getItem: (key: string) => string | null;
  setItem: (key: string, value: string) => void;
}

/**
 * What the SDK needs of the place it runs in. Every other module takes these from here, so that a
 * test, or a place that lacks one of them, can bring its own.
 */
export interface Platform {
  fetch: typeof globalThis.fetch;
  /** Undefined where nothing can be kept. */
  storage: ClientStorage | undefined;
  /** Whether this is Node without a page, where a device's id must be given. */
  isServer: boolean;
  random: () => number;
  /** Milliseconds since 1970. */
  now: () => number;
  setTimer: (callback: () => void, ms: number) => unknown;
  clearTimer: (timer: unknown) => void;
}

/** The environment's own. Nothing is touched before it is needed: some of it may be missing. */
export function defaultPlatform(): Platform {
  return {
    fetch: (...args) => globalThis.fetch(...args),
    storage: findStorage(),
    isServer: isNode() && !('document' in globalThis),
    random: Math.random,
    now: Date.now,
    setTimer: (callback, ms) => globalThis.setTimeout(callback, ms),
    clearTimer: (timer) => {
      globalThis.clearTimeout(timer as number);
    },
  };
}

function isNode(): boolean {
  const { process } = globalThis as { process?: { versions?: { node?: string } } };
  return process?.versions?.node !== undefined;
}

/** Reading `localStorage` throws where a browser forbids it, and warns in newer versions of Node. */
function findStorage(): ClientStorage | undefined {
  if (!('document' in globalThis)) return undefined;
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}
