import type { SessionGrant } from '@warren/protocol';
import { TerminalError, UnauthorizedError, WarrenError, type TerminalCode } from './errors.js';
import type { Platform } from './platform/platform.js';
import { follow } from './timing.js';

/** Sent with each request, so that a server can turn away an SDK that it no longer speaks with. */
const PROTOCOL_VERSION = '1';

/**
 * Why a token is asked for: `connect` for any attempt; `unauthorized` when the server has just
 * refused one, so that a cached one must not be given again; `logout` for the last request.
 */
export type TokenReason = 'connect' | 'unauthorized' | 'logout';

/**
 * Gives the user's JWT, from the application's own login. Null: nobody is logged in; the client ends
 * in `failed` (`logged_out`). A rejection is tried again later, an {@link UnauthorizedError} is not.
 */
export type GetToken = (request: {
  reason: TokenReason;
  signal: AbortSignal;
}) => Promise<string | null> | string | null;

export interface SessionApiOptions {
  apiUrl: string;
  userId: string;
  deviceId: string;
  getToken: () => GetToken;
  platform: Platform;
  timeoutMs: number;
  /** What all tabs of this browser have in common, or this client alone has. */
  installationId: () => string;
}

/** A failed attempt, and how long the server asks to leave it alone. */
export class UnavailableError extends WarrenError {
  constructor(
    code: 'api_unreachable' | 'api_unavailable' | 'token_unavailable',
    message: string,
    readonly retryAfterMs = 0,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
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
    let reply = await this.#request('connect', signal);
    if (reply.status === 401) reply = await this.#request('unauthorized', signal);
    if (reply.status === 401) {
      throw new TerminalError('unauthorized', 'The server refused the token twice.');
    }
    if (!reply.ok) throw toError(reply);
    const grant = reply.body as SessionGrant | undefined;
    if (grant?.queue === undefined) {
      throw new UnavailableError(
        'api_unavailable',
        'The server answered with something else than a grant.',
      );
    }
    if (grant.userId !== this.#options.userId) {
      const why = 'The token belongs to another user than the client was made for.';
      throw new TerminalError('user_mismatch', why);
    }
    this.sessionId = grant.sessionId;
    return grant;
  }

  /**
   * Deletes the device's session with its queues.
   * @throws {WarrenError}
   */
  async end(signal: AbortSignal): Promise<void> {
    const reply = await this.#request('logout', signal);
    // Gone already is as good.
    if (!reply.ok && reply.status !== 404) throw toError(reply);
  }

  async #request(reason: TokenReason, signal: AbortSignal): Promise<Reply> {
    const { apiUrl, deviceId, platform, timeoutMs } = this.#options;
    const token = await this.#token(reason, signal);
    const { sessionId, abandoned } = this;
    const attempt = withTimeout(platform, signal, timeoutMs);
    const ends = reason === 'logout';
    const path = ends ? `/${encodeURIComponent(deviceId)}` : '';
    try {
      const response = await platform.fetch(`${apiUrl}/v1/sessions${path}`, {
        method: ends ? 'DELETE' : 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          'warren-protocol': PROTOCOL_VERSION,
        },
        ...(!ends && {
          body: JSON.stringify({
            deviceId,
            installationId: this.#options.installationId(),
            ...(sessionId !== undefined && { sessionId, abandoned }),
          }),
        }),
        signal: attempt.signal,
      });
      const { ok, status, headers } = response;
      // Within the attempt: a body that stalls would hold up everything, stop() too.
      return { ok, status, retryAfter: headers.get('retry-after'), body: await readJson(response) };
    } catch (error) {
      throw new UnavailableError('api_unreachable', 'The server did not answer.', 0, {
        cause: error,
      });
    } finally {
      attempt.end();
    }
  }

  async #token(reason: TokenReason, signal: AbortSignal): Promise<string> {
    const { platform, timeoutMs, getToken } = this.#options;
    const attempt = withTimeout(platform, signal, timeoutMs);
    let token: string | null;
    try {
      token = await Promise.race([
        // Called in a function, so that a throw becomes a rejection.
        (async () => getToken()({ reason, signal: attempt.signal }))(),
        aborted(attempt.signal),
      ]);
    } catch (error) {
      if (error instanceof UnauthorizedError) {
        throw new TerminalError('unauthorized', 'getToken refused to give a token.', {
          cause: error,
        });
      }
      const why = 'getToken did not give a token.';
      throw new UnavailableError('token_unavailable', why, 0, { cause: error });
    } finally {
      attempt.end();
    }
    if (token === null) throw new TerminalError('logged_out', 'Nobody is logged in.');
    return token;
  }
}

interface Reply {
  ok: boolean;
  status: number;
  retryAfter: string | null;
  /** Undefined when it is no JSON. */
  body: unknown;
}

const TERMINAL: Partial<Record<number, TerminalCode>> = {
  400: 'request_refused',
  403: 'request_refused',
  409: 'session_replaced',
  426: 'upgrade_required',
};
const isOwnCode = (code: unknown): code is TerminalCode =>
  code === 'session_ended' || code === 'too_many_devices';

function toError({ status, retryAfter, body }: Reply): WarrenError {
  const problem = body as { title?: string; code?: string } | undefined;
  const text = `The server answered ${String(status)}: ${problem?.title ?? 'no explanation'}`;
  const terminal = isOwnCode(problem?.code) ? problem.code : TERMINAL[status];
  if (terminal !== undefined) return new TerminalError(terminal, text);
  const seconds = Number(retryAfter ?? 0);
  return new UnavailableError('api_unavailable', text, seconds > 0 ? seconds * 1000 : 0);
}

async function readJson(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch {
    return undefined;
  }
}

/** A signal that aborts with `signal` or after a time. */
function withTimeout(platform: Platform, signal: AbortSignal, ms: number) {
  const attempt = follow(signal);
  const timer = platform.setTimer(attempt.abort, ms);
  return {
    signal: attempt.signal,
    end: (): void => {
      platform.clearTimer(timer);
      attempt.release();
    },
  };
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = (): void => {
      reject(new Error('It took too long, or the client was stopped.'));
    };
    if (signal.aborted) fail();
    else signal.addEventListener('abort', fail, { once: true });
  });
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
