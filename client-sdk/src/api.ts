import { TerminalError, UnauthorizedError, WarrenError } from './errors.js';
import type { Platform } from './platform/platform.js';
import { follow } from './timing.js';

/** Sent with each request, so that a server can turn away an SDK that it no longer speaks with. */
const PROTOCOL_VERSION = '1';

/**
 * Why a token is asked for: `connect` for any attempt; `unauthorized` when the server has just
 * refused one, so that a cached one must not be given again; `logout` for the last request;
 * `call` for anything else, when none was given before.
 */
export type TokenReason = 'connect' | 'unauthorized' | 'logout' | 'call';

/**
 * Gives the user's JWT, from the application's own login. Null: nobody is logged in; the client ends
 * in `failed` (`logged_out`). A rejection is tried again later, an {@link UnauthorizedError} is not.
 */
export type GetToken = (request: {
  reason: TokenReason;
  signal: AbortSignal;
}) => Promise<string | null> | string | null;

export interface ApiOptions {
  apiUrl: string;
  /** For whom each request is meant: the login may have been switched meanwhile, in another tab. */
  userId: string;
  /** Asked for each time, since a newer function may have replaced it. */
  getToken: () => GetToken;
  platform: Platform;
  timeoutMs: number;
  /** The token was somebody else's; nothing was done. */
  onMismatch: (reason: TerminalError) => void;
}

/** A failed attempt, and how long the server asks to leave it alone. */
export class UnavailableError extends WarrenError {
  constructor(
    code: 'api_unreachable' | 'api_unavailable' | 'token_unavailable' | 'token_not_yet_valid',
    message: string,
    readonly retryAfterMs = 0,
    options?: ErrorOptions,
  ) {
    super(code, message, options);
  }
}

/** What the server has answered, and not somebody on the way to it; it is not to be asked again. */
export interface Reply {
  ok: boolean;
  status: number;
  retryAfterMs: number;
  /** Undefined when it is no JSON. */
  body: unknown;
}

/** What a proxy may ask for is no reason to stay away for days. */
const MOST_RETRY_AFTER_MS = 3_600_000;

/** What the server says when it does not do what it was asked for. */
export function problemOf({ status, body }: Reply): { code: string; text: string } {
  const { title = 'no explanation', code = '' } = Object(body) as { title?: string; code?: string };
  return { code, text: `The server answered ${String(status)} ${code}: ${title}` };
}

export interface ApiRequest {
  method: 'POST' | 'PUT' | 'DELETE' | 'GET';
  /** After the API's address. */
  path: string;
  body?: unknown;
  /** Whether the request is to outlive the page. */
  keepalive?: boolean;
}

/** The HTTP API, on behalf of the user. */
export class Api {
  readonly #options: ApiOptions;
  /** The last one that was given. */
  #lastToken: string | undefined;

  constructor(options: ApiOptions) {
    this.#options = options;
  }

  /** With a fresh token. @throws {TerminalError} @throws {UnavailableError} */
  async ask(request: ApiRequest, reason: TokenReason, signal = unaborted()): Promise<Reply> {
    this.#lastToken = await this.#token(reason, signal);
    return this.#send(request, this.#lastToken, signal);
  }

  /**
   * With the last token, and with a fresh one when there is none or it is refused.
   * @throws {TerminalError} @throws {UnavailableError}
   */
  async call(request: ApiRequest, signal = unaborted()): Promise<Reply> {
    const token = this.#lastToken;
    if (token === undefined) return this.ask(request, 'call', signal);
    const reply = await this.#send(request, token, signal);
    return reply.status === 401 ? this.ask(request, 'unauthorized', signal) : reply;
  }

  /** For the next user. */
  forget(): void {
    this.#lastToken = undefined;
  }

  async #send(
    { method, path, body, keepalive = false }: ApiRequest,
    token: string,
    signal: AbortSignal,
  ): Promise<Reply> {
    const { apiUrl, userId, platform, timeoutMs, onMismatch } = this.#options;
    // Before the attempt: what JSON cannot hold is no fault of the server.
    const text = body === undefined ? undefined : JSON.stringify(body);
    const attempt = withTimeout(platform, signal, timeoutMs);
    let reply: Reply;
    try {
      const response = await platform.fetch(`${apiUrl}/v1/${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          'warren-protocol': PROTOCOL_VERSION,
          'warren-user': encodeURIComponent(userId),
        },
        ...(text !== undefined && { body: text }),
        ...(keepalive && { keepalive }),
        signal: attempt.signal,
      });
      const { ok, status, headers } = response;
      const retryAfterMs = toMs(headers.get('retry-after'), platform.now());
      // Within the attempt: a body that stalls would hold up everything, stop() too.
      reply = { ok, status, retryAfterMs, body: await readJson(response) };
    } catch (error) {
      throw new UnavailableError('api_unreachable', 'The server did not answer.', 0, {
        cause: error,
      });
    } finally {
      attempt.end();
    }
    const fault = isWarrens(reply)
      ? isBusy(reply) && problemOf(reply).text
      : `A proxy answered ${String(reply.status)}, or a network that asks for a login.`;
    if (fault !== false) throw new UnavailableError('api_unavailable', fault, reply.retryAfterMs);
    const { code, text: why } = problemOf(reply);
    if (code === 'user_mismatch') {
      const reason = new TerminalError(code, why);
      onMismatch(reason);
      throw reason;
    }
    return reply;
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
    const fault = faultOf(token);
    if (fault !== undefined) {
      const why = `getToken gave ${fault}: it must give a JWT, or null when nobody is logged in.`;
      throw new UnavailableError('token_unavailable', why);
    }
    return token;
  }
}

/** A signal that nobody aborts. */
const unaborted = (): AbortSignal => new AbortController().signal;

/** What no header can bear; undefined for what can be sent. Never says what the token is. */
function faultOf(token: unknown): string | undefined {
  if (typeof token !== 'string')
    return token === undefined
      ? 'undefined'
      : `${typeof token === 'object' ? 'an' : 'a'} ${typeof token}`;
  if (token === '') return 'an empty string';
  // Not every space: an application with cookies may give any text.
  if (/^bearer /i.test(token)) return 'a text with "Bearer" before it';
  const canBeSent = /^[\x20-\x7E\x80-\xFF]+$/.test(token);
  return canBeSent ? undefined : 'a text with control characters, or some beyond U+00FF';
}

const isBusy = ({ status }: Reply): boolean => status === 429 || status >= 500;

/**
 * By its shape: the page of a hotel's network would pass for a receipt that was taken, and the 403 of a firewall for
 * the end of a session. A login that stands before the server may refuse a token like the server itself.
 */
function isWarrens({ ok, status, body }: Reply): boolean {
  if (status === 204 || status === 401) return true;
  const { type } = Object(body) as { type?: unknown };
  return ok ? body === Object(body) : String(type).startsWith('urn:warren:problem:');
}

/** `Retry-After`, in seconds or as a date; 0 for what is neither. */
function toMs(retryAfter: string | null, now: number): number {
  const seconds = Number(retryAfter ?? 0);
  const ms = Number.isNaN(seconds) ? Date.parse(retryAfter ?? '') - now : seconds * 1000;
  return Math.min(MOST_RETRY_AFTER_MS, Math.max(0, ms || 0));
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
