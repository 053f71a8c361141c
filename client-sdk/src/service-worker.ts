/**
 * Web Push for service workers: {@link showPushes} shows what comes, each message once.
 *
 * @module @warren/client/service-worker
 */

/** What a push says. */
export interface PushPayload {
  /** The message's. */
  id: string;
  type: string;
  /** Whose device it was registered for. */
  user: string;
  title: string;
  body: string;
  /** A notification replaces the one with the same tag. */
  tag: string;
  /** The sender's, for the app. */
  data?: unknown;
  /** The number on the app's icon. */
  badge?: number;
  sound?: string;
}

/** The parts of `ServiceWorkerGlobalScope` that are used: pass `self`. */
export interface PushScope {
  addEventListener(type: 'push', listener: (event: PushEvent) => void): void;
  addEventListener(type: 'notificationclick', listener: (event: ClickEvent) => void): void;
  registration: {
    showNotification(title: string, options: object): Promise<void>;
  };
  clients: {
    matchAll(options: object): Promise<readonly PushWindow[]>;
    openWindow(url: string): Promise<unknown>;
  };
  navigator: object;
}

export interface PushWindow {
  url: string;
  focus?: () => Promise<unknown>;
}

export interface ShowOptions {
  /** Where a click on a push leads, relative to the worker's scope. Default: `/`. */
  urlOf?: (payload: PushPayload) => string;
  /** More of `NotificationOptions`: icon, actions, silent … Default: none. */
  optionsOf?: (payload: PushPayload) => object;
}

/** The part of an event that keeps the worker alive. */
interface Waitable {
  waitUntil(promise: Promise<unknown>): void;
}
interface PushEvent extends Waitable {
  data: { text(): string } | null;
}
interface ClickEvent extends Waitable {
  notification: { data: unknown; close(): void };
}

/**
 * Shows pushes as notifications. One message is shown once, however often its push comes: the
 * notification's tag is the message's id, or the sender's `collapseId`. `notification.data.warren` is the
 * payload. A click brings a window of the app to the front, or opens one. What is no push of Warren's is
 * left to other listeners.
 */
export function showPushes(scope: PushScope, options: ShowOptions = {}): void {
  const { urlOf = () => '/', optionsOf = () => ({}) } = options;
  scope.addEventListener('push', (event) => {
    const payload = readPayload(event.data?.text());
    if (payload === undefined) return;
    const { title, body, tag } = payload;
    const data = { warren: payload, url: urlOf(payload) };
    const shown = scope.registration.showNotification(title, {
      body,
      ...optionsOf(payload),
      tag,
      data,
    });
    event.waitUntil(Promise.all([shown, setBadge(scope.navigator, payload.badge)]));
  });
  scope.addEventListener('notificationclick', (event) => {
    const { warren, url } = Object(event.notification.data) as { warren?: object; url?: string };
    if (warren === undefined || url === undefined) return;
    event.notification.close();
    event.waitUntil(show(scope, url));
  });
}

function readPayload(text: string | undefined): PushPayload | undefined {
  try {
    const payload = JSON.parse(text ?? '') as Partial<PushPayload> | null;
    const isOurs =
      typeof payload?.id === 'string' &&
      typeof payload.title === 'string' &&
      typeof payload.tag === 'string';
    return isOurs ? (payload as PushPayload) : undefined;
  } catch {
    return undefined;
  }
}

/** Not every browser has badges. */
async function setBadge(navigator: object, badge: number | undefined): Promise<void> {
  const { setAppBadge } = navigator as { setAppBadge?: (count: number) => Promise<void> };
  if (badge !== undefined) await setAppBadge?.call(navigator, badge).catch(() => undefined);
}

async function show({ clients }: PushScope, url: string): Promise<void> {
  const windows = await clients.matchAll({ type: 'window', includeUncontrolled: true });
  const open = windows.find((window) => new URL(url, window.url).href === window.url);
  if (open?.focus !== undefined) await open.focus();
  else await clients.openWindow(url);
}
