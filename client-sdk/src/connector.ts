import type { SessionGrant } from '@warren/protocol';
import { UnavailableError, type Api } from './api.js';
import { Backoff } from './backoff.js';
import type { Dispatcher } from './dispatcher.js';
import { TerminalError, WarrenError } from './errors.js';
import type { ResolvedOptions } from './options.js';
import type { Recovery } from './recovery.js';
import { pauseReason, toReason } from './reasons.js';
import { lifetimeMs, SessionApi } from './session.js';
import type { State, StateMachine } from './state.js';
import { Countdown, delay, follow, isOver, Silence } from './timing.js';
import { HEARTBEAT_MS, TransportError, type TransportConnection } from './transport.js';

export type ConnectorOptions = Omit<ResolvedOptions, 'getToken'> & {
  api: Api;
  installationId: () => string;
  hasHandled: () => boolean;
  recovery: Recovery;
};

export interface ConnectorEvents {
  /** A renewal that failed while the connection is well, and will be tried again. */
  onError: (error: WarrenError) => void;
  /** The session that the connection is for, so that another tab can go on with it. */
  onSession: () => void;
}

/** A connection that lasted so long was a good one: the next failure is a first one again. */
const STABLE_MS = 10_000;
const CLOSE_MS = 2000;
/** Renew when this part of the token's life is over; the rest is for a server that is away. */
const RENEW_AT = 0.75;
/** Whatever end a grant names, or none that can be read: a server must not have its clients ask without a pause. */
const SOONEST_RENEWAL_MS = 1000;
/** How often a connection that is held is looked at. */
const TICK_MS = 5000;
/** A broker that was silent for so long is gone, or the device has slept. */
const SILENCE_MS = 1.5 * HEARTBEAT_MS;
/** Added to what a server asks for in whole seconds, so that those seconds are not beats. */
const JITTER_MS = 1000;
/** An attempt younger than this is not followed by another: wake-up events come in bunches. */
const FRESH_MS = 1000;

/**
 * Keeps one connection while it is told to: asks for a session, connects, consumes, renews, and begins
 * again when something breaks. One loop, so that there is never more than one attempt.
 */
export class Connector {
  readonly #options: ConnectorOptions;
  readonly #state: StateMachine;
  readonly #dispatcher: Dispatcher;
  readonly #events: ConnectorEvents;
  readonly #backoff: Backoff;
  /** Which session is renewed; `undefined` in it takes the device over. */
  readonly session: SessionApi;
  #run: { controller: AbortController; ended: Promise<void> } | undefined;
  #attempts = 0;
  /** Of the last attempt to connect. */
  #url = '';
  /** When that began, or succeeded. */
  #connectedAt = 0;
  /** Refusals of the broker since the last good connection. */
  #refusals = 0;
  #attempt: { at: number; abort: () => void } | undefined;
  #nap: { signal: AbortSignal; abort: () => void; notBefore: number; isCut: boolean } | undefined;
  /** Whether deliveries are still taken: not on a connection that is about to be closed. */
  #accepting = false;
  #connection: TransportConnection | undefined;
  /** Of the connection. */
  #silence: Silence | undefined;

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
    this.session = new SessionApi(options);
    this.#backoff = new Backoff({
      baseMs: options.backoffBaseMs,
      maxMs: options.backoffMaxMs,
      random: options.platform.random,
    });
  }

  /** Wakes it, when it runs already. */
  start(): void {
    const before = this.#run;
    if (before !== undefined && !isOver(before.controller.signal)) {
      this.#wake();
      return;
    }
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

  /**
   * Goes to another state and closes the connection. Never rejects.
   * @param urgent closes before it returns and waits for no handler: the app is about to be suspended.
   */
  async stop(
    next: Extract<State, 'closed' | 'paused' | 'failed'>,
    reason?: WarrenError,
    urgent = false,
  ): Promise<void> {
    this.#accepting = false;
    this.#dispatcher.discard();
    if (urgent) void this.#connection?.close(0);
    // A pause changes nothing about what failed before it; starting anew does.
    if (next === 'closed') this.#forgetFailures();
    this.#run?.controller.abort();
    this.#state.transition(next, reason);
    await this.#run?.ended;
  }

  /**
   * The app may have been asleep, or the network has come back: replaces a connection that has been
   * silent for too long, and ends a wait. Does nothing while an attempt is fresh.
   */
  #wake(): void {
    const { platform, timeoutMs } = this.#options;
    const now = platform.now();
    const attempt = this.#attempt;
    const nap = this.#nap;
    if (nap !== undefined) {
      const soonest = Math.max(nap.notBefore, (attempt?.at ?? 0) + FRESH_MS);
      if (now >= soonest) nap.abort();
      else if (!nap.isCut) {
        nap.isCut = true;
        void delay(platform, soonest - now, nap.signal).done.then(nap.abort);
      }
    } else if (this.#connection !== undefined) {
      this.#replaceIfSilent(this.#connection);
    } else if (attempt !== undefined && now - attempt.at > 2 * timeoutMs) {
      // It has slept on the way, and whatever it waits for is gone.
      attempt.abort();
    }
  }

  /** Ends when the signal aborts, or in `failed`. Never rejects. */
  async #loop(signal: AbortSignal): Promise<void> {
    const { platform } = this.#options;
    let grant: SessionGrant | undefined;
    while (!isOver(signal)) {
      const attempt = follow(signal);
      this.#attempt = { at: platform.now(), abort: attempt.abort };
      try {
        // A planned renewal brings the next grant along.
        grant = await this.#connectOnce(grant, attempt.signal);
      } catch (error) {
        grant = undefined;
        if (isOver(signal)) return;
        // Given up for a newer one, which begins at once.
        if (isOver(attempt.signal)) continue;
        const next = this.#judge(error);
        if (next.failed) {
          this.fail(next.reason);
          return;
        }
        await this.#rest(next, signal);
      } finally {
        attempt.release();
      }
    }
  }

  /** The mailbox has lost something: begins again, with a new grant, to recover it first. */
  recover(): void {
    if (this.#connection !== undefined) this.#attempt?.abort();
  }

  /** Ends in `failed`. Starting again is then a decision to take the device over. */
  fail(reason: WarrenError): void {
    this.session.sessionId = undefined;
    this.#forgetFailures();
    this.#run?.controller.abort();
    this.#state.transition('failed', reason);
  }

  #forgetFailures(): void {
    this.#backoff.reset();
    this.#refusals = 0;
  }

  async #rest({ reason, delayMs, notBefore }: Verdict, signal: AbortSignal): Promise<void> {
    const { platform } = this.#options;
    const retryAt = platform.now() + delayMs;
    // A device that says it is offline may be wrong, so it is tried all the same.
    if (platform.isOnline()) this.#state.transition('waiting', reason, retryAt);
    else this.#state.transition('paused', pauseReason('offline', { cause: reason }), retryAt);
    const nap = follow(signal);
    this.#nap = { ...nap, notBefore, isCut: false };
    const countdown = new Countdown(platform, delayMs);
    while (!isOver(nap.signal)) {
      const { left } = countdown;
      if (left <= 0) break;
      await delay(platform, Math.min(left, FRESH_MS), nap.signal).done;
    }
    nap.abort();
    nap.release();
    this.#nap = undefined;
  }

  /**
   * From the grant to the connection's end.
   * @returns the next grant, when the connection was closed to be made again with it.
   */
  async #connectOnce(
    given: SessionGrant | undefined,
    signal: AbortSignal,
  ): Promise<SessionGrant | undefined> {
    let grant = given;
    if (grant === undefined) {
      this.#state.transition('authorizing');
      grant = await this.session.open(signal);
      this.#events.onSession();
    }
    if (isOver(signal)) return undefined;
    this.#state.transition('connecting');
    const connection = await this.#connect(grant, signal);
    const { platform } = this.#options;
    this.#connectedAt = platform.now();
    // Not raced against: a promise that lasts for hours remembers every race.
    const life = follow(signal);
    void connection.ended.then(life.abort);
    this.#accepting = true;
    this.#connection = connection;
    const silence = new Silence(platform.now, () => connection.lastHeardAt);
    this.#silence = silence;
    try {
      // Whoever gave the attempt up meanwhile did not know of the connection.
      if (isOver(signal)) return undefined;
      if (grant.missed !== true) await this.#consume('queued', connection, grant, signal);
      await this.#consume('live', connection, grant, signal);
      if (isOver(signal)) return undefined;
      this.#state.transition('connected');
      const hold = this.#hold(connection, grant, life.signal);
      const next = await (grant.missed === true
        ? Promise.race([hold, this.#catchUp(connection, grant, life.signal)])
        : hold);
      if (next === undefined && !isOver(signal)) throw await connection.ended;
      return next;
    } finally {
      life.abort();
      life.release();
      this.#accepting = false;
      this.#dispatcher.discard();
      // On a connection that is gone, what a handler still does could not be acked.
      if (connection.isOpen) await this.#drain();
      this.session.abandoned = silence.ms > HEARTBEAT_MS;
      await connection.close(CLOSE_MS);
      this.#connection = undefined;
      if (platform.now() - this.#connectedAt >= STABLE_MS) this.#forgetFailures();
    }
  }

  async #consume(
    kind: 'queued' | 'live',
    connection: TransportConnection,
    grant: SessionGrant,
    signal: AbortSignal,
  ): Promise<void> {
    const prefetch = Math.min(grant.prefetch, this.#options.prefetch);
    this.#dispatcher.mostKept = prefetch >> 1;
    const queue = kind === 'live' ? grant.liveQueue : grant.queue;
    const consuming = connection.consume(queue, prefetch, (delivery) => {
      if (this.#accepting) this.#dispatcher.push(kind, delivery);
    });
    if ((await this.#inTime(consuming, signal)) || isOver(signal)) return;
    await connection.close(0);
    throw new TransportError('lost', 'The broker did not answer in time.');
  }

  /** False when it takes too long, or the signal aborts. */
  async #inTime(work: Promise<void>, signal: AbortSignal): Promise<boolean> {
    const { platform, timeoutMs } = this.#options;
    // After the race nobody waits for it.
    work.catch(() => undefined);
    const late = delay(platform, timeoutMs, signal);
    const isDone = await Promise.race([work.then(() => true), late.done]).finally(late.cancel);
    return isDone === true;
  }

  /** What was missed comes first; what is new waits in the mailbox meanwhile. Only ever rejects. */
  async #catchUp(
    connection: TransportConnection,
    grant: SessionGrant,
    signal: AbortSignal,
  ): Promise<never> {
    await this.#options.recovery.run(signal);
    if (!isOver(signal)) await this.#consume('queued', connection, grant, signal);
    return new Promise<never>(() => undefined);
  }

  async #connect(grant: SessionGrant, signal: AbortSignal): Promise<TransportConnection> {
    const { transport, timeoutMs } = this.#options;
    const urls = grant.endpoints[transport.name];
    const url = urls[this.#attempts++ % urls.length];
    this.#url = url ?? '';
    this.#connectedAt = this.#options.platform.now();
    if (url === undefined) {
      throw new TerminalError('no_endpoint', `The grant names no address for ${transport.name}.`);
    }
    const { vhost, token, queue: login } = grant;
    return transport.connect({ url, vhost, login, token, signal, timeoutMs });
  }

  /**
   * Renews the session until the connection ends, by which the signal aborts.
   * @returns as {@link #connectOnce}.
   */
  async #hold(
    connection: TransportConnection,
    first: SessionGrant,
    signal: AbortSignal,
  ): Promise<SessionGrant | undefined> {
    const { platform } = this.#options;
    let renewal = new Countdown(platform, this.#renewalDelay(first));
    for (;;) {
      await delay(platform, Math.min(TICK_MS, renewal.left), signal).done;
      if (isOver(signal) || this.#replaceIfSilent(connection)) return undefined;
      if (renewal.left > 0) continue;
      const next = await this.#renew(signal);
      if (next instanceof UnavailableError) {
        // The old token is still good for a while.
        const backoffMs = this.#backoff.next() + 1000;
        renewal = new Countdown(platform, Math.max(next.retryAfterMs, backoffMs));
        continue;
      }
      if (connection.updateToken === undefined) return next;
      const updating = this.#inTime(connection.updateToken(next.token), signal);
      if (!(await updating.catch(() => false))) return next;
      renewal = new Countdown(platform, this.#renewalDelay(next));
    }
  }

  /** A silent connection is closed without waiting, and made again without a wait. */
  #replaceIfSilent(connection: TransportConnection): boolean {
    if ((this.#silence?.ms ?? 0) <= SILENCE_MS) return false;
    void connection.close(0);
    this.#attempt?.abort();
    return true;
  }

  /** The error, when it has to be tried again. */
  async #renew(signal: AbortSignal): Promise<SessionGrant | UnavailableError> {
    try {
      return await this.session.open(signal);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      if (!isOver(signal)) this.#events.onError(error);
      return error;
    }
  }

  /** Waits for running handlers, so that their acks still travel by this connection. */
  async #drain(): Promise<void> {
    const { platform, drainMs } = this.#options;
    const late = delay(platform, drainMs);
    await Promise.race([this.#dispatcher.idle(), this.#connection?.ended, late.done]);
    late.cancel();
  }

  #judge(error: unknown): Verdict {
    const now = this.#options.platform.now();
    if (error instanceof TerminalError) {
      return { failed: true, reason: error, delayMs: 0, notBefore: now };
    }
    if (error instanceof TransportError && error.failure === 'refused') {
      this.#refusals++;
      const failed = this.#refusals > 1;
      const reason = failed
        ? new TerminalError('broker_refused', `${error.message} Twice, with fresh tokens.`, {
            cause: error,
          })
        : new WarrenError('connection_failed', error.message, {
            cause: error,
          });
      // The first time at once, with a fresh token.
      return { failed, reason, delayMs: 0, notBefore: now };
    }
    const asked = error instanceof UnavailableError ? error.retryAfterMs : 0;
    // What the server asks for is the least: it may not know how long it will be busy.
    const spread = asked > 0 ? this.#options.platform.random() * JITTER_MS : 0;
    const delayMs = Math.max(asked + spread, this.#backoff.next());
    return {
      failed: false,
      reason: toReason(error, this.#where()),
      delayMs,
      notBefore: now + asked,
    };
  }

  /** Without credentials, which an address may hold. */
  #where(): string {
    const address = this.#url.replace(/\/\/.*@/, '//').replace(/[?#].*/, '');
    const ms = this.#options.platform.now() - this.#connectedAt;
    return `(${address}, after ${String(ms)} ms)`;
  }

  /** In milliseconds; with jitter, so that many clients of one moment do not renew in step. */
  #renewalDelay(grant: SessionGrant): number {
    const { now, random } = this.#options.platform;
    const delayMs = lifetimeMs(grant, now()) * RENEW_AT * (1 - random() * 0.1);
    return delayMs > SOONEST_RENEWAL_MS ? delayMs : SOONEST_RENEWAL_MS;
  }
}

/** What follows from a failed attempt. */
interface Verdict {
  failed: boolean;
  reason: WarrenError;
  delayMs: number;
  /** No wake-up shortens the wait further: the server asked for it. Milliseconds since 1970. */
  notBefore: number;
}
