import type { Message } from 'amqplib';
import { HISTORY_KEY } from '@warren/protocol';
import { DEAD_LETTERS, HISTORY, HISTORY_ARGUMENTS, RETRY } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import { BatchConsumer } from '../broker/batch-consumer.js';
import { headersOfDead } from '../broker/job.js';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';
import { isUnfitForDatabase } from '../storage/database-errors.js';
import { DatabaseRetry } from '../storage/database-retry.js';
import type { GroupStore } from '../storage/groups.js';
import type { HistoryErasure } from '../storage/history-erasure.js';
import type { HistoryRecord, HistoryStore } from '../storage/history.js';
import { isCommand, readCommand, type Command } from './commands.js';
import { readMessage, timelinesOf, UnfitError, type ReadMessage } from './record.js';
import type { Retention } from './retention.js';

export interface RecorderOptions {
  amqpUrl: string;
  exchange: string;
  store: HistoryStore;
  erasure: HistoryErasure;
  groups: GroupStore;
  retention: Retention;
  /** By which what cannot be stored goes to the dead letters. */
  channel: ConfirmChannel;
  logger: Logger;
}

/** Of the lists in one transaction: each has a row. */
const MAX_RECIPIENTS = 20_000;

/**
 * Writes stored messages down, in the order of their queue, and acks them when they are on the disk. Of any
 * number of these, one is at work at a time.
 */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #queue: BatchConsumer;
  readonly #retry: DatabaseRetry;

  constructor(options: RecorderOptions) {
    this.#options = options;
    const { amqpUrl, exchange, logger } = options;
    const failing =
      'stored messages cannot be written down; they wait on the broker until they can';
    const recovered = 'stored messages are written down again';
    this.#retry = new DatabaseRetry({ logger, texts: { failing, recovered } });
    this.#queue = new BatchConsumer({
      amqpUrl,
      connectionName: 'warren history',
      queue: HISTORY,
      declare: async (channel) => {
        await channel.assertQueue(HISTORY, { durable: true, arguments: HISTORY_ARGUMENTS });
        await channel.bindQueue(HISTORY, exchange, HISTORY_KEY);
        await channel.bindQueue(HISTORY, RETRY, HISTORY);
      },
      logger,
      onBatch: (messages, signal) => this.#take(messages, signal),
      onError: (error) => {
        logger.warn(
          { err: error },
          'the connection that takes messages for the history had an error',
        );
      },
    });
  }

  async close(): Promise<void> {
    await this.#queue.close();
  }

  async #take(messages: Message[], signal: AbortSignal): Promise<void> {
    let pending: Pending[] = [];
    let marks: string[] = [];
    let recipients = 0;
    const flush = async (): Promise<void> => {
      if (pending.length + marks.length > 0) await this.#record(pending, marks, signal);
      pending = [];
      marks = [];
      recipients = 0;
    };
    for (const message of messages) {
      const command = isCommand(message) ? readCommand(message) : undefined;
      if (command?.kind === 'mark') {
        marks.push(command.mark);
      } else if (command !== undefined) {
        // What is to be erased is written by then.
        await flush();
        await this.#retry.run(() => this.#obey(command), signal);
      } else {
        const read = await this.#read(message);
        if (read === undefined) continue;
        pending.push({ message, read });
        recipients += 'users' in read.to ? read.to.users.length : 1;
        if (recipients > MAX_RECIPIENTS) await flush();
      }
    }
    await flush();
  }

  async #read(message: Message): Promise<ReadMessage | undefined> {
    try {
      return readMessage(message, Date.now());
    } catch (error) {
      if (!(error instanceof UnfitError)) throw error;
      await this.#bury(message, error.message);
      return undefined;
    }
  }

  async #obey(command: Exclude<Command, { kind: 'mark' }>): Promise<void> {
    const { erasure } = this.#options;
    if (command.kind === 'erase-user') await erasure.eraseUser(command.userId);
    else await erasure.erase(command.timeline);
  }

  async #record(pending: Pending[], marks: string[], signal: AbortSignal): Promise<void> {
    const { store, retention } = this.#options;
    try {
      const records = await this.#retry.run(async () => {
        const written = await this.#toRecords(pending);
        await store.write(written, marks, Date.now());
        return written;
      }, signal);
      retention.note(records.flatMap(({ timelines }) => timelines));
    } catch (error) {
      const [only] = pending;
      if (!isUnfitForDatabase(error) || only === undefined) throw error;
      if (pending.length === 1) {
        await this.#bury(only.message, 'The database cannot hold it.');
        return this.#record([], marks, signal);
      }
      // One of them; the others must not wait for ever.
      const middle = Math.ceil(pending.length / 2);
      await this.#record(pending.slice(0, middle), [], signal);
      await this.#record(pending.slice(middle), marks, signal);
    }
  }

  /** Without those of groups that are gone: nobody could see them. */
  async #toRecords(pending: Pending[]): Promise<HistoryRecord[]> {
    const names = pending.flatMap(({ read: { to } }) => ('group' in to ? [to.group] : []));
    const groups = new Map(
      (await this.#options.groups.findAll([...new Set(names)])).map((group) => [
        group.groupId,
        group,
      ]),
    );
    return pending
      .map(({ read }) => ({ ...read, timelines: timelinesOf(read, groups) }))
      .filter(({ timelines }) => timelines.length > 0);
  }

  /** It can never be stored, and must not hold up the others: an operator finds it in the dead letters. */
  async #bury({ content, properties }: Message, reason: string): Promise<void> {
    const { channel, logger } = this.#options;
    logger.warn({ reason }, 'a message that cannot be stored ended as a dead letter');
    await channel.publish(
      {
        exchange: DEAD_LETTERS,
        routingKey: HISTORY,
        messageId: (properties.messageId as string | undefined) ?? '',
        type: (properties.type as string | undefined) ?? '',
        contentType: (properties.contentType as string | undefined) ?? 'application/octet-stream',
        durable: true,
        mandatory: true,
        headers: headersOfDead(properties.headers ?? {}, reason),
      },
      content,
    );
  }
}

interface Pending {
  message: Message;
  read: ReadMessage;
}
