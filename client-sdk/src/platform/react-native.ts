/**
 * What differs in React Native: the app's life, and its storage.
 *
 * @module @warren/client/react-native
 */
import type { ClientStorage, Platform } from './platform.js';

/** What {@link reactNative} needs of React Native's `AppState`. */
export interface AppState {
  currentState: string | null | undefined;
  addEventListener: (event: 'change', listener: () => void) => { remove: () => void };
}

interface NetState {
  isConnected: boolean | null;
  isInternetReachable?: boolean | null | undefined;
}

/** What {@link reactNative} needs of `@react-native-community/netinfo`. */
export interface NetInfo {
  addEventListener: (listener: (state: NetState) => void) => () => void;
  fetch: () => Promise<NetState>;
}

export interface ReactNativeOptions {
  AppState: AppState;
  /** Without it the device counts as online. */
  NetInfo?: NetInfo;
}

/**
 * For React Native. Closes at once in the background, where timers do not run and sockets die
 * unnoticed, unless the option `background` is `'keep'`; ignores `inactive`, which is a glance at the
 * notifications. The broker must send binary frames: `web_stomp.ws_frame = binary`, as in Warren's
 * own rabbitmq.conf.
 * @example getClient({ ...options, platform: reactNative({ AppState, NetInfo }) });
 */
export function reactNative({ AppState, NetInfo }: ReactNativeOptions): Partial<Platform> {
  let online = true;
  return {
    name: 'React Native',
    phase: () => (AppState.currentState === 'background' ? 'background' : 'active'),
    isOnline: () => online,
    background: 'disconnect',
    backgroundTimers: false,
    watch: (listener) => {
      let watching = true;
      const update = ({ isConnected, isInternetReachable }: NetState): void => {
        if (!watching) return;
        // Null: NetInfo does not know yet.
        online = isConnected !== false && isInternetReachable !== false;
        listener('change');
      };
      const appState = AppState.addEventListener('change', () => {
        listener('change');
        // NetInfo misses what happens in the background.
        if (AppState.currentState === 'active') NetInfo?.fetch().then(update, () => undefined);
      });
      const removeNetInfo = NetInfo?.addEventListener(update);
      return () => {
        watching = false;
        appState.remove();
        removeNetInfo?.();
      };
    },
  };
}

/** What {@link openStorage} needs of `@react-native-async-storage/async-storage`. */
export interface AsyncStorage {
  getAllKeys: () => Promise<readonly string[]>;
  getItem: (key: string) => Promise<string | null>;
  setItem: (key: string, value: string) => Promise<unknown>;
  removeItem: (key: string) => Promise<unknown>;
}

/**
 * Reads what the SDK has kept in an AsyncStorage, so that it can answer at once, as
 * {@link ClientStorage} must. Changes are written behind, in order: an app that is killed may lose the
 * last few.
 * @throws what AsyncStorage throws when it cannot be read.
 * @example getClient({ ...options, storage: await openStorage(AsyncStorage) });
 */
export async function openStorage(storage: AsyncStorage): Promise<ClientStorage> {
  const items = new Map<string, string>();
  for (const key of await storage.getAllKeys()) {
    if (!key.startsWith('warren:')) continue;
    const value = await storage.getItem(key);
    if (value !== null) items.set(key, value);
  }
  let writing: Promise<unknown> = Promise.resolve();
  const write = (work: () => Promise<unknown>): void => {
    writing = writing.then(work).catch(() => undefined);
  };
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => {
      items.set(key, value);
      write(() => storage.setItem(key, value));
    },
    removeItem: (key) => {
      items.delete(key);
      write(() => storage.removeItem(key));
    },
  };
}
