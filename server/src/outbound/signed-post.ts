import { Webhook } from 'standardwebhooks';

/** The application did not answer, or not with 2xx. Holds no payload. */
export class PostError extends Error {
  override readonly name = 'PostError';
  constructor(
    /** Undefined: there was no answer. */
    readonly status: number | undefined,
    options?: ErrorOptions,
  ) {
    super(
      status === undefined ? 'It did not answer in time.' : `It answered ${String(status)}.`,
      options,
    );
  }
}

const TIMEOUT_MS = 5000;
/** An answer that is longer is none of ours. */
const MAX_ANSWER = 64 * 1024;

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
    const text = JSON.stringify(body);
    const at = new Date();
    let response: Response;
    let answer: string;
    try {
      response = await fetch(this.#url, {
        method: 'POST',
        redirect: 'error',
        headers: {
          'content-type': 'application/json',
          'webhook-id': id,
          'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
          'webhook-signature': this.#signer.sign(id, at, text),
        },
        body: text,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      answer = await response.text();
    } catch (error) {
      throw new PostError(undefined, { cause: error });
    }
    if (!response.ok) throw new PostError(response.status);
    if (answer.length > MAX_ANSWER) return undefined;
    try {
      return JSON.parse(answer);
    } catch {
      return undefined;
    }
  }
}
