import { createPublicKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { HttpProblem } from '../problem.js';

const TIMEOUT_MS = 3000;
/** Keys that are older are fetched anew, while they go on being used … */
const FRESH_MS = 10 * 60 * 1000;
/** … for so long, should whoever publishes them be away. */
const MOST_STALE_MS = 24 * 60 * 60 * 1000;
/** Anybody can name keys that do not exist; each would be a request. */
const MOST_FETCHES = 5;
const FETCHES_WITHIN_MS = 60_000;
/** A key that was not there is not looked for again for so long. */
const UNKNOWN_MS = 5 * 60 * 1000;
const MOST_UNKNOWN = 1000;
const MOST_BYTES = 1024 * 1024;

const jwksSchema = z.object({
  keys: z.array(z.looseObject({ kid: z.string().optional(), use: z.string().optional() })),
});

/**
 * The keys at a JWKS URL. The whole set is kept, so that a key which is known is found whatever else is asked for
 * and whether the URL answers or not; how often it is fetched is limited.
 */
export class RemoteKeys {
  readonly #url: string;
  #keys: { kid: string | undefined; key: KeyObject }[] = [];
  #fetchedAt = -Infinity;
  #fetching: Promise<void> | undefined;
  /** When they began, the oldest first. */
  #fetches: number[] = [];
  /** Keys that were not in the set, and when it was fetched. */
  readonly #unknown = new Map<string, number>();

  constructor(url: string) {
    this.#url = url;
  }

  /**
   * @param kid undefined: the only key that there is.
   * @returns undefined when there is no such key.
   * @throws {HttpProblem} `keys_unavailable`
   */
  async find(kid: string | undefined): Promise<KeyObject | undefined> {
    const ageMs = performance.now() - this.#fetchedAt;
    if (ageMs > MOST_STALE_MS) await this.#fetch();
    // In the background: whoever waits for nothing new is not to wait, and another one tells of the failure.
    else if (ageMs > FRESH_MS && this.#mayFetch) this.#fetch().catch(() => undefined);
    const known = this.#get(kid);
    if (known !== undefined || kid === undefined || this.#isUnknown(kid)) return known;
    await this.#fetch();
    const found = this.#get(kid);
    if (found === undefined) this.#rememberUnknown(kid);
    return found;
  }

  #get(kid: string | undefined): KeyObject | undefined {
    if (kid === undefined) return this.#keys.length === 1 ? this.#keys[0]?.key : undefined;
    return this.#keys.find((known) => known.kid === kid)?.key;
  }

  #isUnknown(kid: string): boolean {
    return performance.now() - (this.#unknown.get(kid) ?? -Infinity) < UNKNOWN_MS;
  }

  #rememberUnknown(kid: string): void {
    const [oldest] = this.#unknown.keys();
    if (this.#unknown.size >= MOST_UNKNOWN && oldest !== undefined) this.#unknown.delete(oldest);
    this.#unknown.delete(kid);
    this.#unknown.set(kid, performance.now());
  }

  /** Joins one that is under way. @throws {HttpProblem} `keys_unavailable` */
  async #fetch(): Promise<void> {
    if (this.#fetching === undefined) {
      if (!this.#mayFetch) throw new HttpProblem('keys_unavailable', undefined, this.#retryAfter);
      this.#fetches.push(performance.now());
      this.#fetching = this.#load().finally(() => (this.#fetching = undefined));
    }
    try {
      await this.#fetching;
    } catch (error) {
      throw new HttpProblem('keys_unavailable', undefined, { cause: error });
    }
  }

  get #mayFetch(): boolean {
    const since = performance.now() - FETCHES_WITHIN_MS;
    this.#fetches = this.#fetches.filter((at) => at > since);
    return this.#fetches.length < MOST_FETCHES;
  }

  get #retryAfter(): { retryAfterSeconds: number } {
    const nextAt = (this.#fetches[0] ?? 0) + FETCHES_WITHIN_MS;
    return { retryAfterSeconds: Math.max(1, Math.ceil((nextAt - performance.now()) / 1000)) };
  }

  async #load(): Promise<void> {
    const response = await fetch(this.#url, {
      headers: { accept: 'application/json' },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`The JWKS URL answered ${String(response.status)}.`);
    const { keys } = jwksSchema.parse(JSON.parse(await textOf(response)));
    this.#keys = keys.flatMap(({ kid, use = 'sig', ...jwk }) => {
      const key = use === 'sig' ? toKey(jwk) : undefined;
      return key === undefined ? [] : [{ kid, key }];
    });
    this.#fetchedAt = performance.now();
  }
}

/** @throws {Error} when it is larger than a set of keys could be. */
async function textOf(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let size = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > MOST_BYTES) throw new Error('What the JWKS URL answers is too large.');
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

/** Undefined for one of a kind that Warren does not check: a set may have others beside. */
function toKey(jwk: Record<string, unknown>): KeyObject | undefined {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' });
  } catch {
    return undefined;
  }
}
