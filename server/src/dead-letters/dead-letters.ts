import {
  deviceKeys,
  TRACK_HEADER,
  type DeadLetter,
  type DeadLetterDetail,
  type DeadLettersBody,
  type DeadLettersDone,
  type DeadLettersQuery,
  type DeadLettersReply,
  type NamePrefixes,
} from '@warren/protocol';
import { PUSH, RETRY } from '@warren/rabbitmq';
import type { Counter } from 'prom-client';
import { carriedHeaders, REASON_HEADER, type Job } from '../broker/job.js';
import { FairLimit } from '../fair-limit.js';
import { HttpProblem } from '../problem.js';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';
import type { DeadLetterStore, StoredDeadLetter } from '../storage/dead-letters.js';
import { UNCLAIMED, type DeviceStore } from '../storage/devices.js';
import { deathOf, fingerprintOf, type Cause } from './letter.js';
import { DeadLetterQueue, type Letter } from './queue.js';

export interface DeadLettersOptions {
  store: DeadLetterStore;
  devices: DeviceStore;
  queue: DeadLetterQueue;
  channel: ConfirmChannel;
  /** The direct exchange. */
  exchange: string;
  prefixes: NamePrefixes;
  counter: Counter<'reason'>;
}

/** In one go; more are found when it is asked for again. */
const AT_ONCE = 10_000;
const MAX_SHOWN_BYTES = 64 * 1024;
/** Of one who asks, and for each of whom there is a connection to whoever asked. */
const MOST_WAITING = 8;
/** On a message that was sent again: under which id it was a dead letter. */
const RESENT_HEADER = 'x-warren-resent';

/** Messages that were given up, for an operator to look at, to send again, or to throw away. */
export class DeadLetters {
  readonly #options: DeadLettersOptions;
  /** One at a time looks through the queue, and whoever has much to look at waits behind himself. */
  readonly #line = new FairLimit(1, 1);

  constructor(options: DeadLettersOptions) {
    this.#options = options;
  }

  /** Writes down that there is one. */
  async note(
    { headers, messageId, type, routingKey, content }: Job,
    { reason, queue }: Cause,
  ): Promise<void> {
    const { store, devices, counter } = this.#options;
    const device = await devices.findByQueue(queue);
    const detail = headers[REASON_HEADER];
    await store.add({
      at: Date.now(),
      reason,
      queue,
      userId: device?.user_id,
      deviceId: device?.device_id === UNCLAIMED ? undefined : device?.device_id,
      messageId,
      type,
      size: content.length,
      // Of a message that has died its publisher may have written it.
      detail: reason === 'job' && typeof detail === 'string' ? detail : undefined,
      fingerprint: fingerprintOf(headers, { routingKey, messageId }),
    });
    counter.inc({ reason });
  }

  async list({ after, limit, ...filter }: DeadLettersQuery): Promise<DeadLettersReply> {
    const { store } = this.#options;
    const letters = await store.list(filter, { after, limit });
    const total = await store.count(filter);
    const next = letters.length === limit ? letters.at(-1)?.id : undefined;
    return { letters: letters.map(toPublic), total, ...(next !== undefined && { next }) };
  }

  /** @throws {HttpProblem} `dead_letter_unknown`, `dead_letters_busy`, `broker_unavailable` */
  async look(id: number, caller: string): Promise<DeadLetterDetail> {
    const { store } = this.#options;
    const [entry] = await store.listByIds([id]);
    if (entry === undefined) throw new HttpProblem('dead_letter_unknown');
    let letter: Letter | undefined;
    await this.#find(caller, new Map([[entry.fingerprint, 1]]), (found) => {
      letter = found;
      return Promise.resolve(false);
    });
    if (letter === undefined) {
      await store.settle([id], 'gone');
      throw new HttpProblem('dead_letter_unknown');
    }
    const { contentType, headers } = letter;
    const body = readable(letter.body);
    return {
      ...toPublic(entry),
      size: letter.body.length,
      ...(body !== undefined && { body }),
      ...(contentType !== undefined && { contentType }),
      headers,
    };
  }

  /**
   * To the same device, under a new id: under the old one the device knows it, and would reject it again.
   * Of work that nobody could do, to the queue that it was in.
   * @throws {HttpProblem} `dead_letters_busy`, `broker_unavailable`; what was done by then is.
   */
  async resend(body: DeadLettersBody, caller: string): Promise<DeadLettersDone> {
    return this.#each(body, caller, 'resent', (entry, letter) => this.#send(entry, letter));
  }

  /** @throws {HttpProblem} as {@link resend} */
  async discard(body: DeadLettersBody, caller: string): Promise<DeadLettersDone> {
    return this.#each(body, caller, 'discarded', () => Promise.resolve(true));
  }

  /** @throws {HttpProblem} `dead_letters_busy` for who waits behind himself already. */
  #find(caller: string, ...what: Parameters<DeadLetterQueue['find']>): Promise<void> {
    if (this.#line.waitingOf(caller) >= MOST_WAITING) throw new HttpProblem('dead_letters_busy');
    return this.#line.run(caller, () => this.#options.queue.find(...what));
  }

  async #each(
    body: DeadLettersBody,
    caller: string,
    state: 'resent' | 'discarded',
    work: (entry: StoredDeadLetter, letter: Letter) => Promise<boolean>,
  ): Promise<DeadLettersDone> {
    const { store } = this.#options;
    const entries =
      'ids' in body ? await store.listByIds(body.ids) : await store.list(body, { limit: AT_ONCE });
    const asked = 'ids' in body ? body.ids.length : entries.length;
    if (entries.length === 0) return { done: 0, unreachable: 0, gone: asked };
    const open = new Map<string, StoredDeadLetter[]>();
    for (const entry of entries) {
      open.set(entry.fingerprint, [...(open.get(entry.fingerprint) ?? []), entry]);
    }
    const done: number[] = [];
    let unreachable = 0;
    try {
      await this.#find(caller, countsOf(entries), async (letter) => {
        const entry = open.get(letter.fingerprint)?.pop();
        if (entry === undefined) return false;
        if (await work(entry, letter)) {
          done.push(entry.id);
          return true;
        }
        unreachable++;
        return false;
      });
    } finally {
      await store.settle(done, state);
    }
    const missing = [...open.values()].flat().map(({ id }) => id);
    await store.settle(missing, 'gone');
    return { done: done.length, unreachable, gone: asked - done.length - unreachable };
  }

  /** @returns whether there was anybody to send it to. */
  async #send(entry: StoredDeadLetter, letter: Letter): Promise<boolean> {
    const { queue, reason, userId, deviceId } = entry;
    const { exchange, prefixes } = this.#options;
    if (reason === 'job') {
      // Noted by a server that believed its publisher.
      if (deathOf(letter.headers) !== undefined) return false;
      // That a push has failed is final, and its sender has been told.
      if (queue.startsWith(PUSH)) return false;
      return this.#publish(RETRY, queue, letter, letter.messageId ?? '');
    }
    const id = newIdOf(entry);
    if (await this.#publish(exchange, queue, letter, id)) return true;
    // The device has another mailbox now.
    if (userId === undefined || deviceId === undefined) return false;
    const { mail } = deviceKeys(userId, deviceId, prefixes);
    return this.#publish(exchange, mail, letter, id);
  }

  async #publish(
    exchange: string,
    routingKey: string,
    letter: Letter,
    messageId: string,
  ): Promise<boolean> {
    const { type = '', contentType = 'application/octet-stream', correlationId } = letter;
    const routing = await this.#options.channel.publish(
      {
        exchange,
        routingKey,
        messageId,
        type,
        contentType,
        durable: true,
        mandatory: true,
        ...(correlationId !== undefined && { correlationId }),
        headers: {
          ...withoutTracking(carriedHeaders(letter.headers)),
          ...(letter.messageId !== undefined && { [RESENT_HEADER]: letter.messageId }),
        },
      },
      letter.body,
    );
    return routing === 'routed';
  }
}

/**
 * The same whenever the same dead letter is sent again: should this be broken off after the publish, the
 * device handles it once.
 */
const newIdOf = ({ id, fingerprint }: StoredDeadLetter): string =>
  `resent-${fingerprint.slice(0, 16)}-${String(id)}`;

/** Nobody follows it under its new id. */
function withoutTracking({
  [TRACK_HEADER]: _,
  ...headers
}: Record<string, unknown>): Record<string, unknown> {
  return headers;
}

function countsOf(entries: StoredDeadLetter[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { fingerprint } of entries) {
    counts.set(fingerprint, (counts.get(fingerprint) ?? 0) + 1);
  }
  return counts;
}

function readable(body: Buffer): string | undefined {
  try {
    const shown = body.subarray(0, MAX_SHOWN_BYTES);
    // A character that is cut in two at the end is no reason to show nothing.
    return new TextDecoder('utf-8', { fatal: true }).decode(shown, { stream: true });
  } catch {
    return undefined;
  }
}

const toPublic = (entry: StoredDeadLetter): DeadLetter => ({
  id: entry.id,
  at: new Date(entry.at).toISOString(),
  reason: entry.reason,
  queue: entry.queue,
  ...(entry.userId !== undefined && { user: entry.userId }),
  ...(entry.deviceId !== undefined && { deviceId: entry.deviceId }),
  ...(entry.messageId !== undefined && { messageId: entry.messageId }),
  ...(entry.type !== undefined && { type: entry.type }),
  size: entry.size,
  ...(entry.detail !== undefined && { detail: entry.detail }),
});
