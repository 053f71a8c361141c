import type { AdminToken, Problem } from '@warren/protocol';

/** Where the server is mounted: the console lies in `console/` below it. */
export const BASE = new URL('..', document.baseURI).href.replace(/\/$/, '');

/** An answer that says what went wrong. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** The routes of admins. */
export class Api {
  constructor(
    readonly token: string,
    /** To be called when the server says that the token is good no more. */
    readonly onEnded: () => void,
  ) {}

  get<Reply>(path: string, signal?: AbortSignal): Promise<Reply> {
    return this.call<Reply>('GET', path, undefined, signal);
  }

  /** @throws {ApiError} */
  async call<Reply>(
    method: Method,
    path: string,
    body?: unknown,
    signal?: AbortSignal,
  ): Promise<Reply> {
    try {
      return await request<Reply>(this.token, method, path, body, signal);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.onEnded();
      throw error;
    }
  }
}

/** @throws {ApiError} */
export function signIn(secret: string): Promise<AdminToken> {
  return request<AdminToken>(secret, 'POST', 'tokens');
}

async function request<Reply>(
  token: string,
  method: Method,
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<Reply> {
  if (hasDots(path)) throw new ApiError(400, 'invalid_id', 'An id can be neither "." nor "..".');
  let response: Response;
  try {
    response = await fetch(`${BASE}/v1/admin/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: signal ?? null,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError(0, 'unreachable', 'The server cannot be reached.');
  }
  const text = await response.text();
  if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as Reply;
  throw toError(response.status, text);
}

function toError(status: number, text: string): ApiError {
  try {
    const { code, title, detail } = JSON.parse(text) as Problem;
    return new ApiError(status, code, detail ?? title);
  } catch {
    return new ApiError(status, 'unknown', `The server answered ${String(status)}.`);
  }
}

/** `fetch` takes such parts out, and another path is left. */
const hasDots = (path: string): boolean =>
  (path.split('?')[0] ?? '').split('/').some((part) => part === '.' || part === '..');

/** A path of several parts, each of which may hold anything. */
export const pathOf = (...parts: string[]): string => parts.map(encodeURIComponent).join('/');

export function queryOf(values: Record<string, string | number | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== '') query.set(name, String(value));
  }
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}
