import type { Client, Message } from '@warren/client';
import { RING_MS, type CallEvents } from './events.js';

/** How long candidates are gathered before they are told together, in milliseconds. */
const GATHER_MS = 100;

/**
 * What the pages of a call say to each other, in order. A user may have the page open on several devices, and in
 * several tabs of each, so that a page has a name of its own.
 */
export class Signals {
  readonly page = crypto.randomUUID();
  readonly #client: Client<CallEvents>;
  #sending: Promise<unknown> = Promise.resolve();
  #candidates: RTCIceCandidateInit[] = [];

  constructor(client: Client<CallEvents>) {
    this.#client = client;
    // Whatever is told concerns the moment: there is nothing to save.
    client.handle('*', () => undefined);
  }

  /** In every tab: who knows which of them its user looks at? */
  on<Type extends keyof CallEvents>(
    type: Type,
    listener: (data: CallEvents[Type], from: string) => void,
  ): void {
    this.#client.observe(type, (message) => {
      const { data, from = '' } = message as Message<CallEvents[Type]>;
      const isForAnother = 'to' in data && data.to !== this.page;
      if (!isForAnother) listener(data, from);
    });
  }

  /** Waits for whoever is away, for as long as it rings. */
  invite(user: string, call: string): Promise<unknown> {
    const data = { call, page: this.page };
    return this.#inOrder(() =>
      this.#client.send({ user }, 'call.invite', data, { ttlMs: RING_MS }),
    );
  }

  /** For who is connected now. */
  send<Type extends keyof CallEvents>(
    user: string,
    type: Type,
    data: CallEvents[Type],
  ): Promise<unknown> {
    return this.#inOrder(() => this.#client.send({ user }, type, data, { delivery: 'live' }));
  }

  /** Candidates come in bursts: one message takes all that were found within a moment. */
  sendCandidate(user: string, call: string, to: string, candidate: RTCIceCandidateInit): void {
    this.#candidates.push(candidate);
    if (this.#candidates.length > 1) return;
    setTimeout(() => {
      const candidates = this.#candidates.splice(0);
      this.send(user, 'call.candidates', { call, to, candidates }).catch(() => undefined);
    }, GATHER_MS);
  }

  /** A request overtakes another one; an answer before its offer is of no use. */
  #inOrder(send: () => Promise<unknown>): Promise<unknown> {
    const sent = this.#sending.then(send);
    this.#sending = sent.catch(() => undefined);
    return sent;
  }
}
