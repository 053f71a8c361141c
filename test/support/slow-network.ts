/**
 * A network on which requests for a session stay on their way until it is opened, whether or not their sender still
 * waits: as behind a proxy that has taken them.
 */
export class SlowNetwork {
  /** What the server answers to each, the first first. */
  readonly held: Promise<Response>[] = [];
  open: () => void = () => undefined;
  readonly #opened = new Promise<void>((resolve) => (this.open = resolve));

  readonly fetch: typeof globalThis.fetch = (input, init = {}) => {
    const { signal, ...request } = init;
    if (request.method !== 'POST') return globalThis.fetch(input, init);
    const reply = this.#opened.then(() => globalThis.fetch(input, request));
    this.held.push(reply);
    return new Promise((resolve, reject) => {
      reply.then(resolve, reject);
      signal?.addEventListener('abort', () => {
        reject(new Error('Nobody waits any more.'));
      });
    });
  };
}
