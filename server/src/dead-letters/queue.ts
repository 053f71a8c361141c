import { setTimeout as wait } from 'node:timers/promises';
import amqp, { type ChannelModel, type Channel, type ConsumeMessage } from 'amqplib';
import { keepUnreadable } from '@warren/protocol/amqp';
import { DEAD_LETTERS } from '@warren/rabbitmq';
import { trustedHeaders } from '../broker/job.js';
import { HttpProblem } from '../problem.js';
import { fingerprintOf } from './letter.js';

/** What lies in the queue, byte by byte as it came. */
export interface Letter {
  fingerprint: string;
  body: Buffer;
  type: string | undefined;
  contentType: string | undefined;
  correlationId: string | undefined;
  messageId: string | undefined;
  headers: Record<string, unknown>;
}

/** Nothing more has come for so long: whatever was counted has expired meanwhile. */
const QUIET_MS = 1000;
/** A hundred thousand dead letters come in a few seconds. */
const TIMEOUT_MS = 60_000;
/** How long it waits for who has the queue in hand; and until it asks again, more or less. */
const PATIENCE_MS = 4000;
const RETRY_MS = 50;

/**
 * Looks through the queue of dead letters for some of them. RabbitMQ hands messages out from the front alone,
 * so it takes all up to the last one that is wanted, keeps what is done, and gives the others back, in their
 * old order.
 */
export class DeadLetterQueue {
  readonly #amqpUrl: string;

  constructor(amqpUrl: string) {
    this.#amqpUrl = amqpUrl;
  }

  /**
   * @param wanted fingerprints, and how many of each.
   * @param take called with each that is found, one after the other; true removes it from the queue.
   * @throws {HttpProblem} `dead_letters_busy` when somebody else looks through it and does not end; `broker_unavailable`.
   */
  async find(
    wanted: Map<string, number>,
    take: (letter: Letter) => Promise<boolean>,
  ): Promise<void> {
    const giveUpAt = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        await this.#findNow(wanted, take);
        return;
      } catch (error) {
        const isBusy = error instanceof HttpProblem && error.code === 'dead_letters_busy';
        if (!isBusy || performance.now() > giveUpAt) throw error;
      }
      // Another server, whose operator has not finished. Nothing was taken yet.
      await wait(RETRY_MS * (0.5 + Math.random()));
    }
  }

  async #findNow(
    wanted: Map<string, number>,
    take: (letter: Letter) => Promise<boolean>,
  ): Promise<void> {
    const connection = await connect(this.#amqpUrl);
    try {
      const channel = await connection.createChannel();
      // Refused while another one consumes, which closes the channel; the answer says so.
      channel.on('error', () => undefined);
      const found = await collect(channel, new Map(wanted));
      for (const message of found) {
        if (await take(toLetter(message))) channel.ack(message);
      }
      // What is not acked goes back.
      await channel.close();
    } catch (error) {
      throw toProblem(error);
    } finally {
      await connection.close().catch(() => undefined);
    }
  }
}

async function connect(amqpUrl: string): Promise<ChannelModel> {
  try {
    const connection = await amqp.connect(amqpUrl, {
      timeout: 4000,
      clientProperties: { connection_name: 'warren dead letters' },
    });
    connection.on('error', () => undefined);
    keepUnreadable(connection);
    return connection;
  } catch (error) {
    throw new HttpProblem('broker_unavailable', undefined, { cause: error });
  }
}

/** Resolves with what is wanted, or what there was of it. */
async function collect(channel: Channel, missing: Map<string, number>): Promise<ConsumeMessage[]> {
  const { messageCount } = await channel.checkQueue(DEAD_LETTERS);
  const found: ConsumeMessage[] = [];
  await new Promise<void>((resolve, reject) => {
    let seen = 0;
    let quiet = setTimeout(resolve, QUIET_MS);
    const late = setTimeout(resolve, TIMEOUT_MS);
    const stop = (settle: () => void): void => {
      clearTimeout(quiet);
      clearTimeout(late);
      settle();
    };
    channel.once('error', (error: unknown) => {
      stop(() => {
        reject(error instanceof Error ? error : new Error('unknown', { cause: error }));
      });
    });
    const onMessage = (message: ConsumeMessage | null): void => {
      if (message === null || missing.size === 0) return;
      const fingerprint = fingerprintOfMessage(message);
      const count = missing.get(fingerprint) ?? 0;
      if (count > 0) {
        found.push(message);
        if (count === 1) missing.delete(fingerprint);
        else missing.set(fingerprint, count - 1);
      }
      clearTimeout(quiet);
      if (++seen >= messageCount || missing.size === 0) stop(resolve);
      else quiet = setTimeout(resolve, QUIET_MS);
    };
    channel.consume(DEAD_LETTERS, onMessage, { exclusive: true }).then(
      () => {
        // Asked even of an empty queue: somebody else may have all of it in hand.
        if (messageCount === 0) stop(resolve);
      },
      (error: unknown) => {
        stop(() => {
          reject(error instanceof Error ? error : new Error('unknown', { cause: error }));
        });
      },
    );
  });
  // What has not come is gone only if nothing is left: a broker that stalls has not lost it.
  if (missing.size > 0 && (await channel.checkQueue(DEAD_LETTERS)).messageCount > 0) {
    const why = 'The dead letters could not all be looked through in time; nothing was changed.';
    throw new HttpProblem('broker_unavailable', why);
  }
  return found;
}

const fingerprintOfMessage = (message: ConsumeMessage): string =>
  fingerprintOf(trustedHeaders(message), {
    routingKey: message.fields.routingKey,
    messageId: text(message.properties.messageId),
  });

const text = (value: unknown): string | undefined =>
  typeof value === 'string' ? value : undefined;

const toLetter = (message: ConsumeMessage): Letter => ({
  fingerprint: fingerprintOfMessage(message),
  body: message.content,
  type: text(message.properties.type),
  contentType: text(message.properties.contentType),
  correlationId: text(message.properties.correlationId),
  messageId: text(message.properties.messageId),
  headers: trustedHeaders(message),
});

function toProblem(error: unknown): Error {
  if (error instanceof HttpProblem) return error;
  const { code } = Object(error) as { code?: unknown };
  if (code === 403) return new HttpProblem('dead_letters_busy', undefined, { cause: error });
  return new HttpProblem('broker_unavailable', undefined, { cause: error });
}
