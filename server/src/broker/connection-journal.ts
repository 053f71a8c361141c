import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { connect, type Channel, type ChannelModel, type Message } from 'amqplib';
import {
  CONNECTION_JOURNAL_ARGUMENTS,
  connectionJournalOf,
  EVENTS_EXCHANGE,
  EVENTS_VHOST,
} from '@warren/rabbitmq';
import type { Logger } from 'pino';
import type {
  ConnectionChanges,
  ConnectionStore,
  OpenedConnection,
} from '../storage/connections.js';
import { endedWithin } from '../ended-within.js';
import { BatchConsumer } from './batch-consumer.js';
import { isRefusal } from './lasting-connection.js';
import { CONNECTION_KEYS, markOf, readEvent, type BrokerEvent } from './broker-events.js';

export interface ConnectionJournalOptions {
  amqpUrl: string;
  vhost: string;
  /** Whatever tells this database from others on the same broker. */
  database: string;
  store: ConnectionStore;
  logger: Logger;
}

/** Connects of one moment are written together. */
const GATHER_MS = 50;
const RETRY_MS = { low: 100, high: 5000 };
const CONNECT_MS = 5000;
/** How often it is looked how far another server has come, in milliseconds. */
const LOOK_MS = 100;
const CLOSE_MS = 1000;

/**
 * Writes down who is connected, as the broker tells it. Its events wait in a queue while no server runs, and
 * one server at a time takes them, so that nothing is missed, and whoever begins later knows also those who
 * have lied about their name meanwhile.
 */
export class ConnectionJournal {
  readonly #options: ConnectionJournalOptions;
  readonly #queue: string;
  readonly #consumer: BatchConsumer;
  readonly #progress = new EventEmitter<{ step: [] }>();
  #channel: Channel | undefined;
  /** Whether the account may not have the queue. */
  #isRefused = false;
  #isFailing = false;
  #isClosed = false;

  constructor(options: ConnectionJournalOptions) {
    this.#options = options;
    this.#queue = connectionJournalOf(options.vhost, options.database);
    const url = new URL(options.amqpUrl);
    url.pathname = `/${encodeURIComponent(EVENTS_VHOST)}`;
    this.#consumer = new BatchConsumer({
      amqpUrl: url.toString(),
      connectionName: 'warren connections',
      queue: this.#queue,
      declare: (channel, connection) => this.#declare(channel, connection),
      gatherMs: GATHER_MS,
      logger: options.logger,
      onBatch: (messages, signal) => this.#record(messages, signal),
      onError: (error) => {
        this.#isRefused = isRefusal(error);
        const advice = this.#isRefused ? ': set the permissions that "warren doctor" asks for' : '';
        const text = `who connects is not written down, so that a restart forgets it${advice}`;
        options.logger.warn({ err: error }, text);
      },
    });
  }

  /**
   * Resolves to whether all that had happened by now is written down, `timeoutMs` milliseconds later at most;
   * false as soon as it cannot be had.
   * A connection is made whose own event goes the same way: when it is written, so is what came before, by
   * whichever server has it in hand.
   */
  async caughtUp(timeoutMs: number): Promise<boolean> {
    const late = AbortSignal.timeout(timeoutMs);
    while (this.#channel === undefined) {
      if (this.#isRefused || this.#isClosed || late.aborted) return false;
      await this.#step(LOOK_MS);
    }
    const mark = markOf(randomUUID());
    const connection = await connect(this.#options.amqpUrl, {
      timeout: CONNECT_MS,
      servername: new URL(this.#options.amqpUrl).hostname,
      clientProperties: { connection_name: mark },
    });
    connection.on('error', () => undefined);
    try {
      while (!(await this.#options.store.hasMark(mark))) {
        if (late.aborted || this.#isClosed) return false;
        await this.#step(LOOK_MS);
      }
      return true;
    } finally {
      await endedWithin(connection.close(), CLOSE_MS);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#consumer.close();
  }

  async #step(timeoutMs: number): Promise<void> {
    const signal = AbortSignal.timeout(timeoutMs);
    await once(this.#progress, 'step', { signal }).catch(() => undefined);
  }

  async #declare(channel: Channel, connection: ChannelModel): Promise<void> {
    channel.on('close', () => {
      if (this.#channel === channel) this.#channel = undefined;
    });
    const waiting = await waitingIn(this.#queue, connection);
    if (waiting === undefined || waiting >= CONNECTION_JOURNAL_ARGUMENTS['x-max-length']) {
      // Written down before there is a queue again: what happened until then is to be found otherwise.
      await this.#options.store.setWhole(false);
    }
    // One that is there is taken as it is: an operator may have made it of another type.
    if (waiting === undefined) {
      const args = CONNECTION_JOURNAL_ARGUMENTS;
      await channel.assertQueue(this.#queue, { durable: true, arguments: args });
    }
    for (const key of CONNECTION_KEYS) {
      await channel.bindQueue(this.#queue, EVENTS_EXCHANGE, key);
    }
    this.#isRefused = false;
    this.#channel = channel;
    this.#progress.emit('step');
  }

  async #record(messages: Message[], signal: AbortSignal): Promise<void> {
    const events = messages.map(({ fields, properties }) =>
      readEvent(
        fields.routingKey,
        (properties.headers ?? {}) as Record<string, unknown>,
        this.#options.vhost,
      ),
    );
    const changes = summarize(events.filter((event) => event !== undefined));
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#options.store.apply(changes);
        this.#isFailing = false;
        this.#progress.emit('step');
        return;
      } catch (error) {
        if (!this.#isFailing) {
          this.#options.logger.warn({ err: error }, 'who connects could not be written down');
        }
        this.#isFailing = true;
        const delayMs = Math.min(RETRY_MS.high, RETRY_MS.low * 2 ** attempt);
        // Given back to the queue when it is to end; rejects then.
        await wait(delayMs, undefined, { ref: false, signal });
      }
    }
  }
}

/** How many messages wait in a queue; undefined when there is none. The question may cost the channel. */
async function waitingIn(queue: string, connection: ChannelModel): Promise<number | undefined> {
  const channel = await connection.createChannel();
  channel.on('error', () => undefined);
  try {
    const { messageCount } = await channel.checkQueue(queue);
    await channel.close();
    return messageCount;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 404) return undefined;
    throw error;
  }
}

/** What a number of events amount to, by connection. */
export function summarize(events: BrokerEvent[]): ConnectionChanges {
  const opened = new Map<string, OpenedConnection>();
  const authenticated = new Map<string, string>();
  const closed = new Set<string>();
  for (const event of events) {
    if (event.kind === 'queueDeleted') continue;
    const { name } = event;
    const fresh = opened.get(name);
    if (event.kind === 'opened') {
      const { login, user, run, mark, keepsToken } = event;
      closed.delete(name);
      authenticated.delete(name);
      opened.set(name, { name, login, user, run, mark, keepsToken });
    } else if (event.kind === 'closed') {
      opened.delete(name);
      authenticated.delete(name);
      closed.add(name);
    } else if (fresh !== undefined) fresh.user = event.user;
    else if (!closed.has(name)) authenticated.set(name, event.user);
  }
  return {
    opened: [...opened.values()],
    authenticated: [...authenticated].map(([name, user]) => ({ name, user })),
    closed: [...closed],
  };
}
