import { RING_MS } from './events.js';
import { Peer } from './peer.js';
import type { Signals } from './signals.js';

/** What this page does at the moment. */
export type PhoneState =
  | { name: 'idle'; why?: string }
  | { name: 'calling'; user: string }
  | { name: 'ringing'; user: string }
  | { name: 'talking'; user: string; isConnected: boolean };

export interface PhoneView {
  onState: (state: PhoneState) => void;
  /** Undefined: nothing is seen any more. */
  onStream: (side: 'own' | 'other', stream: MediaStream | undefined) => void;
  onText: (from: string, text: string) => void;
}

/** How long two pages that cannot reach each other go on trying. */
const LOST_MS = 15_000;

interface Ongoing {
  id: string;
  user: string;
  /** The other side's page, once one has taken the call. */
  page?: string;
  peer?: Peer;
  /** Ends it: nobody answers, or the connection does not come back. */
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** One call at a time. */
export class Phone {
  readonly #signals: Signals;
  readonly #self: string;
  readonly #view: PhoneView;
  #state: PhoneState = { name: 'idle' };
  #ongoing: Ongoing | undefined;
  #stream: MediaStream | undefined;

  constructor(signals: Signals, self: string, view: PhoneView) {
    this.#signals = signals;
    this.#self = self;
    this.#view = view;
    signals.on('call.invite', ({ call, page }, from) => {
      this.#ring(call, from, page);
    });
    signals.on('call.declined', ({ call, page }, from) => {
      const isElsewhere = from === self && page !== signals.page && this.#state.name === 'ringing';
      if (isElsewhere) this.#finish(call, 'Declined elsewhere.');
    });
    // Whoever knows a call's id, only the one at its other end has a word in it.
    signals.on('call.accept', ({ call, page }, from) => {
      if (this.#isWith(from, call)) void this.#accepted(call, page);
    });
    signals.on('call.taken', ({ call, page }, from) => {
      const isElsewhere = this.#isWith(from, call) && page !== signals.page;
      if (isElsewhere) this.#finish(call, 'Answered elsewhere.');
    });
    signals.on('call.end', ({ call, page }, from) => {
      // Another device of the other side that has stopped ringing ends nothing.
      const isOther = this.#ongoing?.page !== undefined && this.#ongoing.page !== page;
      if (this.#isWith(from, call) && !isOther) this.#finish(call, 'The call is over.');
    });
    signals.on('call.description', ({ call, description }, from) => {
      if (this.#isWith(from, call)) void this.#ongoing?.peer?.takeDescription(description);
    });
    signals.on('call.candidates', ({ call, candidates }, from) => {
      if (this.#isWith(from, call)) void this.#ongoing?.peer?.takeCandidates(candidates);
    });
  }

  get state(): PhoneState {
    return this.#state;
  }

  async call(user: string): Promise<void> {
    if (this.#ongoing !== undefined) return;
    const ongoing = this.#begin(crypto.randomUUID(), user, 'Nobody answers.');
    this.#enter({ name: 'calling', user });
    try {
      const stream = await this.#openMedia(ongoing);
      if (stream !== undefined) await this.#signals.invite(user, ongoing.id);
    } catch (error) {
      this.hangUp(error instanceof Error ? error.message : 'The call could not be made.');
    }
  }

  async accept(): Promise<void> {
    const ongoing = this.#ongoing;
    if (ongoing?.page === undefined || this.#state.name !== 'ringing') return;
    const { id, user, page } = ongoing;
    try {
      const stream = await this.#openMedia(ongoing);
      if (stream === undefined) return;
      this.#talk(ongoing, page, stream, false);
      await this.#signals.send(user, 'call.accept', { call: id, page: this.#signals.page });
    } catch (error) {
      this.hangUp(error instanceof Error ? error.message : 'The call could not be taken.');
    }
  }

  /** Ends whatever there is, also a call that one does not want. */
  hangUp(why = 'The call is over.'): void {
    const ongoing = this.#ongoing;
    if (ongoing === undefined) return;
    const { id, user } = ongoing;
    const data = { call: id, page: this.#signals.page };
    if (this.#state.name === 'ringing') {
      this.#signals.send(this.#self, 'call.declined', data).catch(() => undefined);
    }
    this.#signals.send(user, 'call.end', data).catch(() => undefined);
    this.#finish(id, why);
  }

  /** @returns whether it was sent. */
  say(text: string): boolean {
    const peer = this.#ongoing?.peer;
    if (peer?.isTextOpen !== true) return false;
    peer.say(text);
    this.#view.onText(this.#self, text);
    return true;
  }

  #isWith(user: string, call: string): boolean {
    return this.#ongoing?.id === call && this.#ongoing.user === user;
  }

  #ring(call: string, user: string, page: string): void {
    const ongoing = this.#ongoing;
    // Two who call each other at the same time want the same: one of the calls is taken.
    const isMutual = ongoing?.user === user && this.#state.name === 'calling' && call < ongoing.id;
    if (isMutual) this.hangUp();
    // Somebody who is in a call hears nothing of it; the caller is told that nobody answers.
    else if (ongoing !== undefined) return;
    this.#begin(call, user, 'You have missed a call.').page = page;
    this.#enter({ name: 'ringing', user });
    if (isMutual) void this.accept();
  }

  async #accepted(call: string, page: string): Promise<void> {
    const ongoing = this.#ongoing;
    if (ongoing?.id !== call || this.#state.name !== 'calling') return;
    const { user } = ongoing;
    const stream = await this.#openMedia(ongoing);
    if (stream === undefined || ongoing.peer !== undefined) return;
    // Who does not hear of it rings on in vain, and is told nothing worse.
    this.#signals.send(user, 'call.taken', { call, page }).catch(() => undefined);
    this.#talk(ongoing, page, stream, true);
  }

  #talk(ongoing: Ongoing, page: string, stream: MediaStream, isCaller: boolean): void {
    const { id, user } = ongoing;
    ongoing.page = page;
    const waitForConnection = (): void => {
      clearTimeout(ongoing.timer);
      ongoing.timer = setTimeout(() => {
        this.hangUp('The connection was lost.');
      }, LOST_MS);
    };
    waitForConnection();
    this.#enter({ name: 'talking', user, isConnected: false });
    ongoing.peer = new Peer(this.#signals, { user, page, call: id }, stream, isCaller, {
      onStream: (other) => {
        this.#view.onStream('other', other);
      },
      onText: (text) => {
        this.#view.onText(user, text);
      },
      onState: (state) => {
        if (this.#ongoing !== ongoing) return;
        const isConnected = state === 'connected';
        if (isConnected) clearTimeout(ongoing.timer);
        else waitForConnection();
        this.#enter({ name: 'talking', user, isConnected });
      },
    });
  }

  #begin(id: string, user: string, whyAfterRinging: string): Ongoing {
    const timer = setTimeout(() => {
      this.hangUp(whyAfterRinging);
    }, RING_MS);
    this.#ongoing = { id, user, timer };
    return this.#ongoing;
  }

  #finish(id: string, why: string): void {
    const ongoing = this.#ongoing;
    if (ongoing?.id !== id) return;
    this.#ongoing = undefined;
    clearTimeout(ongoing.timer);
    ongoing.peer?.close();
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = undefined;
    this.#view.onStream('own', undefined);
    this.#view.onStream('other', undefined);
    this.#enter({ name: 'idle', why });
  }

  /** Undefined: it was over before the user had let the page have the camera, which is closed again. */
  async #openMedia(ongoing: Ongoing): Promise<MediaStream | undefined> {
    const stream =
      this.#stream ?? (await navigator.mediaDevices.getUserMedia({ audio: true, video: true }));
    if (this.#ongoing !== ongoing) {
      for (const track of stream.getTracks()) track.stop();
      return undefined;
    }
    this.#stream = stream;
    this.#view.onStream('own', stream);
    return stream;
  }

  #enter(state: PhoneState): void {
    this.#state = state;
    this.#view.onState(state);
  }
}
