import { Connector, type ConnectorEvents } from './connector.js';
import { Dispatcher } from './dispatcher.js';
import { Emitter } from './emitter.js';
import { WarrenError } from './errors.js';
import type { Message } from './message.js';
import { resolveOptions, type ClientOptions, type ResolvedOptions } from './options.js';
import { claim, findOrAdd, release } from './registry.js';
import type { GetToken } from './session.js';
import { StateMachine, type Snapshot, type StateChange } from './state.js';

/** Types of messages and the payload of each. */
export type EventMap = object;

export interface ClientEvents {
  /** The connection's state changed. */
  state: StateChange;
  /** Nobody handles this message's type; it was rejected. */
  unhandled: Message;
  /** Something went wrong that the client survives. `message` is the one that it happened to. */
  error: { error: WarrenError; message: Message | undefined };
}

/** A message as the handlers of its type get it. */
export type MessageOf<Events extends EventMap, Type> = Type extends keyof Events
  ? Message<Events[Type]>
  : Message;

/**
 * One device's connection to its queues. Get it from {@link getClient}; however often that is called,
 * there is one.
 */
export class Client<Events extends EventMap = Record<string, unknown>> {
  readonly #options: ResolvedOptions;
  readonly #emitter = new Emitter<ClientEvents>();
  readonly #state: StateMachine;
  readonly #dispatcher: Dispatcher;
  readonly #connector: Connector;
  #getToken: GetToken;

  /** @internal */
  constructor(options: ResolvedOptions) {
    this.#options = options;
    this.#getToken = options.getToken;
    this.#state = new StateMachine((change) => {
      this.#emitter.emit('state', change);
    });
    this.#dispatcher = new Dispatcher({
      platform: options.platform,
      attempts: options.handlerAttempts,
      retryDelayMs: options.handlerRetryDelayMs,
      onError: (error, message) => {
        this.#emitter.emit('error', { error, message });
      },
      onUnhandled: (message) => {
        this.#emitter.emit('unhandled', message);
      },
    });
    const events: ConnectorEvents = {
      onError: (error) => {
        this.#emitter.emit('error', { error, message: undefined });
      },
    };
    this.#connector = new Connector(
      { ...options, getToken: () => this.#getToken },
      this.#state,
      this.#dispatcher,
      events,
    );
  }

  get userId(): string {
    return this.#options.userId;
  }

  get deviceId(): string {
    return this.#options.deviceId;
  }

  /** State, reason and time of the next attempt at this moment. */
  getSnapshot(): Snapshot {
    return this.#state.snapshot;
  }

  /**
   * Handles messages of a type, `'*'` those of any other, in order and one at a time for each queue.
   * A message is acked when the handler has resolved; one that throws is called again, and its
   * message is rejected after the last attempt. Register before {@link start}: a message that nobody
   * handles is rejected. A second handler of a type replaces the first.
   * @returns an idempotent function that removes it.
   */
  handle<Type extends (keyof Events & string) | '*'>(
    type: Type,
    handler: (message: MessageOf<Events, Type>) => unknown,
  ): () => void {
    return this.#dispatcher.handle(type, handler as (message: Message) => unknown);
  }

  /** @returns an idempotent function that removes the listener. */
  on<Name extends keyof ClientEvents>(
    name: Name,
    listener: (event: ClientEvents[Name]) => void,
  ): () => void {
    return this.#emitter.on(name, listener);
  }

  /**
   * Connects, and stays connected until {@link stop}. Idempotent. After `failed` or `closed` it
   * begins again.
   * @throws {WarrenError} `conflicting_options` when this client was stopped and another one has
   *   been made for the same device since.
   */
  start(): void {
    claim(this.#options, this);
    this.#connector.start();
  }

  /**
   * Resolves when connected; at once, if it is.
   * @throws {WarrenError} the reason when it failed; `not_started`; `stopped`.
   */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = ({ state, reason }: Snapshot): boolean => {
        if (state === 'connected') resolve();
        else if (state === 'failed') reject(reason ?? new WarrenError('stopped', 'It failed.'));
        else if (state === 'closed') reject(new WarrenError('stopped', 'The client was stopped.'));
        else if (state === 'idle') reject(new WarrenError('not_started', 'Call start() first.'));
        else return false;
        return true;
      };
      if (settle(this.getSnapshot())) return;
      const off = this.on('state', () => {
        if (settle(this.getSnapshot())) off();
      });
    });
  }

  /**
   * Lets a running handler end (`drainMs` at the longest), gives back what was not begun, and closes
   * the connection. The queue goes on collecting. Idempotent; never rejects.
   */
  async stop(): Promise<void> {
    await this.#connector.stop();
    // Unless it was started again meanwhile.
    if (this.#state.snapshot.state === 'closed') release(this.#options, this);
  }

  /** @internal A second `getClient` for the same device. */
  adopt(options: ClientOptions): void {
    const { transport, handlerAttempts, drainMs } = options;
    const mine = this.#options;
    const conflicts = [
      transport !== undefined && transport.name !== mine.transport.name && 'transport',
      handlerAttempts !== undefined &&
        handlerAttempts !== mine.handlerAttempts &&
        'handlerAttempts',
      drainMs !== undefined && drainMs !== mine.drainMs && 'drainMs',
    ].filter((name) => name !== false);
    if (conflicts.length > 0) {
      throw new WarrenError(
        'conflicting_options',
        `There is a client for this device already, with another ${conflicts.join(', ')}.`,
      );
    }
    this.#getToken = options.getToken;
  }
}

/**
 * The client of this device: a new one, or the one that exists, which then takes over the newer
 * `getToken`.
 * @throws {WarrenError} `invalid_options`, `conflicting_options`
 */
export function getClient<Events extends EventMap = Record<string, unknown>>(
  options: ClientOptions,
): Client<Events> {
  const resolved = resolveOptions(options);
  const client = findOrAdd(resolved, () => new Client<EventMap>(resolved));
  client.adopt(options);
  // The events' types exist only for the compiler.
  return client as unknown as Client<Events>;
}
