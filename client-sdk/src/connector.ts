import type { SessionGrant } from '@warren/protocol';
import { Backoff } from './backoff.js';
import type { Dispatcher } from './dispatcher.js';
import { TerminalError, WarrenError } from './errors.js';
import type { ResolvedOptions } from './options.js';
import { SessionApi, UnavailableError, type GetToken } from './session.js';
import type { StateMachine } from './state.js';
import { TransportError, type TransportConnection } from './transport.js';

export type ConnectorOptions = Omit<ResolvedOptions, 'getToken'> & {
  /** Asked for each time, since a newer function may have replaced it. */
  getToken: () => GetToken;
};

export interface ConnectorEvents {
  /** A renewal that failed while the connection is well, and will be tried again. */
  onError: (error: WarrenError) => void;
}

/** A connection that lasted so long was a good one: the next failure is a first one again. */
const STABLE_MS = 10_000;
const CLOSE_MS = 2000;
/** Renew when this part of the token's life is over; the rest is for a server that is away. */
const RENEW_AT = 0.75;
/** setTimeout fires at once beyond 31 bits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Keeps one connection while the application wants one: asks for a session, connects, consumes, renews,
 * and begins again when something breaks. One loop, so that there is never more than one attempt.
 */
export class Connector {
  readonly #options: ConnectorOptions;
  readonly #state: StateMachine;
  readonly #dispatcher: Dispatcher;
  readonly #events: ConnectorEvents;
  readonly #session: SessionApi;
  readonly #backoff: Backoff;
  #run: { controller: AbortController; ended: Promise<void> } | undefined;
  #attempts = 0;
  /** Refusals of the broker since the last good connection. */
  #refusals = 0;

  constructor(
    options: ConnectorOptions,
    state: StateMachine,
    dispatcher: Dispatcher,
    events: ConnectorEvents,
  ) {
    this.#options = options;
    this.#state = state;
    this.#dispatcher = dispatcher;
    this.#events = events;
    this.#session = new SessionApi(options);
    this.#backoff = new Backoff({
      baseMs: options.backoffBaseMs,
      maxMs: options.backoffMaxMs,
      random: options.platform.random,
    });
  }

  start(): void {
    const before = this.#run;
    if (before !== undefined && !before.controller.signal.aborted) return;
    const controller = new AbortController();
    // At once, so that whoever asks next sees a client that is starting.
    this.#state.transition('authorizing');
    const loop = (): Promise<void> => this.#loop(controller.signal);
    // A stop that is still draining ends first: two loops would be two consumers.
    const ended = (before === undefined ? loop() : before.ended.then(loop)).finally(() => {
      if (this.#run?.controller === controller) this.#run = undefined;
    });
    this.#run = { controller, ended };
  }

  async stop(): Promise<void> {
    this.#run?.controller.abort();
    this.#state.transition('closed');
    await this.#run?.ended;
  }

  /** Ends when the signal aborts, or in `failed`. Never rejects. */
  async #loop(signal: AbortSignal): Promise<void> {
    let grant: SessionGrant | undefined;
    this.#backoff.reset();
    this.#refusals = 0;
    while (!isOver(signal)) {
      try {
        // A planned renewal brings the next grant along.
        grant = await this.#attempt(grant, signal);
      } catch (error) {
        grant = undefined;
        if (isOver(signal)) return;
        const next = this.#judge(error);
        if (next.failed) {
          // Starting again is a decision to take the device over.
          this.#session.reset();
          this.#state.transition('failed', next.reason);
          return;
        }
        const retryAt = this.#options.platform.now() + next.delayMs;
        this.#state.transition('waiting', next.reason, retryAt);
        await this.#sleep(next.delayMs, signal);
      }
    }
  }

  /**
   * From the grant to the connection's end.
   * @returns the next grant, when the connection was closed to be made again with it.
   */
  async #attempt(
    given: SessionGrant | undefined,
    signal: AbortSignal,
  ): Promise<SessionGrant | undefined> {
    let grant = given;
    if (grant === undefined) {
      this.#state.transition('authorizing');
      grant = await this.#session.open(signal);
    }
    if (isOver(signal)) return undefined;
    this.#state.transition('connecting');
    const connection = await this.#connect(grant, signal);
    const { platform } = this.#options;
    const connectedAt = platform.now();
    let accepting = true;
    try {
      for (const [kind, queue] of [
        ['queued', grant.queue],
        ['live', grant.liveQueue],
      ] as const) {
        await connection.consume(queue, grant.prefetch, (delivery) => {
          if (accepting) this.#dispatcher.push(kind, delivery);
        });
      }
      if (isOver(signal)) return undefined;
      this.#state.transition('connected');
      return await this.#hold(connection, grant, signal);
    } finally {
      accepting = false;
      this.#dispatcher.discard();
      // On a connection that is gone, what a handler still does could not be acked.
      if (connection.isOpen) await this.#drain();
      await connection.close(CLOSE_MS);
      if (platform.now() - connectedAt >= STABLE_MS) {
        this.#backoff.reset();
        this.#refusals = 0;
      }
    }
  }

  async #connect(grant: SessionGrant, signal: AbortSignal): Promise<TransportConnection> {
    const { transport, timeoutMs } = this.#options;
    const urls = grant.endpoints[transport.name];
    const url = urls[this.#attempts++ % urls.length];
    if (url === undefined) {
      throw new TerminalError('no_endpoint', `The grant names no address for ${transport.name}.`);
    }
    const { vhost, token, queue: login } = grant;
    return transport.connect({ url, vhost, login, token, signal, timeoutMs });
  }

  /** Waits for the connection's end and renews the session until then. */
  async #hold(
    connection: TransportConnection,
    first: SessionGrant,
    signal: AbortSignal,
  ): Promise<SessionGrant | undefined> {
    let renewInMs = this.#renewalDelay(first);
    for (;;) {
      const timer = this.#timer(renewInMs, signal);
      const ended = await Promise.race([connection.ended, timer.done]);
      timer.cancel();
      if (ended !== undefined) throw ended;
      if (isOver(signal)) return undefined;
      const next = await this.#renew(connection, signal);
      if (next === undefined) {
        // The old token is still good for a while.
        renewInMs = this.#backoff.next() + 1000;
        continue;
      }
      if (connection.updateToken === undefined) return next;
      try {
        await connection.updateToken(next.token);
      } catch {
        return next;
      }
      renewInMs = this.#renewalDelay(next);
    }
  }

  /** Undefined when it has to be tried again. */
  async #renew(
    connection: TransportConnection,
    signal: AbortSignal,
  ): Promise<SessionGrant | undefined> {
    const opening = this.#session.open(signal);
    // Whichever comes second has nobody who waits for it.
    opening.catch(() => undefined);
    try {
      return await Promise.race([opening, connection.ended.then((error) => Promise.reject(error))]);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      if (!isOver(signal)) this.#events.onError(error);
      return undefined;
    }
  }

  /** Waits for running handlers, so that their acks still travel by this connection. */
  async #drain(): Promise<void> {
    const { platform, drainMs } = this.#options;
    let timer: unknown;
    const late = new Promise<void>((resolve) => {
      timer = platform.setTimer(resolve, drainMs);
    });
    await Promise.race([this.#dispatcher.idle(), late]);
    platform.clearTimer(timer);
  }

  #judge(error: unknown): { failed: boolean; reason: WarrenError; delayMs: number } {
    if (error instanceof TerminalError) return { failed: true, reason: error, delayMs: 0 };
    if (error instanceof TransportError && error.failure === 'refused') {
      this.#refusals++;
      const failed = this.#refusals > 1;
      const reason = failed
        ? new TerminalError('broker_refused', `${error.message} Twice, with fresh tokens.`, {
            cause: error,
          })
        : new WarrenError('connection_failed', error.message, { cause: error });
      // The first time at once, with a fresh token.
      return { failed, reason, delayMs: 0 };
    }
    const asked = error instanceof UnavailableError ? error.retryAfterMs : 0;
    return { failed: false, reason: toReason(error), delayMs: asked + this.#backoff.next() };
  }

  /** From the token's own times, which do not depend on this device's clock being right. */
  #renewalDelay({ token, expiresAt }: SessionGrant): number {
    const { platform } = this.#options;
    const lifetimeMs = tokenLifetimeMs(token) ?? Date.parse(expiresAt) - platform.now();
    const jitter = 1 - platform.random() * 0.1;
    return Math.min(MAX_TIMER_MS, Math.max(0, lifetimeMs * RENEW_AT * jitter));
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    await this.#timer(ms, signal).done;
  }

  /** Resolves after a time, or when the signal aborts. */
  #timer(ms: number, signal: AbortSignal): { done: Promise<undefined>; cancel: () => void } {
    const { platform } = this.#options;
    let cancel: () => void = () => undefined;
    const done = new Promise<undefined>((resolve) => {
      const finish = (): void => {
        cancel();
        resolve(undefined);
      };
      const timer = platform.setTimer(finish, ms);
      cancel = () => {
        platform.clearTimer(timer);
        signal.removeEventListener('abort', finish);
      };
      signal.addEventListener('abort', finish, { once: true });
      if (signal.aborted) finish();
    });
    return { done, cancel };
  }
}

/** A function, since the compiler takes a property that was false a moment ago to be false for ever. */
const isOver = (signal: AbortSignal): boolean => signal.aborted;

function toReason(error: unknown): WarrenError {
  if (error instanceof WarrenError) return error as WarrenError;
  if (error instanceof TransportError) {
    const code = error.failure === 'cancelled' ? 'consumer_cancelled' : 'connection_lost';
    return new WarrenError(code, error.message, { cause: error });
  }
  return new WarrenError('connection_failed', 'The connection could not be made.', {
    cause: error,
  });
}

/** How long a JWT lasts, by its own claims; undefined when it cannot be read here. */
function tokenLifetimeMs(token: string): number | undefined {
  try {
    const payload = token.split('.')[1] ?? '';
    const { iat, exp } = JSON.parse(
      globalThis.atob(payload.replaceAll('-', '+').replaceAll('_', '/')),
    ) as { iat?: number; exp?: number };
    return iat === undefined || exp === undefined ? undefined : (exp - iat) * 1000;
  } catch {
    return undefined;
  }
}
