/** What was answered. */
export interface Answer {
  status: number;
  /** Cut off where it is longer than any answer that is expected. */
  text: string;
  /** How long the other side asks to be left alone; undefined when it does not say. */
  retryAfterMs: number | undefined;
}

/** Why there was no answer. */
export type NoAnswer = 'timeout' | 'unreachable';

const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_RETRY_AFTER_MS = 24 * 60 * 60 * 1000;

/** Posts, and follows no redirect. Never rejected. */
export async function post(
  url: string,
  options: { headers: Record<string, string>; body: string | Buffer; timeoutMs: number },
): Promise<Answer | NoAnswer> {
  const { headers, body, timeoutMs } = options;
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(url, {
      method: 'POST',
      redirect: 'manual',
      headers,
      body: typeof body === 'string' ? body : new Uint8Array(body),
      signal,
    });
    return {
      status: response.status,
      text: await readText(response),
      retryAfterMs: readRetryAfter(response.headers.get('retry-after')),
    };
  } catch {
    return signal.aborted ? 'timeout' : 'unreachable';
  }
}

async function readText({ body }: Response): Promise<string> {
  if (body === null) return '';
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    length += chunk.length;
    // Leaving the loop closes the connection.
    if (length > MAX_ANSWER_BYTES) break;
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Seconds, or a date (RFC 9110, 10.2.3). */
function readRetryAfter(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS);
}
