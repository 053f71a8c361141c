/** Warren did not do what it was asked for; `code` is one of docs/errors.md. */
export class WarrenApiError extends Error {
  override readonly name = 'WarrenApiError';
  constructor(
    readonly status: number,
    readonly code: string,
  ) {
    super(`Warren answered ${String(status)} ${code}.`);
  }
}

/** Warren's HTTP API, as a back end in any language calls it: JSON, and a service key. */
export class WarrenApi {
  readonly #url: string;
  readonly #serviceKey: string;

  constructor({ apiUrl, serviceKey }: { apiUrl: string; serviceKey: string }) {
    this.#url = apiUrl;
    this.#serviceKey = serviceKey;
  }

  /** @throws {WarrenApiError} for any other answer than 2xx. @throws {TypeError} when there is none. */
  async call<Reply = unknown>(method: string, path: string, body?: object): Promise<Reply> {
    const response = await fetch(`${this.#url}/v1/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#serviceKey}`,
        'content-type': 'application/json',
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const reply: unknown = response.status === 204 ? undefined : await response.json();
    if (!response.ok) {
      const { code = 'unknown' } = reply as { code?: string };
      throw new WarrenApiError(response.status, code);
    }
    return reply as Reply;
  }
}
