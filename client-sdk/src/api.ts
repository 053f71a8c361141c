import { TerminalError, UnauthorizedError, WarrenError } from './errors.js';
import type { Platform } from './platform/platform.js';
import { follow } from './timing.js';

/** Sent with each request, so that a server can turn away an SDK that it no longer speaks with; and with each answer. */
const PROTOCOL_HEADER = 'warren-protocol';
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
  /** Whether it bears the header by which a server tells its answers from those of others. */
  isMarked: boolean;
  /** Undefined when it is no JSON. */
  body: unknown;
}

/** What a proxy may ask for is no reason to stay away for days. */
const MOST_RETRY_AFTER_MS = 3_600_000;

/** What the server says when it does not do what it was asked for. */
export function problemOf({ status, body }: Reply): { code: string; text: string } {
  const { title = '', code = '' } = Object(body) as { title?: string; code?: string };
  return { code, text: `The server answered ${String(status)} ${code}: ${title}` };
}

/** The fields of what was answered, whoever did. */
export type Answer = Record<string, unknown>;

export interface ApiRequest {
  method: 'POST' | 'PUT' | 'DELETE' | 'GET';
  /** After the API's address. */
  path: string;
  body?: unknown;
  /** Whether the request is to outlive the page. */
  keepalive?: boolean;
  /** Whether an answer is the one that this route gives. Default: it gives 204, which has no body. */
  gives?: ((answer: Answer) => boolean) | undefined;
}

/** The HTTP API, on behalf of the user. */
export class Api {
  readonly #options: ApiOptions;
  /** The last one that was given. */
  #lastToken: string | undefined;
  /** Whether the server marks its answers, and this page may see it: an older one does not. */
  #isMarking = false;

  constructor(options: ApiOptions) {
    this.#options = options;
  }

  /**
   * With a fresh token for `reason`; without one with the last that was given, if there is one. One that is refused
   * is replaced once, whoever refuses it: a login that stands before the server may do so like the server itself.
   * @throws {TerminalError} @throws {UnavailableError}
   */
  async call(request: ApiRequest, reason?: TokenReason, signal = unaborted()): Promise<Reply> {
    const known = reason === undefined ? this.#lastToken : undefined;
    let reply = await this.#send(
      request,
      known ?? (await this.#token(reason ?? 'call', signal)),
      signal,
    );
    if (reply.status === 401) {
      reply = await this.#send(request, await this.#token('unauthorized', signal), signal);
    }
    this.#check(reply, request);
    return reply;
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
    const { apiUrl, userId, platform, timeoutMs } = this.#options;
    // Before the attempt: what JSON cannot hold is no fault of the server.
    const text = body === undefined ? undefined : JSON.stringify(body);
    const attempt = withTimeout(platform, signal, timeoutMs);
    try {
      const response = await platform.fetch(`${apiUrl}/v1/${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/json',
          [PROTOCOL_HEADER]: PROTOCOL_VERSION,
          'warren-user': encodeURIComponent(userId),
        },
        ...(text !== undefined && { body: text }),
        ...(keepalive && { keepalive }),
        signal: attempt.signal,
      });
      const { ok, status, headers } = response;
      const retryAfterMs = toMs(headers.get('retry-after'), platform.now());
      const isMarked = headers.has(PROTOCOL_HEADER);
      // Within the attempt: a body that stalls would hold up everything, stop() too.
      return { ok, status, retryAfterMs, isMarked, body: await readJson(response) };
    } catch (error) {
      throw new UnavailableError('api_unreachable', 'The server did not answer.', 0, {
        cause: error,
      });
    } finally {
      attempt.end();
    }
  }

  /** @throws {TerminalError} @throws {UnavailableError} */
  #check(reply: Reply, { gives }: ApiRequest): void {
    const { status, retryAfterMs } = reply;
    const { code, text } = problemOf(reply);
    const isOwn = this.#isOwn(reply, gives);
    if (!isOwn || status === 429 || status >= 500) {
      const stranger = `A proxy, or a network's login page, answered ${String(status)}.`;
      throw new UnavailableError('api_unavailable', isOwn ? text : stranger, retryAfterMs);
    }
    if (code === 'user_mismatch') {
      const reason = new TerminalError(code, text);
      this.#options.onMismatch(reason);
      throw reason;
    }
  }

  /**
   * By its shape: the page of a hotel's network would pass for a receipt that was taken, and the 403 of a firewall for
   * the end of a session. An empty answer has none: where the server marks others, it must be marked.
   */
  #isOwn({ ok, status, body, isMarked }: Reply, gives: ApiRequest['gives']): boolean {
    const fields = Object(body) as Answer;
    if (!ok) return String(fields['type']).startsWith('urn:warren:problem:');
    if (gives === undefined) return status === 204 && (isMarked || !this.#isMarking);
    const isOwn = gives(fields);
    if (isOwn) this.#isMarking = isMarked;
    return isOwn;
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
      const why = 'getToken threw, or took too long.';
      throw new UnavailableError('token_unavailable', why, 0, { cause: error });
    } finally {
      attempt.end();
    }
    if (token === null) throw new TerminalError('logged_out', 'Nobody is logged in.');
    const fault = faultOf(token);
    if (fault !== undefined) {
      const why = `getToken gave ${fault}: it must give a JWT or null.`;
      throw new UnavailableError('token_unavailable', why);
    }
    this.#lastToken = token;
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
  return canBeSent ? undefined : 'control characters, or some beyond U+00FF';
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
