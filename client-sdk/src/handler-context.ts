/** What a handler is told beside the message. */
export interface HandlerContext {
  /** Aborts when the handler has taken longer than `handlerTimeoutMs`. */
  signal: AbortSignal;
  /** 1 for the first call. */
  attempt: number;
}

/** A handler took longer than it may. */
export class TimeoutError extends Error {}

/** Makes the signal when it is first asked for: most handlers never do, and it is not cheap. */
export class CallContext implements HandlerContext {
  #controller: AbortController | undefined;

  constructor(readonly attempt: number) {}

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    return this.#controller.signal;
  }

  abort(): void {
    // Also when it is first asked for afterwards.
    this.#controller ??= new AbortController();
    this.#controller.abort();
  }
}
