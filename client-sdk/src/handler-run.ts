import type { Handler } from './dispatcher.js';
import { WarrenError } from './errors.js';
import { CallContext } from './handler-context.js';
import type { Message } from './message.js';
import type { Platform } from './platform/platform.js';
import type { Handled } from './receipts.js';
import { delay, isThenable } from './timing.js';

export interface HandlerRunOptions {
  platform: Platform;
  /** How often a failing handler is called in all. */
  attempts: number;
  /** The delay before the second attempt; it doubles. */
  retryDelayMs: number;
  /** 0: no limit. */
  handlerTimeoutMs: number;
  onError: (error: WarrenError, message: Message | undefined) => void;
}

/**
 * Why a message was rejected; undefined when it was not; `gone` when its connection went away, or the client was
 * stopped, before it was done.
 */
export type Failure = { error: NonNullable<Handled['error']>; name?: string } | 'gone' | undefined;

/** A handler took longer than it may. */
class TimeoutError extends Error {}

/** Calls a handler with one message until it resolves, or has failed often enough. */
export class HandlerRun {
  readonly #options: HandlerRunOptions;
  #context: CallContext | undefined;
  #timer: ReturnType<typeof delay> | undefined;
  /** Sets the timer, or sets it anew. */
  #arm: () => void = () => undefined;
  #isStopped = false;

  constructor(options: HandlerRunOptions) {
    this.#options = options;
  }

  async run(handler: Handler, message: Message, isCurrent: () => boolean): Promise<Failure> {
    const { attempts, onError } = this.#options;
    for (let attempt = 1; !this.#isStopped; attempt++) {
      try {
        await this.#call(handler, message, attempt);
        return undefined;
      } catch (error) {
        // It has done as its signal said, which is no failure.
        if (this.#hasStopped()) break;
        if (attempt >= attempts) {
          const code = error instanceof TimeoutError ? 'handler_timeout' : 'handler_failed';
          const why = `The handler of "${message.type}" failed ${String(attempts)} times.`;
          onError(new WarrenError(code, why, { cause: error }), message);
          const name = error instanceof Error && code === 'handler_failed' ? error.name : undefined;
          return { error: code, ...(name !== undefined && { name }) };
        }
      }
      await this.#pause(attempt);
      if (!isCurrent()) break;
    }
    return 'gone';
  }

  /** Tells the handler that nobody waits for it any more, and leaves no timer. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#context?.abort();
  }

  /** Who has not listened has its time once more: its queue must not wait for ever. */
  resume(): void {
    if (this.#isStopped) this.#arm();
  }

  // A function, since the compiler takes the field to be what it was before an await.
  #hasStopped(): boolean {
    return this.#isStopped;
  }

  /** @throws what the handler throws, or a {@link TimeoutError}. */
  #call(handler: Handler, message: Message, attempt: number): unknown {
    const { handlerTimeoutMs } = this.#options;
    const context = (this.#context = new CallContext(attempt));
    const result = handler(message, context);
    if (handlerTimeoutMs === 0 || !isThenable(result)) return result;
    const late = this.#time(handlerTimeoutMs).then(() => {
      context.abort();
      throw new TimeoutError(`It took longer than ${String(handlerTimeoutMs)} ms.`);
    });
    return Promise.race([result, late]).finally(() => this.#timer?.cancel());
  }

  /** Between half and all of a delay that doubles, so that many devices do not fail in step. */
  #pause(attempt: number): Promise<void> {
    const { platform, retryDelayMs } = this.#options;
    return this.#time(retryDelayMs * 2 ** (attempt - 1) * (0.5 + platform.random() / 2));
  }

  #time(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#arm = () => {
        this.#timer?.cancel();
        this.#timer = delay(this.#options.platform, ms);
        void this.#timer.done.then(resolve);
      };
      this.#arm();
    });
  }
}
