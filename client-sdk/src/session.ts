import type { SessionGrant } from '@warren/protocol';
import {
  problemOf,
  UnavailableError,
  type Answer,
  type Api,
  type ApiRequest,
  type Reply,
} from './api.js';
import type { Platform } from './platform/platform.js';
import { TerminalError, WarrenError, type TerminalCode } from './errors.js';

export interface SessionApiOptions {
  api: Api;
  deviceId: string;
  deviceName: string | undefined;
  isPassing: () => boolean;
  platform: Platform;
  /** What all tabs of this browser have in common, or this client alone has. */
  installationId: () => string;
  /** Whether this device has handled messages before. */
  hasHandled: () => boolean;
}

/** Opens and renews this device's session. */
export class SessionApi {
  readonly #options: SessionApiOptions;
  /** Known from the first grant on: naming it renews, leaving it out takes the device over. */
  sessionId: string | undefined;
  /** Whether the session's last connection may still look open to the broker. */
  abandoned = false;

  constructor(options: SessionApiOptions) {
    this.#options = options;
  }

  /**
   * Asks for a grant, with one fresh token more when the first is refused.
   * @throws {TerminalError} @throws {UnavailableError}
   */
  async open(signal: AbortSignal): Promise<SessionGrant> {
    const reply = await this.#options.api.call(this.#request(), 'connect', signal);
    if (!reply.ok) throw toError(reply);
    const grant = reply.body as SessionGrant;
    this.sessionId = grant.sessionId;
    return grant;
  }

  /**
   * Deletes the device's session with its queues.
   * @param installationId whose requests for a session are refused from now on: one may still be on its way.
   * @throws {WarrenError}
   */
  async end(installationId: string): Promise<void> {
    const { api, deviceId } = this.#options;
    const query = `installationId=${encodeURIComponent(installationId)}`;
    const path = `sessions/${encodeURIComponent(deviceId)}?${query}`;
    // The server answers 204 also when nothing was left.
    const reply = await api.call({ method: 'DELETE', path }, 'logout');
    if (!reply.ok) throw toError(reply);
  }

  #request(): ApiRequest {
    const { deviceId, deviceName, isPassing, platform, installationId, hasHandled } = this.#options;
    const { sessionId, abandoned } = this;
    const body = {
      deviceId,
      installationId: installationId(),
      hasHandled: hasHandled(),
      passing: isPassing(),
      name: deviceName,
      // An empty one is no name.
      platform: platform.name?.slice(0, 100) || undefined,
      ...(sessionId !== undefined && { sessionId, abandoned }),
    };
    return { method: 'POST', path: 'sessions', body, gives: isGrant };
  }
}

/** As far as a connection needs it. */
const isGrant = ({ queue, liveQueue, token, endpoints }: Answer): boolean =>
  Boolean(queue && liveQueue && token && endpoints);

const TERMINAL: Partial<Record<number, TerminalCode>> = {
  400: 'request_refused',
  401: 'unauthorized',
  403: 'request_refused',
  409: 'session_replaced',
  426: 'upgrade_required',
};
const isOwnCode = (code: string): code is TerminalCode =>
  code === 'session_ended' || code === 'too_many_devices';

function toError(reply: Reply): WarrenError {
  const { status } = reply;
  const { code, text } = problemOf(reply);
  const isEarly = code === 'token_not_yet_valid';
  const terminal = isOwnCode(code) ? code : TERMINAL[status];
  if (terminal !== undefined && !isEarly) return new TerminalError(terminal, text);
  return new UnavailableError(isEarly ? code : 'api_unavailable', text, reply.retryAfterMs);
}

/**
 * How long a grant's token lasts, by the token's own times: they do not depend on this device's clock
 * being right. @param now milliseconds since 1970, for a token that cannot be read here.
 */
export function lifetimeMs({ token, expiresAt }: SessionGrant, now: number): number {
  try {
    const payload = token.split('.')[1] ?? '';
    const { iat, exp } = JSON.parse(
      globalThis.atob(payload.replaceAll('-', '+').replaceAll('_', '/')),
    ) as { iat?: number; exp?: number };
    if (iat !== undefined && exp !== undefined) return (exp - iat) * 1000;
  } catch {
    // No JWT, then.
  }
  return Date.parse(expiresAt) - now;
}
