import { Webhook } from 'standardwebhooks';
import { post, type Answer, type NoAnswer } from './post.js';

/** The application did not answer, or not with 2xx. Holds no payload. */
export class PostError extends Error {
  override readonly name = 'PostError';
  constructor(
    /** Undefined: there was no answer. */
    readonly status: number | undefined,
  ) {
    super(status === undefined ? 'It did not answer in time.' : `It answered ${String(status)}.`);
  }
}

const TIMEOUT_MS = 5000;

/**
 * Posts JSON to the application, signed as Standard Webhooks (standardwebhooks.com) says, so that it can
 * tell who it comes from and that it is not an old one.
 */
export class SignedPost {
  readonly #url: string;
  readonly #signer: Webhook;

  /** @param secret base64, with or without `whsec_` before it. */
  constructor(url: string, secret: string) {
    this.#url = url;
    this.#signer = new Webhook(secret);
  }

  /**
   * @param id the same when it is sent again.
   * @returns the JSON that it is answered with; undefined when it is none.
   * @throws {PostError}
   */
  async send(id: string, body: unknown): Promise<unknown> {
    const answer = await this.post(id, body);
    if (typeof answer === 'string') throw new PostError(undefined);
    if (answer.status < 200 || answer.status > 299) throw new PostError(answer.status);
    try {
      return JSON.parse(answer.text);
    } catch {
      return undefined;
    }
  }

  /** As {@link send}, for whoever wants to know what exactly was answered. Never rejected. */
  async post(id: string, body: unknown, timeoutMs = TIMEOUT_MS): Promise<Answer | NoAnswer> {
    const text = JSON.stringify(body);
    const at = new Date();
    return post(this.#url, {
      headers: {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
        'webhook-signature': this.#signer.sign(id, at, text),
      },
      body: text,
      timeoutMs,
    });
  }
}
