import type { PushPayload, PushProviderName } from '@warren/protocol';
import type { Answer, NoAnswer } from '../../outbound/post.js';

/** One push to one device. */
export interface OutgoingPush {
  /** The same at every attempt, and of no other push: whoever gets it twice can tell. */
  key: string;
  device: string;
  /** A token, or a subscription as JSON. */
  token: string;
  language: string | undefined;
  payload: PushPayload;
  /** Whether it takes the place of others with its tag, also while they wait at the provider. */
  replaces: boolean;
  /** Afterwards it is of no use; milliseconds since 1970. */
  expiresAt: number;
}

/**
 * What a provider says.
 * - `sent`: it has taken it. - `unregistered`: the token is dead, for good.
 * - `refused`: it will not take this push, now or later. - `failed`: it could not, and may later.
 */
export type PushResult =
  | { kind: 'sent' }
  | { kind: 'unregistered' }
  /** `reason`: a stable word. `detail`: for an operator; never a token or what the push says. */
  | { kind: 'refused'; reason: string; detail?: string }
  | { kind: 'failed'; reason: string; detail?: string; retryAfterMs?: number | undefined };

export interface PushProvider {
  readonly name: PushProviderName;
  /** How many pushes of one message it takes at once. */
  readonly batchSize: number;
  /**
   * Hands pushes over, and ends in good time. Never rejected.
   * @returns what became of each, in their order.
   */
  send(pushes: OutgoingPush[]): Promise<PushResult[]>;
  /** Why a token cannot be one, for whoever wants to register it; undefined when it can. */
  check(token: string): string | undefined;
}

/** How long a provider may take to answer, in milliseconds. */
export const PROVIDER_TIMEOUT_MS = 10_000;

/** What an answer means that a provider gives no meaning of its own. */
export function resultOf(answer: Answer | NoAnswer): PushResult {
  if (typeof answer === 'string') return { kind: 'failed', reason: answer };
  const { status, retryAfterMs } = answer;
  const detail = `it answered ${String(status)}`;
  if (status === 429) return { kind: 'failed', reason: 'rate_limited', detail, retryAfterMs };
  if (status === 408 || status >= 500) {
    return { kind: 'failed', reason: 'provider_error', detail, retryAfterMs };
  }
  if (status === 401 || status === 403) return { kind: 'refused', reason: 'unauthorized', detail };
  if (status === 413) return { kind: 'refused', reason: 'too_large', detail };
  if (status >= 200 && status < 300) return { kind: 'sent' };
  return { kind: 'refused', reason: 'refused', detail };
}
