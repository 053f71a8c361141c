import type { ClientStorage, Phase, Platform } from './platform.js';

const EVENTS = [
  'visibilitychange',
  'freeze',
  'resume',
  'pagehide',
  'pageshow',
  'focus',
  'online',
  'offline',
  'prerenderingchange',
];

/** Any of it may be missing: in a worker, in Node, in an older browser. */
const environment: Partial<typeof globalThis> = globalThis;

/**
 * The environment's own: a page, a worker, or Node. Nothing is touched before it is needed, since any
 * of it may be missing.
 */
export function browser(): Platform {
  const isServer = isNode() && environment.document === undefined;
  // Between freeze and resume, or pagehide and pageshow, a page must hold nothing open.
  let suspended = false;
  return {
    fetch: (...args) => globalThis.fetch(...args),
    storage: findStorage(),
    name: findName(),
    isServer,
    random: Math.random,
    now: Date.now,
    setTimer: (callback, ms) => globalThis.setTimeout(callback, ms),
    clearTimer: (timer) => {
      globalThis.clearTimeout(timer as number);
    },
    phase: (): Phase => {
      // A page that is made ready for a click that may never come has no part yet.
      if (suspended || (page() as { prerendering?: boolean } | undefined)?.prerendering === true) {
        return 'frozen';
      }
      return page()?.visibilityState === 'hidden' ? 'background' : 'active';
    },
    isOnline: () => environment.navigator?.onLine !== false,
    watch: (listener) => {
      const tell = ({ type, target }: Event): void => {
        // An element's own focus passes the window too.
        if (target !== globalThis && target !== page()) return;
        if (type === 'freeze' || type === 'pagehide') suspended = true;
        else if (type !== 'offline' && type !== 'online' && isShown(type)) suspended = false;
        listener('change');
      };
      // Captured at the window, where also the document's own events pass, bubbling or not.
      for (const name of EVENTS) environment.addEventListener?.(name, tell, true);
      return () => {
        for (const name of EVENTS) environment.removeEventListener?.(name, tell, true);
      };
    },
    background: 'keep',
    backgroundTimers: true,
    hasTabs: environment.document !== undefined,
    locks: isServer ? undefined : findLocks(),
    openChannel:
      isServer || !('BroadcastChannel' in globalThis)
        ? undefined
        : (name) => new BroadcastChannel(name),
  };
}

const page = (): Document | undefined => environment.document;

/** A hidden page is not woken by being hidden once more, only by `resume` and `pageshow`. */
const isShown = (type: string): boolean =>
  type === 'resume' || type === 'pageshow' || page()?.visibilityState === 'visible';

/** Missing where a page did not come by https. */
const findLocks = (): LockManager | undefined =>
  (environment.navigator as Partial<Navigator> | undefined)?.locks;

function findName(): string | undefined {
  const { userAgentData, platform } = (environment.navigator ?? {}) as Partial<Navigator> & {
    userAgentData?: { platform?: string };
  };
  // Deprecated, and all that Firefox and Safari have.
  return userAgentData?.platform ?? platform;
}

function isNode(): boolean {
  const { process } = globalThis as { process?: { versions?: { node?: string } } };
  return process?.versions?.node !== undefined;
}

/** Reading `localStorage` throws where a browser forbids it, and warns in newer versions of Node. */
function findStorage(): ClientStorage | undefined {
  if (environment.document === undefined) return undefined;
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}
