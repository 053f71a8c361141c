import type { Socket } from 'node:net';
import { AMQPChannelError, AMQPConnectionError, Connection, type Channel } from 'rabbitmq-client';
import { endedWithin } from '../ended-within.js';
import { WaitingRoom } from '../waiting-room.js';
import { PublishError, type PublishErrorCode } from './errors.js';
import type { OutgoingMessage } from './outgoing-message.js';
import { Unconfirmed, type Sent } from './unconfirmed.js';

/** Whether the broker found a queue for a message that it confirmed. */
export type Routing = 'routed' | 'unroutable';

export interface ConfirmChannelOptions {
  amqpUrl: string;
  connectionName: string;
  /** How many messages may wait for their confirm at once. */
  maxInFlight: number;
  /** How many more may wait for their turn, or for the broker to come back. */
  maxWaiting: number;
  /** How long a message may take from `publish` to its confirm, in milliseconds. */
  timeoutMs: number;
  /** How long the confirm alone may take, where that is longer. Default: no longer. */
  confirmTimeoutMs?: number;
  heartbeatSeconds: number;
  /** Told of lost connections and the like; the channel heals by itself. */
  onError: (error: Error) => void;
}

interface Entry {
  message: OutgoingMessage;
  body: Buffer;
  deadline: number;
  settled: boolean;
  resolve: (routing: Routing) => void;
  reject: (error: PublishError) => void;
}

/**
 * - `connecting`: no channel yet, or none any more; messages wait.
 * - `ready`: messages go out.
 * - `blocked`: the broker has an alarm (memory, disk) and reads nothing; messages wait.
 * - `closed`: for good.
 */
export type LinkState = 'connecting' | 'ready' | 'blocked' | 'closed';

/** Of those that wait, however few: as many as may, each of the largest size, would be gigabytes. */
const MAX_WAITING_BYTES = 256 * 1024 * 1024;
const REOPEN_DELAY_MS = 100;
const SWEEP_INTERVAL_MS = 100;
/** The broker's default for a channel's frames; the library's own, 8192, cuts a body in 16 times as many. */
const FRAME_MAX = 131_072;

/**
 * One channel in confirm mode that outlives lost connections. Every message that it takes ends in
 * exactly one way: confirmed (and routed or not), or rejected with a {@link PublishError} that says
 * whether it may still arrive. Messages leave in the order in which they were handed over.
 */
export class ConfirmChannel {
  readonly #options: ConfirmChannelOptions;
  readonly #connection: Connection;
  #channel: Channel | undefined;
  #state: LinkState = 'connecting';
  #alarm = false;
  #joining = false;
  #opening = false;
  #closing = false;
  readonly #inFlight = new Set<Entry>();
  readonly #waiting: Entry[] = [];
  #waitingBytes = 0;
  readonly #unconfirmed = new Unconfirmed();
  /** Confirmed, but whether they were returned is not known yet. */
  readonly #confirmed: [Entry, Sent][] = [];
  #sweeper: NodeJS.Timeout | undefined;
  readonly #idle: (() => void)[] = [];
  readonly #onReady = new WaitingRoom();

  constructor(options: ConfirmChannelOptions) {
    this.#options = options;
    this.#connection = new Connection({
      url: options.amqpUrl,
      connectionName: options.connectionName,
      heartbeat: options.heartbeatSeconds,
      frameMax: FRAME_MAX,
      retryLow: 100,
      retryHigh: 3000,
      connectionTimeout: 5000,
      noDelay: true,
    });
    this.#connection.on('error', (error) => {
      options.onError(toError(error));
    });
    this.#connection.on('connection', () => {
      this.#alarm = false;
      void this.#open();
    });
    this.#connection.on('connection.blocked', () => {
      this.#alarm = true;
      if (this.#state === 'ready') this.#state = 'blocked';
    });
    this.#connection.on('connection.unblocked', () => {
      this.#alarm = false;
      if (this.#state === 'blocked') this.#becomeReady();
      // A channel that was lost meanwhile could not be opened anew.
      else this.#openIfMissing();
    });
  }

  get state(): LinkState {
    return this.#state;
  }

  /** How many messages have not ended yet. */
  get pending(): number {
    return this.#inFlight.size + this.#waiting.length;
  }

  /** Resolves to whether the channel got ready within `timeoutMs`. */
  async ready(timeoutMs: number): Promise<boolean> {
    if (this.#state === 'ready') return true;
    return this.#onReady.within(timeoutMs);
  }

  publish(message: OutgoingMessage, body: Buffer): Promise<Routing> {
    return new Promise((resolve, reject) => {
      const deadline = performance.now() + this.#options.timeoutMs;
      const entry: Entry = { message, body, deadline, settled: false, resolve, reject };
      if (this.#closing) {
        this.#fail(entry, 'publisher_closed', 'The publisher is closed.');
      } else if (
        this.#state === 'ready' &&
        this.#waiting.length === 0 &&
        this.#inFlight.size < this.#options.maxInFlight
      ) {
        this.#transmit(entry);
      } else if (
        this.#waiting.length < this.#options.maxWaiting &&
        this.#waitingBytes + body.length <= MAX_WAITING_BYTES
      ) {
        this.#waiting.push(entry);
        this.#waitingBytes += body.length;
      } else {
        const waiting = `${String(this.#waiting.length)} messages (${String(this.#waitingBytes)} bytes)`;
        this.#fail(entry, 'broker_unavailable', `${waiting} wait for the broker already.`);
      }
      this.#sweepLater();
    });
  }

  /**
   * Takes no more messages, waits until those it has have ended, `timeoutMs` at the longest, and
   * rejects the rest. Idempotent.
   */
  async close(timeoutMs: number): Promise<void> {
    this.#closing = true;
    if (this.pending > 0) {
      await endedWithin(new Promise<void>((resolve) => this.#idle.push(resolve)), timeoutMs);
    }
    this.#waitingBytes = 0;
    for (const entry of this.#waiting.splice(0)) {
      this.#fail(
        entry,
        'broker_unavailable',
        'The publisher was closed before the broker was back.',
      );
    }
    this.#abandonInFlight('The publisher was closed before the confirm came.');
    this.#state = 'closed';
    clearInterval(this.#sweeper);
    const closed = this.#channel?.close().then(() => this.#connection.close());
    await endedWithin(closed ?? this.#connection.close(), 2000);
    this.#connection.unsafeDestroy();
  }

  async #open(): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    let channel: Channel | undefined;
    try {
      channel = await this.#connection.acquire({ emitErrorsFromChannel: true });
      const opened = channel;
      opened.on('error', (error: unknown) => {
        this.#options.onError(toError(error));
      });
      opened.on('close', () => {
        this.#lost(opened);
      });
      opened.on('basic.return', (message) => {
        this.#unconfirmed.noteReturn(message);
      });
      await opened.confirmSelect();
      // It may have been closed since.
      if (opened.active) {
        this.#channel = opened;
        this.#becomeReady();
      } else this.#reopenLater();
    } catch (error) {
      this.#options.onError(toError(error));
      if (channel !== undefined) await channel.close();
      this.#reopenLater();
    } finally {
      this.#opening = false;
    }
  }

  #becomeReady(): void {
    if (this.#closing && this.pending === 0) return;
    this.#state = this.#alarm ? 'blocked' : 'ready';
    if (this.#state !== 'ready') return;
    this.#onReady.open();
    this.#flush();
  }

  #lost(channel: Channel): void {
    if (channel !== this.#channel || this.#state === 'closed') return;
    this.#channel = undefined;
    this.#state = 'connecting';
    // After the channel's own rejections, and after what it had confirmed before.
    setImmediate(() =>
      setImmediate(() => {
        this.#abandonInFlight('The connection to the broker was lost before the confirm came.');
      }),
    );
    this.#reopenLater();
  }

  /** A lost connection opens a channel when it is back; one that is well has lost its channel alone. */
  #reopenLater(): void {
    setTimeout(() => {
      this.#openIfMissing();
    }, REOPEN_DELAY_MS);
  }

  #openIfMissing(): void {
    if (this.#state === 'connecting' && this.#channel === undefined && this.#connection.ready) {
      void this.#open();
    }
  }

  #transmit(entry: Entry): void {
    const channel = this.#channel;
    if (channel === undefined) throw new Error('There is no channel to publish on.');
    const { confirmTimeoutMs = 0 } = this.#options;
    entry.deadline = Math.max(entry.deadline, performance.now() + confirmTimeoutMs);
    this.#inFlight.add(entry);
    this.#joinWrites();
    const sent = this.#unconfirmed.add(entry.message);
    channel.basicPublish(sent.message, entry.body).then(
      () => {
        this.#confirmed.push([entry, sent]);
        if (this.#confirmed.length === 1) setImmediate(this.#sealConfirmed);
      },
      (error: unknown) => {
        const [code, why] = explain(error, this.#unconfirmed.size === 1);
        this.#unconfirmed.remove(sent);
        this.#fail(entry, code, why, error);
      },
    );
  }

  /**
   * On the wire a return comes before its confirm, but rabbitmq-client tells of confirms at once and
   * of returns in a setImmediate. One that was read before this runs has been told of when the next
   * setImmediate runs. All of a batch are resolved in one turn, so that what their senders send next
   * leaves in one write.
   */
  readonly #sealConfirmed = (): void => {
    const batch = this.#confirmed.splice(0);
    setImmediate(() => {
      for (const [entry, sent] of batch) {
        this.#unconfirmed.remove(sent);
        if (this.#settle(entry)) entry.resolve(sent.isReturned ? 'unroutable' : 'routed');
      }
    });
  };

  /**
   * Lets all messages of one turn leave in one write. rabbitmq-client makes a system call for each,
   * the largest part of what publishing costs. Its socket is not public; without it, all works as
   * before.
   */
  #joinWrites(): void {
    const { _socket: socket } = this.#connection as unknown as { _socket?: Socket };
    if (this.#joining || socket === undefined) return;
    this.#joining = true;
    socket.cork();
    process.nextTick(() => {
      this.#joining = false;
      socket.uncork();
    });
  }

  /** Makes room for the next one. False when this one has ended before. */
  #settle(entry: Entry): boolean {
    if (entry.settled) return false;
    entry.settled = true;
    this.#inFlight.delete(entry);
    this.#flush();
    if (this.pending === 0) {
      for (const notify of this.#idle.splice(0)) notify();
      clearInterval(this.#sweeper);
      this.#sweeper = undefined;
    }
    return true;
  }

  #fail(entry: Entry, code: PublishErrorCode, why: string, cause?: unknown): void {
    if (!this.#settle(entry)) return;
    entry.reject(new PublishError(code, why, entry.message.messageId, { cause }));
  }

  #abandonInFlight(why: string): void {
    for (const entry of this.#inFlight) this.#fail(entry, 'outcome_unknown', why);
  }

  #flush(): void {
    while (
      this.#state === 'ready' &&
      this.#inFlight.size < this.#options.maxInFlight &&
      this.#waiting.length > 0
    ) {
      const entry = this.#next();
      if (entry !== undefined) this.#transmit(entry);
    }
  }

  /** The one that has waited for longest, which waits no more. */
  #next(): Entry | undefined {
    const entry = this.#waiting.shift();
    this.#waitingBytes -= entry?.body.length ?? 0;
    return entry;
  }

  // One timer for all rather than one for each message. All wait equally long, so the oldest stand
  // first in both collections.
  #sweepLater(): void {
    if (this.pending === 0) return;
    this.#sweeper ??= setInterval(() => {
      const now = performance.now();
      while (this.#waiting[0] !== undefined && this.#waiting[0].deadline <= now) {
        const entry = this.#next();
        if (entry !== undefined) {
          this.#fail(entry, 'broker_unavailable', 'The broker could not be reached in time.');
        }
      }
      for (const entry of this.#inFlight) {
        if (entry.deadline > now) break;
        this.#fail(entry, 'outcome_unknown', 'The broker did not confirm in time.');
      }
    }, SWEEP_INTERVAL_MS);
  }
}

const toError = (error: unknown): Error =>
  error instanceof Error ? error : new Error('unknown error', { cause: error });

/**
 * What a rejected publish means for the sender.
 * @param isAlone whether no other publish of the channel was unconfirmed.
 */
function explain(error: unknown, isAlone: boolean): ['outcome_unknown' | 'broker_refused', string] {
  if (!(error instanceof AMQPChannelError) || error instanceof AMQPConnectionError) {
    return ['outcome_unknown', 'The broker did not confirm the message.'];
  }
  if (!['NOT_FOUND', 'ACCESS_REFUSED', 'PRECONDITION_FAILED'].includes(error.code)) {
    return ['outcome_unknown', 'The broker did not confirm the message.'];
  }
  if (isAlone) return ['broker_refused', `The broker refused the message: ${error.message}`];
  // The broker does not say which; rabbitmq-client takes the oldest, which it may have taken in before.
  return ['outcome_unknown', `The broker refused one of several messages: ${error.message}`];
}
