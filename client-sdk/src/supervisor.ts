import { Connector } from './connector.js';
import type { DedupeWindow } from './dedupe.js';
import type { Dispatcher } from './dispatcher.js';
import { TerminalError, WarrenError, type PauseCode } from './errors.js';
import { Lifecycle } from './lifecycle.js';
import type { ResolvedOptions } from './options.js';
import { pauseReason } from './reasons.js';
import type { Api } from './api.js';
import type { Receipts } from './receipts.js';
import type { Recovery } from './recovery.js';
import { devicesIn } from './registry.js';
import type { StateMachine } from './state.js';
import { forget, keepId, newId } from './storage.js';
import { Tabs } from './tabs.js';
import { delay } from './timing.js';

export interface SupervisorOptions {
  options: ResolvedOptions;
  api: Api;
  receipts: Receipts;
  recovery: Recovery;
  state: StateMachine;
  dispatcher: Dispatcher;
  window: DedupeWindow;
  onError: (error: WarrenError) => void;
}

/**
 * Decides when there is to be a connection: while the application wants one, its life allows for it,
 * and no other tab has it. Everything that happens asks the same question again.
 */
export class Supervisor {
  readonly #parts: SupervisorOptions;
  readonly #connector: Connector;
  readonly #lifecycle: Lifecycle;
  readonly #ownId: string;
  #tabs: Tabs | undefined;
  #wanted = false;

  constructor(parts: SupervisorOptions) {
    this.#parts = parts;
    const { options, api, recovery, window, state, dispatcher, onError } = parts;
    this.#ownId = newId(options.platform.random);
    this.#connector = new Connector(
      {
        ...options,
        api,
        recovery,
        installationId: () => this.#installationId(),
        hasHandled: () => window.position.lastAt !== undefined,
      },
      state,
      dispatcher,
      {
        onError,
        onSession: () => {
          this.tellTabs();
        },
      },
    );
    this.#lifecycle = new Lifecycle({
      platform: options.platform,
      background: options.background,
      onChange: () => {
        this.#update();
      },
      onTerminate: () => this.stop(),
    });
    this.#tabs = this.#makeTabs();
    dispatcher.others = this.#tabs;
  }

  /** Idempotent. */
  start(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#parts.dispatcher.resume();
    this.#parts.receipts.start();
    if (this.#tabs === undefined) this.#goAlone();
    this.#lifecycle.watch();
    this.#update();
  }

  /** Never rejects. */
  async stop(): Promise<void> {
    this.#wanted = false;
    this.#lifecycle.unwatch();
    await this.#connector.stop('closed');
    if (!this.#isWanted()) this.#parts.dispatcher.stop();
    await this.#tellServer();
    // Unless it was started again meanwhile.
    if (this.#isWanted()) return;
    this.#tabs?.leave();
    this.#closeKept();
    this.#parts.state.share('alone');
  }

  /** Ends in `failed`, unless it is being stopped: then it has ended already. */
  fail(reason: TerminalError): void {
    if (this.#wanted) this.#connector.fail(reason);
  }

  /** Ends here and in all tabs, and deletes the session. @throws {WarrenError} `logout_incomplete` */
  async logout(): Promise<void> {
    await this.#tabs?.join();
    this.#tabs?.tellFailed(loggedOut());
    await this.stop();
    this.#clearKept();
    const installationId = this.#installationId();
    // Before the server hears of it: the next login needs others.
    const { platform, deviceKey } = this.#parts.options;
    forget(platform.storage, this.#installationKey);
    forget(platform.storage, deviceKey);
    try {
      await this.#connector.session.end(installationId);
      this.#parts.api.forget();
    } catch (error) {
      const why = 'Everything here is cleared, but the server could not be told.';
      throw new WarrenError('logout_incomplete', why, { cause: error });
    }
  }

  /** The mailbox has lost something that the history may have. */
  recover(): void {
    this.#connector.recover();
  }

  /** What is handled or observed here has changed. */
  announceHandlers(): void {
    this.#tabs?.announce();
  }

  /** After each change of the state. */
  tellTabs(): void {
    const { state, reason, receiving, role } = this.#parts.state.snapshot;
    if (state === 'failed') this.#giveUp(reason);
    else if (role === 'leader') {
      this.#tabs?.tellStanding({ sessionId: this.#connector.session.sessionId, receiving });
    }
  }

  /** What was handled, as far as it can be told within the time that a stop may take. */
  async #tellServer(): Promise<void> {
    const { receipts, options } = this.#parts;
    const late = delay(options.platform, options.drainMs);
    await Promise.race([receipts.stop(), late.done]);
    late.cancel();
  }

  /** For the one that has the connection: takes up what is kept in storage, and goes on keeping. */
  #openKept(): void {
    this.#parts.window.open();
    this.#parts.receipts.open();
  }

  #closeKept(): void {
    this.#parts.window.close();
    this.#parts.receipts.close();
  }

  /** The next login is another device. */
  #clearKept(): void {
    const { platform, deviceKey } = this.#parts.options;
    devicesIn(platform.storage).delete(deviceKey);
    this.#parts.window.clear();
    this.#parts.receipts.clear();
  }

  // A function, since the compiler takes the field to be what it was before an await.
  #isWanted(): boolean {
    return this.#wanted;
  }

  #update(): void {
    if (!this.#wanted) return;
    const { obstacle } = this.#lifecycle;
    if (obstacle !== undefined) {
      void this.#pause(obstacle);
    } else if (this.#tabs === undefined || this.#tabs.isLeading) {
      this.#connector.start();
    } else {
      void this.#tabs.join();
      this.#tabs.seek();
      void this.#tabs.wake();
      this.#follow();
    }
  }

  #goAlone(): void {
    const { options, onError } = this.#parts;
    this.#openKept();
    if (!options.platform.hasTabs) return;
    const why =
      'Web Locks or BroadcastChannel is missing, so tabs cannot share a connection: the newest has it.';
    onError(new WarrenError('tabs_unsupported', why));
  }

  async #pause(obstacle: PauseCode): Promise<void> {
    const { isUrgent } = this.#lifecycle;
    const ended = this.#connector.stop('paused', pauseReason(obstacle), isUrgent);
    void this.#parts.receipts.flush();
    // Whatever takes time may not be reached any more.
    if (!isUrgent) await ended;
    if (this.#lifecycle.obstacle === undefined || !this.#wanted) return;
    if (obstacle === 'frozen') this.#tabs?.leave();
    else this.#tabs?.yield();
    this.#follow();
  }

  #follow(): void {
    const { state } = this.#parts;
    if (this.#tabs === undefined || this.#tabs.isLeading) return;
    this.#closeKept();
    state.share('follower', state.snapshot.role === 'follower' && state.snapshot.receiving);
    if (this.#lifecycle.obstacle === undefined) {
      void this.#connector.stop('paused', pauseReason('follower'));
    }
  }

  /**
   * Kept by all tabs, or by this client alone, so that a session which was opened and nobody lived or
   * waited to hear of does not look like somebody else's.
   */
  #installationId(): string {
    const { platform } = this.#parts.options;
    const storage = this.#tabs && platform.storage;
    return keepId(platform, storage, this.#installationKey, this.#ownId);
  }

  get #installationKey(): string {
    return `${this.#parts.options.key}:installation`;
  }

  #giveUp(reason: WarrenError | undefined): void {
    this.#wanted = false;
    this.#lifecycle.unwatch();
    void this.#parts.receipts.stop();
    if (this.#tabs?.isLeading === true && reason instanceof TerminalError) {
      this.#tabs.tellFailed(reason);
    }
    this.#tabs?.leave();
    this.#closeKept();
  }

  #makeTabs(): Tabs | undefined {
    const { options, state, dispatcher } = this.#parts;
    const { platform, key } = options;
    const { locks, openChannel } = platform;
    if (locks === undefined || openChannel === undefined) return undefined;
    return new Tabs({
      key,
      platform,
      locks,
      openChannel,
      dispatcher,
      onLead: (stolen) => {
        // The tab it was stolen from may hold a connection: taking the device over closes that.
        if (stolen) this.#connector.session.sessionId = undefined;
        this.#openKept();
        state.share('leader');
        this.#connector.start();
      },
      onLost: () => {
        void this.#connector.stop('paused', pauseReason('follower'), true);
        this.#update();
      },
      onRefused: () => {
        this.#tabs?.leave();
        this.#tabs = undefined;
        dispatcher.others = undefined;
        state.share('alone');
        this.#goAlone();
        this.#update();
      },
      onLeaderNews: (sessionId, receiving) => {
        this.#connector.session.sessionId = sessionId;
        if (this.#wanted) state.share('follower', receiving);
      },
      onFailed: (reason) => {
        if (reason.code === 'logged_out') this.#clearKept();
        this.fail(reason);
      },
    });
  }
}

const loggedOut = (): TerminalError =>
  new TerminalError('logged_out', 'Another tab has logged out.');
