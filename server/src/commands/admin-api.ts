import { problemSchema } from '@warren/protocol';
import { CommandError } from '../command-error.js';
import { readDevInfo } from '../dev/index.js';
import { readVariables } from './environment.js';

/** Where a server is, and a key that opens its routes of admins. */
export interface AdminAccess {
  apiUrl: string;
  adminKey: string;
}

export interface AdminFlags {
  api?: string;
  dataDir: string;
}

/** A server of one's own by `--api` and `WARREN_ADMIN_KEYS`, or the one of "npm start". */
export async function adminAccess({ api, dataDir }: AdminFlags): Promise<AdminAccess> {
  const { WARREN_ADMIN_KEYS: keys = [] } = readVariables('WARREN_ADMIN_KEYS');
  const adminKey = keys[0]?.key;
  if (api === undefined) {
    const info = await readDevInfo(dataDir);
    return { apiUrl: info.apiUrl, adminKey: adminKey ?? info.adminKey };
  }
  if (adminKey !== undefined) return { apiUrl: api, adminKey };
  throw new CommandError(
    'No admin key is named.',
    `Set WARREN_ADMIN_KEYS to a key of the server at ${api}.`,
  );
}

/** What a server has answered. */
export class RefusedError extends Error {
  constructor(
    /** Undefined when the answer is none of Warren's. */
    readonly code: string | undefined,
    message: string,
  ) {
    super(message);
  }
}

/** A request below `/v1/admin/`. @throws {RefusedError} or an {@link Error} when nothing answers. */
export async function askAdmin<Reply>(
  { apiUrl, adminKey }: AdminAccess,
  method: string,
  path: string,
  body?: object,
): Promise<Reply> {
  let response: Response;
  try {
    response = await fetch(`${apiUrl.replace(/\/+$/, '')}/v1/admin/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${adminKey}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  } catch (error) {
    const advice = `Nothing answers at ${apiUrl}: start the server, or name another one with --api.`;
    throw new Error(advice, { cause: error });
  }
  const text = await response.text();
  if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as Reply;
  const problem = problemSchema.safeParse(parse(text)).data;
  if (problem?.code === 'token_invalid') {
    const advice = 'The server does not know this admin key: set WARREN_ADMIN_KEYS to one of its.';
    throw new RefusedError(problem.code, advice);
  }
  const why = problem?.detail ?? problem?.title;
  throw new RefusedError(problem?.code, why ?? `The server answered ${String(response.status)}.`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
