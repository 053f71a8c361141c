import net from 'node:net';
import { vi } from 'vitest';
import { createPublisher, PublishError, type Publisher } from '@warren/server/publisher';
import { ScriptedAmqp, type BrokerChannel, type Publish } from './scripted-amqp.js';

export const TIMEOUT_MS = 300;
export const FAN_OUT_TIMEOUT_MS = 600;
/** More than a list's keys that one publish carries. */
const LONG_LIST = Array.from({ length: 60 }, (_, index) => `l${String(index)}`);

/** A publish, and what the broker has made of it. */
interface Fate {
  publish: Publish;
  attempt: Attempt;
  routing?: 'routed' | 'returned' | 'refused';
  confirm?: 'ack' | 'nack';
  /** The client has had the time to read the confirm. */
  isHeard: boolean;
}

/** One call of the helper. */
export interface Attempt {
  number: number;
  sent: { kind: 'send' | 'live' | 'list'; to: number; id: number };
  /** Of how many publishes it consists. */
  parts: number;
  isFanOut: boolean;
  fates: Fate[];
  outcome?: string;
}

const codeOf = (error: unknown): string =>
  error instanceof PublishError ? error.code : String(error);

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function settle(): Promise<void> {
  for (let turns = 0; turns < 5; turns++) await turn();
}

/** The helper, a broker that does as it is told, and a record of what it has done. */
export class World {
  readonly attempts: Attempt[] = [];
  readonly faults: string[] = [];
  readonly amqp = new ScriptedAmqp((publish) => {
    this.#receive(publish);
  });
  readonly publisher: Publisher;
  readonly #fates = new Map<BrokerChannel, Fate[]>();
  readonly #newest = { one: -1, many: -1 };

  constructor({
    backoff,
    ...limits
  }: {
    maxInFlight: number;
    maxWaiting: number;
    backoff: number;
  }) {
    vi.spyOn(net, 'connect').mockImplementation(() => this.amqp.connect());
    vi.spyOn(Math, 'random').mockReturnValue(backoff);
    this.publisher = createPublisher({
      amqpUrl: 'amqp://name:password@broker/warren',
      timeoutMs: TIMEOUT_MS,
      fanOutTimeoutMs: FAN_OUT_TIMEOUT_MS,
      heartbeatSeconds: 0,
      ...limits,
    });
  }

  send(sent: Attempt['sent']): Attempt {
    const { kind, to } = sent;
    const attempt: Attempt = {
      number: this.attempts.length,
      sent,
      parts: kind === 'list' && to === 1 ? 2 : 1,
      isFanOut: kind === 'list',
      fates: [],
    };
    this.attempts.push(attempt);
    const options = {
      id: `m${String(sent.id)}`,
      delivery: kind === 'live' ? ('live' as const) : ('queued' as const),
    };
    const ending =
      kind === 'list'
        ? this.publisher.toUsers(to === 1 ? LONG_LIST : ['a', 'b'], 'note', attempt.number, options)
        : this.publisher.toUser(`u${String(to)}`, 'note', attempt.number, options);
    ending.then(
      ({ outcome }) => {
        this.#end(attempt, outcome);
      },
      (error: unknown) => {
        this.#end(attempt, codeOf(error));
      },
    );
    return attempt;
  }

  /** Decides the next message of a channel, as a broker does: one after the other. */
  decide(routing: 'routed' | 'returned', which: number, except?: Attempt): void {
    const next = this.#channels()
      .map((channel) => this.#of(channel).find((fate) => fate.routing === undefined))
      .filter((fate) => fate !== undefined);
    const fate = next[which % next.length];
    if (fate === undefined) return;
    fate.routing = fate.attempt === except ? 'routed' : routing;
    if (fate.routing === 'returned') fate.publish.channel.link.returnUnroutable(fate.publish);
  }

  /** Confirms come in any order, and each may speak for all before it. */
  confirm(kind: 'ack' | 'nack', which: number, multiple: boolean): void {
    const open = this.#channels().flatMap((channel) => this.#of(channel).filter(awaitsConfirm));
    const fate = open[which % open.length];
    if (fate === undefined) return;
    const { publish } = fate;
    const before = this.#of(publish.channel).filter(
      (other) => other.publish.tag <= publish.tag && other.confirm === undefined,
    );
    // No broker confirms what it has not looked at yet; of two kinds, each for itself.
    const all = multiple && before.every(awaitsConfirm);
    publish.channel.link[kind](publish, all);
    for (const confirmed of all ? before : [fate]) confirmed.confirm = kind;
  }

  /** The broker closes a channel: for the next message, to whose exchange nobody may write, or for no reason. */
  closeChannel(isForMessage: boolean, which: number): void {
    const channels = this.#channels();
    const channel = channels[which % channels.length];
    if (channel === undefined) return;
    if (!isForMessage) {
      channel.link.closeChannel(channel, 541, 'INTERNAL_ERROR');
      return;
    }
    const fate = this.#of(channel).find(({ routing }) => routing === undefined);
    if (fate === undefined) return;
    fate.routing = 'refused';
    channel.link.closeChannel(channel, 403, 'ACCESS_REFUSED', [60, 40]);
  }

  /** One whose sender was told that its outcome is unknown, and of which the broker has still to speak. */
  get late(): Attempt | undefined {
    const open = this.#channels().flatMap((channel) => this.#of(channel));
    return open.find(({ routing }) => routing === undefined)?.attempt;
  }

  link(which: number) {
    const { open } = this.amqp;
    return open[which % open.length];
  }

  async settle(): Promise<void> {
    await settle();
    for (const fate of this.#all()) {
      if (fate.confirm !== undefined && fate.publish.channel.isOpen) fate.isHeard = true;
    }
    for (const { channels } of this.amqp.open) {
      const open = [...channels.values()].filter(({ isOpen }) => isOpen);
      if (open.length > 1) this.faults.push('a connection has two channels');
    }
    for (const attempt of this.attempts) {
      const isAcked = isComplete(attempt) && attempt.fates.every(isHeardAck);
      if (isAcked && attempt.outcome === undefined) {
        this.faults.push(`${String(attempt.number)} was confirmed, and nobody was told`);
      }
    }
  }

  /** In steps, so that what a timer sets off is done before the next one. */
  async wait(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 100) {
      vi.advanceTimersByTime(Math.min(left, 100));
      await this.settle();
    }
  }

  /**
   * Decides and confirms whatever is left, and what comes out of the queue then.
   * @param except for this one, which is routed.
   */
  async answerAll(routing: 'routed' | 'returned', except?: Attempt): Promise<void> {
    let answered = -1;
    while (this.#all().length > answered) {
      answered = this.#all().length;
      for (let left = answered; left > 0; left--) {
        this.decide(routing, 0, except);
        this.confirm('ack', 0, false);
      }
      await this.settle();
    }
  }

  #channels(): BrokerChannel[] {
    return this.amqp.channels;
  }

  #of(channel: BrokerChannel): Fate[] {
    return this.#fates.get(channel) ?? [];
  }

  #all(): Fate[] {
    return this.attempts.flatMap(({ fates }) => fates);
  }

  #receive(publish: Publish): void {
    const attempt = this.attempts[Number(publish.body.toString('utf8'))]!;
    const fate: Fate = { publish, attempt, isHeard: false };
    attempt.fates.push(fate);
    this.#fates.set(publish.channel, [...this.#of(publish.channel), fate]);
    const { number, parts, fates, isFanOut, outcome } = attempt;
    const way = isFanOut ? 'many' : 'one';
    if (number < this.#newest[way]) this.faults.push(`${String(number)} was overtaken`);
    this.#newest[way] = Math.max(this.#newest[way], number);
    if (fates.length > parts) this.faults.push(`${String(number)} was sent twice`);
    if (UNSENT.includes(outcome ?? '')) {
      this.faults.push(`${String(number)} was sent after "${outcome!}"`);
    }
  }

  #end(attempt: Attempt, outcome: string): void {
    const { number } = attempt;
    if (attempt.outcome !== undefined) this.faults.push(`${String(number)} has ended twice`);
    attempt.outcome = outcome;
    const why = lieOf(attempt, outcome);
    if (why !== undefined) this.faults.push(`${String(number)} is told "${outcome}", but ${why}`);
  }
}

const UNSENT = ['broker_unavailable', 'publisher_closed'];

const awaitsConfirm = ({ routing, confirm }: Fate): boolean =>
  confirm === undefined && (routing === 'routed' || routing === 'returned');

const isHeardAck = ({ confirm, isHeard }: Fate): boolean => confirm === 'ack' && isHeard;

const isComplete = ({ fates, parts }: Attempt): boolean => fates.length === parts;

/** Why the broker has not done what the sender is told; undefined when it has. */
function lieOf(attempt: Attempt, outcome: string): string | undefined {
  const { fates } = attempt;
  const isConfirmed = isComplete(attempt) && fates.every(({ confirm }) => confirm === 'ack');
  switch (outcome) {
    case 'queued':
      if (!isConfirmed) return 'it was not confirmed';
      return fates.some(({ routing }) => routing === 'routed') ? undefined : 'it was returned';
    case 'unprovisioned':
    case 'offline':
      if (!isConfirmed) return 'it was not confirmed';
      return fates.every(({ routing }) => routing === 'returned') ? undefined : 'it was routed';
    case 'outcome_unknown':
      return isComplete(attempt) && fates.every(isHeardAck) ? 'it was confirmed' : undefined;
    case 'broker_refused':
      return fates.some(({ routing }) => routing !== 'refused') ? 'it was not refused' : undefined;
    default:
      if (!UNSENT.includes(outcome)) return 'that is no outcome';
      return fates.length === 0 ? undefined : 'it was sent';
  }
}
