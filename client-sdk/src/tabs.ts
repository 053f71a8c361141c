import type { Ending } from './dedupe.js';
import type { Dispatcher, OtherTabs, TabWith } from './dispatcher.js';
import { TerminalError, type TerminalCode } from './errors.js';
import { typeOf, type Parcel } from './message.js';
import type { Platform, TabChannel } from './platform/platform.js';
import { delay } from './timing.js';

/** A tab that does not answer for so long has stalled: it is busy, or asleep. */
const ANSWER_MS = 3000;
/** Less, so that no tab begins with what has been given to another since. */
const STALE_MS = 2000;
/** By how much a timer may be late before it is this tab that was busy, and has yet to hear the answer. */
const LATE_MS = 500;
/** A tab that has taken a message is asked whether it lives when it is not done after so long. */
const TAKEN_MS = 300_000;
/** A tab that has stalled for so long hangs, and nobody waits for it any more. */
const HUNG_MS = 60_000;

type Interests = Dispatcher['interests'];

/** What the tabs say to each other. `from` is added to each. */
type News =
  /** A tab has come, or wants to know who leads. */
  | { kind: 'hello' }
  | { kind: 'tab'; interests: Interests }
  | { kind: 'bye' }
  /** From the leader; `fresh` when it has just become that. */
  | { kind: 'lead'; fresh: boolean; sessionId: string | undefined; receiving: boolean }
  | { kind: 'run'; to: string; call: number; sentAt: number; parcel: Parcel }
  | { kind: 'took'; to: string; call: number }
  /** It came too late to be run. */
  | { kind: 'stale'; to: string; call: number }
  | { kind: 'result'; to: string; call: number; ending: Ending | undefined }
  | { kind: 'ended'; id: string | undefined; ending: Ending; parcel: Parcel | undefined }
  | { kind: 'failed'; code: TerminalCode; message: string };

interface Call {
  tab: string;
  taken: () => void;
  end: (ending: Ending | undefined) => void;
}

export interface TabsOptions {
  /** The same in all tabs of one device; names the lock and the channel. */
  key: string;
  platform: Platform;
  locks: Pick<LockManager, 'request'>;
  openChannel: (name: string) => TabChannel;
  dispatcher: Dispatcher;
  /** `stolen`: from a tab that did not answer, and may still hold a connection. */
  onLead: (stolen: boolean) => void;
  /** Another tab has taken the lead, because this one did not answer. */
  onLost: () => void;
  /** The browser refuses its locks to this page, as to a sandboxed frame. */
  onRefused: () => void;
  /** The leader has told how it stands. */
  onLeaderNews: (sessionId: string | undefined, receiving: boolean) => void;
  /** The client failed in another tab, or was logged out there. */
  onFailed: (reason: TerminalError) => void;
}

/**
 * Makes one consumer of many tabs. A Web Lock elects the leader, which has the connection; by a
 * BroadcastChannel it hands messages to whichever tab has the handler. A tab that dies lets its locks
 * go, so that nobody has to guess by timers.
 */
export class Tabs implements OtherTabs {
  readonly #options: TabsOptions;
  readonly #id: string;
  readonly #others = new Map<string, Interests>();
  /** Tabs that live and do not answer, since when, in milliseconds since 1970. */
  readonly #stalled = new Map<string, number>();
  /** Called when a tab has said something, or is gone. */
  readonly #waiting = new Set<() => void>();
  readonly #calls = new Map<number, Call>();
  #lastCall = 0;
  #channel: TabChannel | undefined;
  #present = false;
  #joined: Promise<void> = Promise.resolve();
  /** Aborts whatever waits for a lock. */
  #membership = new AbortController();
  #candidacy: AbortController | undefined;
  #giveUpLead: (() => void) | undefined;
  #standing: { sessionId: string | undefined; receiving: boolean } = {
    sessionId: undefined,
    receiving: false,
  };
  /** Whether the leader has answered since it was asked. */
  #probe: { answered: boolean } | undefined;

  constructor(options: TabsOptions) {
    this.#options = options;
    this.#id = String(options.platform.random()).slice(2);
  }

  get isLeading(): boolean {
    return this.#giveUpLead !== undefined;
  }

  /** Resolves when the others can hear this tab. Idempotent. */
  join(): Promise<void> {
    if (this.#channel !== undefined) return this.#joined;
    const { key, openChannel } = this.#options;
    this.#membership = new AbortController();
    const { signal } = this.#membership;
    this.#channel = openChannel(key);
    this.#channel.onmessage = ({ data }) => {
      try {
        this.#hear(data as News & { from: string });
      } catch {
        // Another version of the SDK says it otherwise.
      }
    };
    // Held for as long as this tab lives. Nobody hears of it before: who watches a lock that is not
    // held yet takes the tab for dead.
    this.#joined = new Promise((joined) => {
      const held = this.#hold(this.#lockOf(this.#id), signal, () => {
        // Left in the moment it was granted.
        if (signal.aborted) return undefined;
        this.#present = true;
        this.#say({ kind: 'hello' });
        this.announce();
        joined();
        return new Promise((resolve) => (signal.onabort = resolve));
      });
      // Where locks are refused there is nobody to hear it.
      void held.then(joined);
    });
    return this.#joined;
  }

  /** Gives up the lead and says goodbye. Idempotent. */
  leave(): void {
    this.yield();
    this.#say({ kind: 'bye' });
    this.#present = false;
    this.#channel?.close();
    this.#channel = undefined;
    this.#membership.abort();
    for (const tab of [...this.#others.keys()]) this.#forget(tab);
  }

  /** Waits in the line for the lead. Idempotent. */
  seek(steal = false): void {
    if (this.#candidacy !== undefined) return;
    const { key, locks, onLead, onLost, onRefused } = this.#options;
    const candidacy = new AbortController();
    this.#candidacy = candidacy;
    const lead = (): Promise<void> | undefined => {
      if (candidacy.signal.aborted) return undefined;
      const led = new Promise<void>((resolve) => (this.#giveUpLead = resolve));
      this.#say({ kind: 'lead', fresh: true, ...this.#standing });
      for (const tab of this.#others.keys()) this.#watch(tab);
      onLead(steal);
      return led;
    };
    // The two options exclude each other.
    const options = steal ? { steal } : { signal: candidacy.signal };
    locks.request(key, options, lead).catch(() => {
      // Given up before it came.
      if (this.#candidacy !== candidacy || candidacy.signal.aborted) return;
      const wasLeading = this.isLeading;
      this.#candidacy = undefined;
      this.#giveUpLead = undefined;
      if (wasLeading) onLost();
      else onRefused();
    });
  }

  /** Gives up the lead, or the place in the line. Idempotent. */
  yield(): void {
    this.#candidacy?.abort();
    this.#candidacy = undefined;
    this.#giveUpLead?.();
    this.#giveUpLead = undefined;
  }

  /** After a sleep: asks who leads, and takes the lead from a tab that does not answer. */
  async wake(): Promise<void> {
    // One that is under way and has heard nothing goes on.
    if (this.isLeading || this.#probe?.answered === false) return;
    const probe = { answered: false };
    this.#probe = probe;
    this.announce();
    this.#say({ kind: 'hello' });
    await delay(this.#options.platform, ANSWER_MS, this.#membership.signal).done;
    // A newer one, or nothing to wait for any more.
    if (this.#probe !== probe) return;
    this.#probe = undefined;
    if (!probe.answered && this.#isWaiting()) {
      this.yield();
      this.seek(true);
    }
  }

  #isWaiting(): boolean {
    return this.#candidacy !== undefined && this.#giveUpLead === undefined;
  }

  /** Tells the other tabs what is handled and observed here. */
  announce(): void {
    this.#stir();
    this.#say({ kind: 'tab', interests: this.#options.dispatcher.interests });
  }

  /** As the leader: tells how it stands. */
  tellStanding(standing: { sessionId: string | undefined; receiving: boolean }): void {
    this.#standing = standing;
    if (this.isLeading) this.#say({ kind: 'lead', fresh: false, ...standing });
  }

  tellFailed({ code, message }: TerminalError): void {
    this.#say({ kind: 'failed', code, message });
  }

  tellEnded(parcel: Parcel, ending: Ending): void {
    if (this.#others.size === 0) return;
    const type = typeOf(parcel);
    const observes = ({ observed }: Interests): boolean =>
      observed.includes(type) || observed.includes('*');
    this.#say({
      kind: 'ended',
      id: parcel.properties.messageId,
      ending,
      parcel: [...this.#others.values()].some(observes) ? parcel : undefined,
    });
  }

  run(parcel: Parcel, tabWith: TabWith): Promise<Ending | 'hung' | undefined> | undefined {
    const fits = ({ handled, running }: Interests): boolean => {
      if (tabWith === 'message') return running.includes(parcel.properties.messageId ?? '');
      return handled.includes(tabWith === 'type' ? typeOf(parcel) : '*');
    };
    const tabs = [...this.#others].filter(([, interests]) => fits(interests)).map(([tab]) => tab);
    if (tabs.length === 0) return undefined;
    const tab = tabs.find((candidate) => !this.#stalled.has(candidate));
    return tab === undefined ? this.#awaitSign(tabs) : this.#runIn(tab, parcel);
  }

  #runIn(tab: string, parcel: Parcel): Promise<Ending | undefined> {
    const call = ++this.#lastCall;
    const { platform } = this.#options;
    return new Promise((resolve) => {
      let timer: ReturnType<typeof delay> | undefined;
      const end = (ending: Ending | undefined): void => {
        timer?.cancel();
        this.#calls.delete(call);
        resolve(ending);
      };
      const expectWithin = (ms: number): void => {
        const since = platform.now();
        timer?.cancel();
        timer = delay(platform, ms);
        void timer.done.then(() => {
          if (platform.now() - since > ms + LATE_MS) {
            expectWithin(ms);
            return;
          }
          this.#stalled.set(tab, platform.now());
          end(undefined);
        });
      };
      const taken = (): void => {
        // Only by its id is it the same message when it is given there again.
        if (parcel.properties.messageId === undefined) timer?.cancel();
        else expectWithin(TAKEN_MS);
      };
      this.#calls.set(call, { tab, taken, end });
      expectWithin(ANSWER_MS);
      this.#say({ kind: 'run', to: tab, call, sentAt: platform.now(), parcel });
    });
  }

  /** Resolves when one of them says something or is gone; all have stalled, and are not to be passed over: they live. */
  #awaitSign(tabs: string[]): Promise<'hung' | undefined> {
    const { platform } = this.#options;
    const last = Math.max(...tabs.map((tab) => this.#stalled.get(tab) ?? 0));
    return new Promise((resolve) => {
      const timer = delay(platform, Math.max(0, last + HUNG_MS - platform.now()));
      const stir = (): void => {
        timer.cancel();
        this.#waiting.delete(stir);
        resolve(undefined);
      };
      this.#waiting.add(stir);
      void timer.done.then(() => {
        this.#waiting.delete(stir);
        resolve('hung');
      });
      this.#say({ kind: 'hello' });
    });
  }

  #stir(): void {
    for (const stir of this.#waiting) stir();
  }

  #say(news: News): void {
    if (!this.#present) return;
    this.#channel?.postMessage({ ...news, from: this.#id });
  }

  #hear(news: News & { from: string }): void {
    const { dispatcher, onLeaderNews, onFailed } = this.#options;
    if (this.#stalled.delete(news.from)) this.#stir();
    switch (news.kind) {
      case 'hello':
        this.announce();
        this.tellStanding(this.#standing);
        break;
      case 'tab':
        if (!isComplete(news.interests)) break;
        if (this.isLeading && !this.#others.has(news.from)) this.#watch(news.from);
        this.#others.set(news.from, news.interests);
        dispatcher.retryKept();
        this.#stir();
        break;
      case 'bye':
        this.#forget(news.from);
        break;
      case 'lead':
        // From one that does not know yet that it has lost the lead.
        if (this.isLeading) break;
        if (this.#probe !== undefined) this.#probe.answered = true;
        this.#standing = { sessionId: news.sessionId, receiving: news.receiving };
        if (news.fresh) this.announce();
        onLeaderNews(news.sessionId, news.receiving);
        break;
      case 'run':
        if (news.to === this.#id) void this.#runFor(news);
        break;
      case 'took':
        if (news.to === this.#id) this.#calls.get(news.call)?.taken();
        break;
      case 'stale':
        if (news.to === this.#id) this.#calls.get(news.call)?.end(undefined);
        break;
      case 'result':
        if (news.to === this.#id) this.#end(news);
        break;
      case 'ended':
        dispatcher.noteEnded(news.id, news.ending, news.parcel);
        break;
      case 'failed':
        onFailed(new TerminalError(news.code, news.message));
    }
  }

  #end({ from, call, ending }: Extract<News, { kind: 'result' }> & { from: string }): void {
    const known = this.#others.get(from);
    // It has nobody for the message any more: until it says otherwise, it is not asked again.
    if (ending === undefined && known !== undefined) {
      this.#others.set(from, { ...known, handled: [], running: [] });
    }
    this.#calls.get(call)?.end(ending);
  }

  async #runFor({
    from,
    call,
    sentAt,
    parcel,
  }: Extract<News, { kind: 'run' }> & { from: string }): Promise<void> {
    // Stalled meanwhile: the leader may have given it to another tab.
    if (this.#options.platform.now() - sentAt > STALE_MS) {
      this.#say({ kind: 'stale', to: from, call });
      return;
    }
    this.#say({ kind: 'took', to: from, call });
    // What another version of the SDK has sent may not be one.
    const ending = await this.#options.dispatcher.runFor(parcel).catch(() => undefined);
    this.#say({ kind: 'result', to: from, call, ending });
  }

  /** As the leader: learns of a tab's end by the lock that it holds. */
  #watch(tab: string): void {
    void this.#hold(this.#lockOf(tab), this.#membership.signal, () => {
      this.#forget(tab);
    });
  }

  #forget(tab: string): void {
    this.#others.delete(tab);
    this.#stalled.delete(tab);
    this.#stir();
    for (const call of [...this.#calls.values()]) if (call.tab === tab) call.end(undefined);
  }

  /** Resolves when the lock was let go, or could not be had. */
  async #hold(name: string, signal: AbortSignal, held: () => unknown): Promise<void> {
    // Rejects when the tab leaves first.
    await this.#options.locks.request(name, { signal }, held).catch(() => undefined);
  }

  #lockOf(tab: string): string {
    return `${this.#options.key}:${tab}`;
  }
}

/** As far as it is asked for. */
const isComplete = ({ handled, observed, running }: Interests): boolean =>
  [handled, observed, running].every(Array.isArray);
