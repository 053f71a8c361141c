import type { OwnDevices } from '@warren/protocol';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { Calls, type ClientSendOptions, type HistoryPage } from './calls.js';
import { DedupeWindow } from './dedupe.js';
import { Dispatcher, type Handler } from './dispatcher.js';
import type { HandlerContext } from './handler-context.js';
import { Api, type GetToken } from './api.js';
import { Backoff } from './backoff.js';
import { Emitter, report } from './emitter.js';
import { WarrenError, type TerminalError } from './errors.js';
import type { HistoryQuery } from './history.js';
import type { Decode, Message } from './message.js';
import {
  FIXED_OPTIONS,
  resolveOptions,
  type ClientOptions,
  type ResolvedOptions,
} from './options.js';
import type { PushRegistration } from './push.js';
import { Recovery, type Gap } from './recovery.js';
import { Receipts, type Handled } from './receipts.js';
import { claim, findOrAdd, release } from './registry.js';
import { StateMachine, type Snapshot, type StateChange } from './state.js';
import { Supervisor } from './supervisor.js';

/** Types of messages and the payload of each. */
export type EventMap = object;

/** What {@link Client.on} tells of. */
export interface ClientEvents {
  /** The connection's state changed. */
  state: StateChange;
  /** Nobody handles this message's type; see the option `unhandled`. Told in the tab that has the connection. */
  unhandled: Message;
  /** Messages were missed that the handlers will not get. Told in the tab that has the connection. */
  gap: Gap;
  /** The user has read these messages, on whichever device: what still shows them may go. */
  read: { ids: string[] };
  /** A message has ended in this tab, well or not. */
  handled: Handled;
  /**
   * Something went wrong that the client survives. Without a listener, what a handler has thrown is reported: in a
   * page like any uncaught error (`reportError`), elsewhere on the console. `message` is the one that it happened to.
   */
  error: { error: WarrenError; message: Message | undefined };
}

/** A message as the handlers of its type get it. */
export type MessageOf<Events extends EventMap, Type> = Type extends keyof Events
  ? Message<Events[Type]>
  : Message;

type TypeOf<Events extends EventMap> = (keyof Events & string) | '*';

/** Types of what Warren itself sends: what was read, that the mailbox has lost something, that somebody watches. */
const READ_TYPE = 'warren.read';
const MISSED_TYPE = 'warren.missed';
const WATCH_TYPE = 'warren.watch';
const OWN_TYPES = new Set([READ_TYPE, MISSED_TYPE, WATCH_TYPE]);
/** How long {@link Client.retain} outlives its last holder, in milliseconds. */
const LINGER_MS = 1000;

/**
 * One device's connection to its queues. Get it from {@link getClient}; however often that is called,
 * there is one.
 */
export class Client<Events extends EventMap = Record<string, unknown>> {
  readonly #options: ResolvedOptions;
  readonly #emitter = new Emitter<ClientEvents & { snapshot: undefined }>();
  readonly #state: StateMachine;
  readonly #dispatcher: Dispatcher;
  readonly #supervisor: Supervisor;
  readonly #receipts: Receipts;
  readonly #calls: Calls;
  #getToken: GetToken;
  #decode: Decode | undefined;
  /** Types that nobody handles and nobody was told of but the console. */
  readonly #unhandled = new Set<string>();
  #holders = 0;
  #loggedOut = false;

  /** @internal */
  constructor(options: ResolvedOptions) {
    this.#options = options;
    const { platform, dedupe, key } = options;
    this.#getToken = options.getToken;
    const onError = (error: WarrenError, message?: Message): void => {
      if (this.#emitter.emit('error', { error, message })) return;
      const { code, cause } = error;
      // What a decoder throws may quote the message.
      if (code === 'undecodable') report(error.message);
      else if (code.startsWith('handler_')) report(cause);
    };
    this.#state = new StateMachine(
      (change) => {
        this.#emitter.emit('state', change);
      },
      () => {
        this.#supervisor.tellTabs();
        this.#emitter.emit('snapshot', undefined);
      },
    );
    const window = new DedupeWindow({
      now: platform.now,
      storage: dedupe === 'storage' ? platform.storage : undefined,
      key: `${key}:seen`,
      onStorageError: (cause) => {
        const why = 'What was handled cannot be kept: the storage is full or forbidden.';
        onError(new WarrenError('storage_unavailable', why, { cause }));
      },
    });
    const backoff = (): Backoff =>
      new Backoff({
        baseMs: options.backoffBaseMs,
        maxMs: options.backoffMaxMs,
        random: platform.random,
      });
    const getToken = (): GetToken => this.#getToken;
    const onMismatch = (reason: TerminalError): void => {
      this.#supervisor.fail(reason);
    };
    const api = new Api({ ...options, getToken, onMismatch });
    this.#calls = new Calls({
      api,
      platform,
      retryDelayMs: options.backoffBaseMs,
      onError,
    });
    this.#receipts = new Receipts({
      api,
      platform,
      deviceId: options.deviceId,
      storage: platform.storage,
      key: `${key}:receipts`,
      backoff: backoff(),
      onError,
    });
    this.#dispatcher = new Dispatcher({
      platform,
      window,
      concurrency: options.concurrency,
      attempts: options.handlerAttempts,
      retryDelayMs: options.handlerRetryDelayMs,
      handlerTimeoutMs: options.handlerTimeoutMs,
      decode: () => this.#decode,
      onError,
      unhandled: options.unhandled,
      onUnhandled: (message) => {
        this.#tellUnhandled(message);
      },
      onTracked: (id, became) => {
        this.#receipts.add(became, [id]);
      },
      onHandled: (handled) => {
        if (OWN_TYPES.has(handled.type)) return;
        this.#receipts.addHandled(handled);
        this.#emitter.emit('handled', handled);
      },
      onHandlers: () => {
        this.#supervisor.announceHandlers();
      },
    });
    this.#supervisor = new Supervisor({
      options,
      api,
      receipts: this.#receipts,
      recovery: new Recovery({
        api,
        platform,
        window,
        dispatcher: this.#dispatcher,
        deviceId: options.deviceId,
        limit: options.recoveryLimit,
        backoff: backoff(),
        onGap: (gap) => {
          this.#emitter.emit('gap', gap);
        },
      }),
      state: this.#state,
      dispatcher: this.#dispatcher,
      window,
      onError,
    });
    this.#handleNews();
  }

  get userId(): string {
    return this.#options.userId;
  }

  get deviceId(): string {
    return this.#options.deviceId;
  }

  /**
   * State, reason and more at this moment; the same object until something changes. Needs no `this`, so
   * that it can be handed on, to React's `useSyncExternalStore` for one.
   */
  readonly getSnapshot = (): Snapshot => this.#state.snapshot;

  /**
   * Calls `listener` after each change of the snapshot. Needs no `this`.
   * @returns an idempotent function that ends it.
   */
  readonly subscribe = (listener: () => void): (() => void) =>
    this.#emitter.on('snapshot', listener);

  /**
   * Handles messages of a type, `'*'` those of any other, in order and one at a time for each queue.
   * Once for the device, however many tabs handle the type: a handler in the tab that has the connection
   * comes first. A message is acked when the handler has resolved; one that throws is called again, and
   * its message is rejected after the last attempt. Register before {@link start}: of a message that nobody
   * handles becomes what the option `unhandled` says. Of several handlers of a type the newest acts; when it is
   * removed, the one before acts again: remove those that you need no more.
   * @param options `schema`: any Standard Schema (zod, valibot, arktype …). What it makes of the data is
   *   what the handler gets; a message that does not fit is rejected (`undecodable`).
   * @returns an idempotent function that removes it.
   */
  handle<Schema extends StandardSchemaV1>(
    type: TypeOf<Events>,
    handler: (
      message: Message<StandardSchemaV1.InferOutput<Schema>>,
      context: HandlerContext,
    ) => unknown,
    options: { schema: Schema },
  ): () => void;
  handle<Type extends TypeOf<Events>>(
    type: Type,
    handler: (message: MessageOf<Events, Type>, context: HandlerContext) => unknown,
  ): () => void;
  handle(type: string, handler: unknown, options?: { schema: StandardSchemaV1 }): () => void {
    return this.#dispatcher.handle(type, handler as Handler, options?.schema);
  }

  /**
   * Looks at messages of a type, `'*'` at all, in every tab, after the handler has resolved: to repaint.
   * Acks nothing, and does not see a message whose handler failed. Without a handler somewhere for the
   * type, messages of it are unhandled all the same. What it throws is reported like any uncaught error.
   * @returns an idempotent function that removes it.
   */
  observe<Type extends TypeOf<Events>>(
    type: Type,
    observer: (message: MessageOf<Events, Type>) => void,
  ): () => void {
    return this.#dispatcher.observe(type, observer as (message: Message) => void);
  }

  /** @returns an idempotent function that removes the listener. */
  on<Name extends keyof ClientEvents>(
    name: Name,
    listener: (event: ClientEvents[Name]) => void,
  ): () => void {
    return this.#emitter.on<keyof ClientEvents>(name, listener as (event: unknown) => void);
  }

  /**
   * Connects, and stays connected, as the app's life and other tabs allow, until {@link stop}.
   * Idempotent. After `failed` or `closed` it begins again.
   * @throws {WarrenError} `conflicting_options` when this client was stopped and another one has
   *   been made for the same device since; `stopped` after {@link logout}.
   */
  start(): void {
    if (this.#loggedOut) {
      throw new WarrenError('stopped', 'The device was logged out: get a new client.');
    }
    claim(this.#options.key, this);
    if (this.#options.isPassing()) {
      const why = 'The device cannot be remembered: its mailbox ends soon after its connection.';
      const error = new WarrenError('storage_unavailable', why);
      this.#emitter.emit('error', { error, message: undefined });
    }
    this.#dispatcher.hold(false);
    this.#supervisor.start();
  }

  /**
   * For views that come and go: starts with the first holder and stops a second after the last has
   * let go, so that mounting anew (StrictMode, navigation) keeps the connection. A client that has
   * failed is not started again. While nobody holds it, messages wait: their handlers may have gone with
   * the view.
   * @returns an idempotent function that lets go.
   * @throws {WarrenError} as {@link start}
   */
  retain(): () => void {
    const { state } = this.getSnapshot();
    if (state === 'idle' || state === 'closed') this.start();
    this.#holders++;
    // In a moment, when the handlers of all that is being mounted are there.
    void Promise.resolve().then(() => {
      if (this.#holders > 0) this.#dispatcher.hold(false);
    });
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#holders--;
      if (this.#holders === 0) this.#dispatcher.hold(true);
      this.#options.platform.setTimer(() => {
        if (this.#holders === 0) void this.stop();
      }, LINGER_MS);
    };
  }

  /**
   * Resolves when messages reach this tab, by its own connection or that of another tab; at once, if
   * they do.
   * @throws {WarrenError} the reason when it failed; `not_started`; `stopped`.
   */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = ({ state, reason, receiving }: Snapshot): boolean => {
        if (receiving) resolve();
        else if (state === 'failed') reject(reason ?? new WarrenError('stopped', 'It failed.'));
        else if (state === 'closed') reject(new WarrenError('stopped', 'The client was stopped.'));
        else if (state === 'idle') reject(new WarrenError('not_started', 'Call start() first.'));
        else return false;
        return true;
      };
      if (settle(this.getSnapshot())) return;
      const off = this.subscribe(() => {
        if (settle(this.getSnapshot())) off();
      });
    });
  }

  /**
   * Lets a running handler end (`drainMs` at the longest; then its signal aborts), gives back what was not
   * begun, and closes the connection; another tab takes it over. The queue goes on collecting. Idempotent;
   * never rejects.
   */
  async stop(): Promise<void> {
    await this.#supervisor.stop();
    // Unless it was started again meanwhile.
    if (this.getSnapshot().state === 'closed') release(this.#options.key, this);
  }

  /**
   * Ends this device: stops in every tab (`failed`, `logged_out` in the others), clears what the SDK has
   * kept, and deletes the session with its queues and what waits in them. Call it while `getToken`
   * still gives a token. For the next login get a new client.
   * @throws {WarrenError} `logout_incomplete` when the server could not be told; all the rest is done.
   */
  async logout(): Promise<void> {
    this.#loggedOut = true;
    try {
      await this.#supervisor.logout();
    } finally {
      release(this.#options.key, this);
    }
  }

  /**
   * The user has read these messages: the sender of a tracked one is told, and so are the user's other
   * devices and tabs, by the event `read`. Sent in batches; kept until the server has heard.
   */
  markRead(...ids: string[]): void {
    this.#receipts.add('read', ids);
  }

  /**
   * Answers what the server asks with `POST /v1/requests` or `publisher.request`, as long as it waits.
   * One that throws answers that it failed; it is not called again. Of several devices of a user the first
   * to answer counts.
   * @returns an idempotent function that ends it.
   */
  answer<Type extends keyof Events & string>(
    type: Type,
    answerer: (message: MessageOf<Events, Type>, context: HandlerContext) => unknown,
  ): () => void {
    return this.#dispatcher.handle(type, this.#calls.answering(answerer as Handler), undefined);
  }

  /**
   * Sends to a user, or to a group that this user belongs to, if the application's policy allows it. Tried
   * again for as long as the server cannot be reached, three times at most, always under one id: it is
   * handled once.
   * @returns the id under which the recipients get it.
   * @throws {WarrenError} `send_refused` when it may not be sent, or cannot be as it is; `api_unreachable`,
   *   `api_unavailable`: it may arrive all the same; `unauthorized`, `logged_out`.
   */
  send<Type extends keyof Events & string>(
    to: { user: string } | { group: string },
    type: Type,
    data: Events[Type],
    options: ClientSendOptions = {},
  ): Promise<{ id: string }> {
    return this.#calls.send({ to, type, data, ...options });
  }

  /**
   * Stored messages: all that went to this user, or what it and another one have sent to each other, or what
   * went to a group that it is in. Hands nothing to the handlers. Tried again for as long as the server cannot
   * be reached, three times at most.
   * @throws {WarrenError} `history_refused`, `api_unreachable`, `api_unavailable`, `unauthorized`,
   *   `logged_out`. What `decode` throws.
   */
  history<Type extends keyof Events & string = keyof Events & string>(
    query: HistoryQuery = {},
  ): Promise<HistoryPage<MessageOf<Events, Type>>> {
    const page = this.#calls.history(query, this.#decode);
    return page as Promise<HistoryPage<MessageOf<Events, Type>>>;
  }

  /**
   * The devices of this user, this one among them. Tried again for as long as the server cannot be reached,
   * three times at most.
   * @throws {WarrenError} `devices_refused`, `api_unreachable`, `api_unavailable`, `unauthorized`, `logged_out`.
   */
  devices(): Promise<OwnDevices['devices']> {
    return this.#calls.devices();
  }

  /**
   * Logs another device of this user out, with what waits for it. This one: {@link logout}. Idempotent.
   * @throws {WarrenError} as {@link devices}
   */
  removeDevice(deviceId: string): Promise<void> {
    return this.#calls.removeDevice(deviceId);
  }

  /**
   * Has the server send pushes to this device when its user has not handled a message in time. Replaces what
   * it was registered with before; call it whenever the token changes. Ends with {@link logout}.
   * @throws {WarrenError} `push_refused`, `api_unreachable`, `api_unavailable`, `unauthorized`, `logged_out`.
   */
  registerPush(registration: PushRegistration): Promise<void> {
    return this.#calls.registerPush(this.deviceId, registration);
  }

  /** No more pushes to this device. Idempotent. @throws {WarrenError} as {@link registerPush} */
  unregisterPush(): Promise<void> {
    return this.#calls.unregisterPush(this.deviceId);
  }

  /**
   * What `PushManager.subscribe` takes as `applicationServerKey`; undefined when the server is not set up for
   * Web Push.
   * @throws {WarrenError} as {@link registerPush}
   */
  pushKey(): Promise<string | undefined> {
    return this.#calls.pushKey();
  }

  #tellUnhandled(message: Message): void {
    if (this.#emitter.emit('unhandled', message)) return;
    const why = `Nobody handles messages of type "${message.type}": register a handler of it, or of "*", before start().`;
    const error = new WarrenError('unhandled', why);
    if (this.#emitter.emit('error', { error, message }) || this.#unhandled.has(message.type))
      return;
    this.#unhandled.add(message.type);
    console.warn(why);
  }

  /** What Warren itself sends: one tab takes it, all of them hear of it. */
  #handleNews(): void {
    this.#dispatcher.handle(
      MISSED_TYPE,
      () => {
        this.#supervisor.recover();
      },
      undefined,
    );
    this.#dispatcher.handle(
      WATCH_TYPE,
      ({ data }) => {
        this.#receipts.watch(Number((Object(data) as { forMs?: unknown }).forMs) || 0);
      },
      undefined,
    );
    this.#dispatcher.handle(READ_TYPE, () => undefined, undefined);
    this.#dispatcher.observe(READ_TYPE, ({ data }) => {
      const { ids } = Object(data) as { ids?: string[] };
      if (Array.isArray(ids)) this.#emitter.emit('read', { ids });
    });
  }

  /** @internal A second `getClient` for the same device. */
  adopt(options: ClientOptions): void {
    const mine = this.#options;
    const conflicts: string[] = FIXED_OPTIONS.filter(
      (name) =>
        options[name] !== undefined && JSON.stringify(options[name]) !== JSON.stringify(mine[name]),
    );
    if (options.transport !== undefined && options.transport.name !== mine.transport.name) {
      conflicts.push('transport');
    }
    if (conflicts.length > 0) {
      throw new WarrenError(
        'conflicting_options',
        `There is a client for this device already, with another ${conflicts.join(', ')}.`,
      );
    }
    this.#getToken = options.getToken;
    this.#decode = options.decode ?? this.#decode;
  }
}

/**
 * The client of this device: a new one, or the one that exists, which then takes over the newer
 * `getToken` and `decode`.
 * @throws {WarrenError} `invalid_options`, `conflicting_options`
 */
export function getClient<Events extends EventMap = Record<string, unknown>>(
  options: ClientOptions,
): Client<Events> {
  const resolved = resolveOptions(options);
  const client = findOrAdd(resolved.key, () => new Client<EventMap>(resolved));
  client.adopt(options);
  // The events' types exist only for the compiler.
  return client as unknown as Client<Events>;
}
