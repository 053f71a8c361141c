import { problemSchema } from '@warren/protocol';

/** Where a server is, and a key that opens its routes of admins. */
export interface AdminAccess {
  apiUrl: string;
  adminKey: string;
}

/** A request below `/v1/admin/`. @throws {Error} that says what the server has answered. */
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
    throw new Error(
      'The server does not know this admin key: set WARREN_ADMIN_KEYS to one of its.',
    );
  }
  throw new Error(
    problem?.detail ?? problem?.title ?? `The server answered ${String(response.status)}.`,
  );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
