import { DedupeWindow, type Ending } from './dedupe.js';
import { WarrenError } from './errors.js';
import { decode, type Message } from './message.js';
import type { Platform } from './platform.js';
import type { Delivery } from './transport.js';

export type Handler = (message: Message) => unknown;

export interface DispatcherOptions {
  platform: Platform;
  /** How often a failing handler is called in all. */
  attempts: number;
  /** The delay before the second attempt; it doubles. */
  retryDelayMs: number;
  onError: (error: WarrenError, message: Message | undefined) => void;
  onUnhandled: (message: Message) => void;
}

const WINDOW_ENTRIES = 10_000;
const WINDOW_MS = 24 * 60 * 60 * 1000;

/**
 * Hands messages to handlers: in order, one at a time for each queue, acked after the handler has
 * resolved. It outlives connections, so that what a lost one leaves half-done is not done twice.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #handlers = new Map<string, Handler>();
  readonly #window: DedupeWindow;
  readonly #lanes: Record<Message['delivery'], Lane>;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#window = new DedupeWindow(WINDOW_ENTRIES, WINDOW_MS, options.platform.now);
    const lane = (kind: Message['delivery']) =>
      new Lane((delivery, isCurrent) => this.#process(delivery, kind, isCurrent));
    this.#lanes = { queued: lane('queued'), live: lane('live') };
  }

  /** Replaces an older handler of the type. @returns an idempotent function that removes this one. */
  handle(type: string, handler: Handler): () => void {
    this.#handlers.set(type, handler);
    return () => {
      if (this.#handlers.get(type) === handler) this.#handlers.delete(type);
    };
  }

  push(kind: Message['delivery'], delivery: Delivery): void {
    this.#lanes[kind].push(delivery);
  }

  /** Forgets what has not begun: its connection is gone or going, and the broker gives it out again. */
  discard(): void {
    this.#lanes.queued.discard();
    this.#lanes.live.discard();
  }

  /** Resolves when no handler runs. */
  async idle(): Promise<void> {
    await Promise.all([this.#lanes.queued.idle(), this.#lanes.live.idle()]);
  }

  async #process(
    delivery: Delivery,
    kind: Message['delivery'],
    isCurrent: () => boolean,
  ): Promise<void> {
    const id = delivery.properties.messageId;
    const known = id === undefined ? undefined : this.#window.get(id);
    const ending = known ?? (await this.#run(delivery, kind, isCurrent));
    if (ending === undefined) return;
    if (known === undefined && id !== undefined) this.#window.add(id, ending);
    if (ending === 'acked') delivery.ack();
    else delivery.reject();
  }

  /** Undefined when the connection went away between two attempts: the broker gives it out again. */
  async #run(
    delivery: Delivery,
    kind: Message['delivery'],
    isCurrent: () => boolean,
  ): Promise<Ending | undefined> {
    const { attempts, onError, onUnhandled } = this.#options;
    let message: Message;
    try {
      message = decode(delivery, kind);
    } catch (error) {
      const why = 'A message is not what its content type says; it was rejected.';
      onError(new WarrenError('undecodable', why, { cause: error }), undefined);
      return 'rejected';
    }
    const handler = this.#handlers.get(message.type) ?? this.#handlers.get('*');
    if (handler === undefined) {
      onUnhandled(message);
      return 'rejected';
    }
    for (let attempt = 1; ; attempt++) {
      try {
        await handler(message);
        return 'acked';
      } catch (error) {
        if (attempt >= attempts) {
          const why = `The handler of "${message.type}" failed ${String(attempts)} times; the message was rejected.`;
          onError(new WarrenError('handler_failed', why, { cause: error }), message);
          return 'rejected';
        }
      }
      await this.#pause(attempt);
      if (!isCurrent()) return undefined;
    }
  }

  /** Between half and all of a delay that doubles, so that many devices do not fail in step. */
  #pause(attempt: number): Promise<void> {
    const { platform, retryDelayMs } = this.#options;
    const delayMs = retryDelayMs * 2 ** (attempt - 1) * (0.5 + platform.random() / 2);
    return new Promise((resolve) => {
      platform.setTimer(resolve, delayMs);
    });
  }
}

/** One queue's messages, one after the other, whichever connection they come by. */
class Lane {
  #pending: Delivery[] = [];
  #next = 0;
  #generation = 0;
  #running: Promise<void> | undefined;
  readonly #process: (delivery: Delivery, isCurrent: () => boolean) => Promise<void>;

  constructor(process: (delivery: Delivery, isCurrent: () => boolean) => Promise<void>) {
    this.#process = process;
  }

  push(delivery: Delivery): void {
    this.#pending.push(delivery);
    this.#running ??= this.#drain();
  }

  discard(): void {
    this.#pending = [];
    this.#next = 0;
    this.#generation++;
  }

  async idle(): Promise<void> {
    await this.#running;
  }

  async #drain(): Promise<void> {
    for (;;) {
      const delivery = this.#pending[this.#next];
      if (delivery === undefined) break;
      this.#next++;
      // An index instead of shift(), which moves all others each time.
      if (this.#next >= this.#pending.length) {
        this.#pending = [];
        this.#next = 0;
      }
      const generation = this.#generation;
      await this.#process(delivery, () => this.#generation === generation);
    }
    this.#running = undefined;
  }
}
