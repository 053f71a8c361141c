import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { DedupeWindow, Ending } from './dedupe.js';
import { throwLater } from './emitter.js';
import type { HandlerContext } from './handler-context.js';
import { HandlerRun, type Failure, type HandlerRunOptions } from './handler-run.js';
import { WarrenError } from './errors.js';
import { Lane } from './lane.js';
import { decode, typeOf, type Decode, type Message, type Parcel } from './message.js';
import type { Handled } from './receipts.js';
import { isThenable } from './timing.js';
import type { Delivery } from './transport.js';

export type Handler = (message: Message, context: HandlerContext) => unknown;
export type Observer = (message: Message) => void;
/** What becomes of a message of a type that nobody handles; see `ClientOptions`. */
export type Unhandled = 'reject' | 'ack' | 'keep';

/**
 * Which of the other tabs is meant: the one that is handling this very message already, one that
 * handles its type, or one that handles `'*'`.
 */
export type TabWith = 'message' | 'type' | 'any';

/** The other tabs, for messages that this one has no handler for. */
export interface OtherTabs {
  /**
   * Hands a message over.
   * @returns how it ended; `undefined` when it is to be seen anew who handles it, since that tab went away or has
   *   stalled; `hung` when all such tabs hang; no promise, when there is none.
   */
  run: (parcel: Parcel, tabWith: TabWith) => Promise<Ending | 'hung' | undefined> | undefined;
  /** Tells all tabs how a message ended that this one has handled. */
  tellEnded: (parcel: Parcel, ending: Ending) => void;
}

export interface DispatcherOptions extends HandlerRunOptions {
  window: DedupeWindow;
  /** Messages of each queue that are handled at once. */
  concurrency: number;
  /** What becomes of a message that nobody handles. */
  unhandled: Unhandled;
  /** Asked for each time, since a newer function may have replaced it. */
  decode: () => Decode | undefined;
  onUnhandled: (message: Message) => void;
  /** The sender wants to know what became of this one; it will be acked now. */
  onTracked: (id: string, became: 'delivered' | 'superseded') => void;
  /** A message has ended in this tab. */
  onHandled: (handled: Handled) => void;
  /** Types that are handled or observed have changed. */
  onHandlers: () => void;
}

interface Registration {
  handler: Handler;
  schema: StandardSchemaV1 | undefined;
}

/** How a message ended, or that nobody handles it; undefined when its tab or its connection went away first. */
type Outcome = Ending | 'ignored' | 'kept' | undefined;

/** On a message of which the sender wants to know that it was handled. */
const TRACK_HEADER = 'x-warren-track';

/**
 * Hands messages to handlers, and acks after the handler has resolved. It outlives connections, so
 * that what a lost one leaves half-done is not done twice.
 */
export class Dispatcher {
  /** The other tabs, once there may be some. */
  others: OtherTabs | undefined;
  /** How many messages of each queue that nobody handles may stay unacked. */
  mostKept = 0;
  readonly #options: DispatcherOptions;
  /** Of each type, the newest last: it acts while it is there. */
  readonly #handlers = new Map<string, Registration[]>();
  readonly #observers = new Map<string, Set<Observer>>();
  /** Messages that are being handled, so that one which comes again meanwhile joins. */
  readonly #running = new Map<string, Promise<Outcome>>();
  readonly #runs = new Set<HandlerRun>();
  readonly #lanes: Record<Message['delivery'], Lane>;
  readonly #recovered = new Set<string>();
  /** Told of as unhandled already. */
  readonly #told = new WeakSet<Delivery>();

  constructor(options: DispatcherOptions) {
    this.#options = options;
    const lane = (kind: Message['delivery']) =>
      new Lane({
        platform: options.platform,
        concurrency: options.concurrency,
        process: (delivery, isCurrent, outdated) =>
          this.#process(delivery, kind, isCurrent, outdated),
      });
    this.#lanes = { queued: lane('queued'), live: lane('live') };
  }

  /**
   * Acts in place of an older handler of the type, for as long as it is there.
   * @returns an idempotent function that removes this one.
   */
  handle(type: string, handler: Handler, schema: StandardSchemaV1 | undefined): () => void {
    const registration = { handler, schema };
    this.#handlers.set(type, [...(this.#handlers.get(type) ?? []), registration]);
    this.#options.onHandlers();
    this.retryKept();
    return () => {
      const all = this.#handlers.get(type) ?? [];
      if (!all.includes(registration)) return;
      const left = all.filter((other) => other !== registration);
      if (left.length > 0) this.#handlers.set(type, left);
      else this.#handlers.delete(type);
      this.#options.onHandlers();
    };
  }

  /** @returns an idempotent function that removes the observer. */
  observe(type: string, observer: Observer): () => void {
    const observers = this.#observers.get(type) ?? new Set();
    this.#observers.set(type, observers);
    // Wrapped, so that the same function added twice is told twice and removed one by one.
    const own: Observer = (message) => {
      observer(message);
    };
    observers.add(own);
    this.#options.onHandlers();
    return () => {
      if (observers.delete(own)) this.#options.onHandlers();
    };
  }

  /** What other tabs have to know of this one. */
  get interests(): { handled: string[]; observed: string[]; running: string[] } {
    const observed = [...this.#observers].filter(([, { size }]) => size > 0);
    return {
      handled: [...this.#handlers.keys()],
      observed: observed.map(([type]) => type),
      running: [...this.#running.keys()],
    };
  }

  push(kind: Message['delivery'], delivery: Delivery): void {
    this.#lanes[kind].push(delivery);
  }

  /** There may be a handler now, here or in another tab, for what nobody has handled. */
  retryKept(): void {
    this.#lanes.queued.restore();
    this.#lanes.live.restore();
  }

  /**
   * Handles messages that the history has and the mailbox has lost, before those that come by it. Resolves
   * when all are handled; sooner, when the signal aborts.
   */
  async recover(missed: Parcel[], signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      let open = missed.length;
      const end = (): void => {
        signal.removeEventListener('abort', end);
        resolve();
      };
      signal.addEventListener('abort', end);
      if (open === 0) end();
      for (const { body, properties } of missed) {
        const ended = (): boolean => {
          this.#recovered.add(properties.messageId ?? '');
          if (--open === 0) end();
          return true;
        };
        const delivery = { body, properties, redelivered: false, ack: ended, reject: ended };
        this.#lanes.queued.push({ ...delivery, recovered: true });
      }
    });
  }

  /** Whether a message was handled, however long ago. */
  knows(id: string): boolean {
    return this.#options.window.has(id) || this.#recovered.has(id);
  }

  /** Of the last recovery: its messages may still come by the mailbox, more than the window holds. */
  forgetRecovered(): void {
    this.#recovered.clear();
  }

  /** Forgets what has not begun: its connection is gone or going, and the broker gives it out again. */
  discard(): void {
    this.#lanes.queued.discard();
    this.#lanes.live.discard();
  }

  /** While held, nothing new is begun: for a moment in which nobody may be there to handle. */
  hold(held: boolean): void {
    this.#lanes.queued.hold(held);
    this.#lanes.live.hold(held);
  }

  /** Resolves when no handler runs. */
  async idle(): Promise<void> {
    await Promise.all([this.#lanes.queued.idle(), this.#lanes.live.idle()]);
  }

  /** Tells the handlers that still run that nobody waits for them any more; no timer is left. */
  stop(): void {
    for (const run of this.#runs) run.stop();
  }

  /** After {@link stop}. */
  resume(): void {
    for (const run of this.#runs) run.resume();
  }

  /** Handles a message for the tab that has the connection. */
  async runFor(parcel: Parcel): Promise<Ending | undefined> {
    const registration = this.#find(typeOf(parcel));
    if (registration === undefined) return undefined;
    const outcome = await this.#once(parcel, () => this.#runHere(parcel, registration, () => true));
    return isEnding(outcome) ? outcome : undefined;
  }

  /** Another tab has handled a message: it is not to be handled here, but may be looked at. */
  noteEnded(id: string | undefined, ending: Ending, parcel: Parcel | undefined): void {
    if (id !== undefined)
      this.#options.window.add(id, ending, parcel !== undefined && isStored(parcel));
    if (parcel !== undefined && ending === 'acked') void this.#show(parcel);
  }

  async #process(
    delivery: Delivery,
    kind: Message['delivery'],
    isCurrent: () => boolean,
    outdated: boolean,
  ): Promise<void> {
    const { body, properties, redelivered, recovered = false } = delivery;
    const parcel: Parcel = { kind, body, properties, redelivered, recovered };
    let outcome: Outcome;
    // One that it has joined may have been given up.
    do {
      outcome = await this.#once(parcel, () =>
        outdated ? Promise.resolve('superseded' as const) : this.#run(delivery, parcel, isCurrent),
      );
    } while (outcome === undefined && isCurrent());
    const { messageId, headers } = properties;
    // Before the ack: after it, nobody would come back to it.
    if (messageId !== undefined && headers[TRACK_HEADER] !== undefined) {
      if (outcome === 'acked') this.#options.onTracked(messageId, 'delivered');
      if (outcome === 'superseded') this.#options.onTracked(messageId, outcome);
    }
    // False when the connection is gone: the broker will hand it out again, and it is known then.
    if (outcome === 'rejected') delivery.reject();
    else if (outcome !== 'kept' && outcome !== undefined) delivery.ack();
  }

  /** Whatever way and however often a message comes, `run` runs once for it. */
  #once(parcel: Parcel, run: () => Promise<Outcome>): Promise<Outcome> | Outcome {
    const { window } = this.#options;
    const id = parcel.properties.messageId;
    if (id === undefined) return run();
    const known =
      window.get(id) ?? this.#running.get(id) ?? (this.#recovered.has(id) ? 'acked' : undefined);
    if (known !== undefined) return known;
    const running = run()
      .then((outcome) => {
        // Before the ack: if that is lost, the message comes again.
        if (isEnding(outcome)) window.add(id, outcome, isStored(parcel));
        return outcome;
      })
      .finally(() => this.#running.delete(id));
    this.#running.set(id, running);
    return running;
  }

  /** Undefined when the connection went away before it was done: the broker gives it out again. */
  async #run(delivery: Delivery, parcel: Parcel, isCurrent: () => boolean): Promise<Outcome> {
    const type = typeOf(parcel);
    for (;;) {
      const exact = this.#newest(type);
      const any = this.#newest('*');
      const here = exact ?? any;
      const away =
        this.others?.run(parcel, 'message') ??
        (exact === undefined ? this.others?.run(parcel, 'type') : undefined) ??
        (here === undefined ? this.others?.run(parcel, 'any') : undefined);
      if (away === undefined) {
        return here === undefined
          ? this.#leave(delivery, parcel, isCurrent, 'no_handler')
          : this.#runHere(parcel, here, isCurrent);
      }
      const ending = await away;
      if (!isCurrent() && !isEnding(ending)) return undefined;
      if (ending === 'hung') return this.#leave(delivery, parcel, isCurrent, 'tab_hung');
      // Undefined: that tab was closed before it was done, or has stalled.
      if (ending !== undefined) return ending;
    }
  }

  /** Does with a message that nobody handles what the application has chosen. */
  async #leave(
    delivery: Delivery,
    parcel: Parcel,
    isCurrent: () => boolean,
    error: 'no_handler' | 'tab_hung',
  ): Promise<Outcome> {
    const { unhandled, onUnhandled, platform } = this.#options;
    if (error === 'no_handler' && !this.#told.has(delivery)) {
      this.#told.add(delivery);
      const message = await this.#decode(parcel, undefined);
      if (message !== undefined) onUnhandled(message);
      if (!isCurrent()) return undefined;
    }
    if (unhandled === 'ack') return 'ignored';
    if (unhandled === 'keep') {
      // The history keeps this one, and others wait until it has ended.
      if (delivery.recovered === true) return 'ignored';
      if (this.#lanes[parcel.kind].keep(delivery, this.mostKept)) return 'kept';
    }
    this.#tell(parcel, platform.now(), { error });
    return 'rejected';
  }

  #newest(type: string): Registration | undefined {
    return this.#handlers.get(type)?.at(-1);
  }

  #find(type: string): Registration | undefined {
    return this.#newest(type) ?? this.#newest('*');
  }

  async #runHere(
    parcel: Parcel,
    { schema, handler }: Registration,
    isCurrent: () => boolean,
  ): Promise<Ending | undefined> {
    const began = this.#options.platform.now();
    const run = new HandlerRun(this.#options);
    this.#runs.add(run);
    const message = await this.#decode(parcel, schema);
    const failure: Failure =
      message === undefined ? { error: 'undecodable' } : await run.run(handler, message, isCurrent);
    this.#runs.delete(run);
    if (failure === 'gone') return undefined;
    const ending = failure === undefined ? 'acked' : 'rejected';
    this.#tell(parcel, began, failure ?? {});
    this.others?.tellEnded(parcel, ending);
    if (ending === 'acked' && this.#observers.size > 0) void this.#show(parcel);
    return ending;
  }

  #tell(
    parcel: Parcel,
    began: number,
    failure: { error?: NonNullable<Handled['error']>; name?: string },
  ): void {
    const at = this.#options.platform.now();
    const { messageId: id } = parcel.properties;
    this.#options.onHandled({
      ...(id !== undefined && { id }),
      type: typeOf(parcel),
      tookMs: Math.max(0, at - began),
      at,
      ...failure,
    });
  }

  /** Undefined when it is not what it says, which is told. */
  #decode(
    parcel: Parcel,
    schema: StandardSchemaV1 | undefined,
  ): Message | undefined | Promise<Message | undefined> {
    const refuse = (error: unknown): undefined => {
      const why = `A message of type "${typeOf(parcel)}" is not what its content type or schema says.`;
      this.#options.onError(new WarrenError('undecodable', why, { cause: error }), undefined);
    };
    try {
      const message = decode(parcel, this.#options.decode());
      if (schema === undefined && !isThenable(message)) return message;
      return validate(message, schema).catch(refuse);
    } catch (error) {
      refuse(error);
      return undefined;
    }
  }

  async #show(parcel: Parcel): Promise<void> {
    const observers = ['*', typeOf(parcel)].flatMap((type) => [
      ...(this.#observers.get(type) ?? []),
    ]);
    if (observers.length === 0) return;
    const message = await this.#decode(parcel, undefined);
    if (message === undefined) return;
    for (const observer of observers) {
      try {
        observer(message);
      } catch (error) {
        throwLater(error);
      }
    }
  }
}

const isEnding = (outcome: Outcome | 'hung'): outcome is Ending =>
  outcome === 'acked' || outcome === 'rejected' || outcome === 'superseded';

/** Whether the history has it. */
const isStored = ({ properties: { headers } }: Parcel): boolean =>
  headers['x-warren-at'] !== undefined;

async function validate(
  decoded: Message | Promise<Message>,
  schema: StandardSchemaV1 | undefined,
): Promise<Message> {
  const message = await decoded;
  if (schema === undefined) return message;
  const result = await schema['~standard'].validate(message.data);
  if (result.issues === undefined) return { ...message, data: result.value };
  throw new Error(result.issues.map(({ message: issue }) => issue).join('; '));
}
