import { createHash } from 'node:crypto';
import { pushProxyReplySchema, type PushProxyBody } from '@warren/protocol';
import type { SignedPost } from '../../outbound/signed-post.js';
import {
  PROVIDER_TIMEOUT_MS,
  resultOf,
  type OutgoingPush,
  type PushProvider,
  type PushResult,
} from './provider.js';

/** Whatever the application has: a signed request to its push proxy, with many pushes of one message. */
export class WebhookProvider implements PushProvider {
  readonly name = 'webhook';
  readonly batchSize = 100;
  readonly #post: SignedPost;

  constructor(post: SignedPost) {
    this.#post = post;
  }

  /** Only the proxy knows what its tokens look like. */
  check(): undefined {
    return undefined;
  }

  async send(pushes: OutgoingPush[]): Promise<PushResult[]> {
    const all = (result: PushResult): PushResult[] => pushes.map(() => result);
    const answer = await this.#post.post(idOf(pushes), toBody(pushes), PROVIDER_TIMEOUT_MS);
    if (typeof answer === 'string') return all(resultOf(answer));
    // With one push it is about that one; of several it would have to say which.
    if (answer.status === 410 && pushes.length === 1) return [{ kind: 'unregistered' }];
    const result = resultOf(answer);
    if (result.kind !== 'sent') return all(result);
    const results = readResults(answer.text);
    if (results === undefined) {
      const detail = 'it answered 2xx with something that is no JSON of results';
      return all({ kind: 'failed', reason: 'garbled', detail });
    }
    return pushes.map(({ key }) => results.get(key) ?? { kind: 'sent' });
  }
}

/** The same for the same pushes. */
function idOf(pushes: OutgoingPush[]): string {
  const [first, ...others] = pushes;
  if (first !== undefined && others.length === 0) return first.key;
  const hash = createHash('sha256');
  for (const { key } of pushes) hash.update(key);
  return hash.digest('base64url');
}

const toBody = (pushes: OutgoingPush[]): PushProxyBody => ({
  pushes: pushes.map(({ key, device, token, language, payload, expiresAt }) => ({
    key,
    device,
    token,
    ...(language !== undefined && { language }),
    ...payload,
    expiresAt: new Date(expiresAt).toISOString(),
  })),
});

function readResults(text: string): Map<string, PushResult> | undefined {
  if (text.trim() === '') return new Map();
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = pushProxyReplySchema.safeParse(body);
  if (!parsed.success) return undefined;
  return new Map(
    parsed.data.results.map(({ key, status, reason: detail }): [string, PushResult] => {
      const more = detail === undefined ? {} : { detail };
      if (status === 'retry') return [key, { kind: 'failed', reason: 'provider_error', ...more }];
      if (status === 'refused') return [key, { kind: 'refused', reason: 'refused', ...more }];
      return [key, { kind: status }];
    }),
  );
}
