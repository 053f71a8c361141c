/** What a handler is told beside the message. */
export interface HandlerContext {
  /**
   * Aborts when the handler has taken longer than `handlerTimeoutMs`, or still runs when `stop()` has waited for it
   * (`drainMs`): the message comes again after the next start, unless the handler resolves all the same.
   */
  signal: AbortSignal;
  /** 1 for the first call. */
  attempt: number;
}

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
