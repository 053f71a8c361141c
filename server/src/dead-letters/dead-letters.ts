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
import type {
  DeadLetterContent,
  DeadLetterStore,
  NewDeadLetter,
  StoredDeadLetter,
} from '../storage/dead-letters.js';
import { UNCLAIMED, type Device, type DeviceStore } from '../storage/devices.js';
import { portions } from '../storage/portions.js';
import { deathOf, fingerprintOf, type Cause } from './letter.js';

export interface DeadLettersOptions {
  store: DeadLetterStore;
  devices: DeviceStore;
  channel: ConfirmChannel;
  /** The direct exchange. */
  exchange: string;
  prefixes: NamePrefixes;
  counter: Counter<'reason'>;
}

/** In one go; more are found when it is asked for again. */
const AT_ONCE = 10_000;
/** So many are in memory at a time. */
const PART = 50;
const MAX_SHOWN_BYTES = 64 * 1024;
/** Of one who has them sent again. */
const MOST_WAITING = 8;
/** On a message that was sent again: under which id it was a dead letter. */
const RESENT_HEADER = 'x-warren-resent';

type Letter = StoredDeadLetter & DeadLetterContent;

/** One that has come. */
export interface GivenUp {
  job: Job;
  cause: Cause;
  /** Whether it may have been kept already. */
  isRedelivered: boolean;
}

/** Messages that were given up, for an operator to look at, to send again, or to throw away. */
export class DeadLetters {
  readonly #options: DeadLettersOptions;
  /** One at a time: what somebody has just sent again is not to be sent by the next as well. */
  readonly #line = new FairLimit(1, 1);

  constructor(options: DeadLettersOptions) {
    this.#options = options;
  }

  async keep(letters: GivenUp[]): Promise<void> {
    const { store, devices, counter } = this.#options;
    const owners = new Map<string, Device | undefined>();
    for (const queue of new Set(letters.map(({ cause }) => cause.queue))) {
      owners.set(queue, await devices.findByQueue(queue));
    }
    const added = await store.add(letters.map((letter) => toNew(letter, owners)));
    for (const { reason } of added) counter.inc({ reason });
  }

  async list({ after, limit, ...filter }: DeadLettersQuery): Promise<DeadLettersReply> {
    const { store } = this.#options;
    const letters = await store.list(filter, { after, limit });
    const total = await store.count(filter);
    const next = letters.length === limit ? letters.at(-1)?.id : undefined;
    return { letters: letters.map(toPublic), total, ...(next !== undefined && { next }) };
  }

  /** @throws {HttpProblem} `dead_letter_unknown` */
  async look(id: number): Promise<DeadLetterDetail> {
    const [letter] = await this.details([id]);
    if (letter === undefined) throw new HttpProblem('dead_letter_unknown');
    return letter;
  }

  /** Of those that wait still, the oldest first. */
  async details(ids: number[]): Promise<DeadLetterDetail[]> {
    return (await this.#options.store.read(ids)).map(toDetail);
  }

  /**
   * To the same device, under a new id: under the old one the device knows it, and would reject it again.
   * Of work that nobody could do, to the queue that it was in.
   * @param caller whose requests wait for one another.
   * @throws {HttpProblem} `overloaded` @throws {PublishError} what was done by then is.
   */
  async resend(body: DeadLettersBody, caller: string): Promise<DeadLettersDone> {
    if (this.#line.waitingOf(caller) >= MOST_WAITING) throw new HttpProblem('overloaded');
    return this.#line.run(caller, () => this.#resend(body));
  }

  async #resend(body: DeadLettersBody): Promise<DeadLettersDone> {
    const { store } = this.#options;
    const { ids, asked } = await this.#chosen(body);
    let done = 0;
    let unreachable = 0;
    for (const part of portions(ids, PART)) {
      const sent: number[] = [];
      try {
        for (const letter of await store.read(part)) {
          if (await this.#send(letter)) sent.push(letter.id);
          else unreachable++;
        }
      } finally {
        done += await store.settle(sent, 'resent');
      }
    }
    return { done, unreachable, gone: asked - done - unreachable };
  }

  async discard(body: DeadLettersBody): Promise<DeadLettersDone> {
    const { ids, asked } = await this.#chosen(body);
    let done = 0;
    for (const part of portions(ids)) done += await this.#options.store.settle(part, 'discarded');
    return { done, unreachable: 0, gone: asked - done };
  }

  /** The oldest first, which was before the others in its mailbox. */
  async #chosen(body: DeadLettersBody): Promise<{ ids: number[]; asked: number }> {
    const ids =
      'ids' in body ? [...new Set(body.ids)] : await this.#options.store.listIds(body, AT_ONCE);
    const asked = 'ids' in body ? body.ids.length : ids.length;
    return { ids: ids.sort((a, b) => a - b), asked };
  }

  /** @returns whether there was anybody to send it to. */
  async #send(letter: Letter): Promise<boolean> {
    const { queue, reason, userId, deviceId } = letter;
    const { exchange, prefixes } = this.#options;
    if (reason === 'job') {
      // Noted by a server that believed its publisher.
      if (deathOf(letter.headers) !== undefined) return false;
      // That a push has failed is final, and its sender has been told.
      if (queue.startsWith(PUSH)) return false;
      return this.#publish(RETRY, queue, letter, letter.messageId ?? '');
    }
    const id = newIdOf(letter);
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
    const { type = '', contentType = 'application/octet-stream', correlationId, content } = letter;
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
      content,
    );
    return routing === 'routed';
  }
}

function toNew(
  { job, cause: { reason, queue }, isRedelivered }: GivenUp,
  owners: Map<string, Device | undefined>,
): NewDeadLetter {
  const { headers, messageId, type, content, contentType, correlationId } = job;
  const device = owners.get(queue);
  const detail = headers[REASON_HEADER];
  const entry = {
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
    fingerprint: fingerprintOf(job),
  };
  return { entry, content: { content, contentType, correlationId, headers }, isRedelivered };
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

function toDetail(letter: Letter): DeadLetterDetail {
  const { content, contentType, headers } = letter;
  const body = readable(content);
  return {
    ...toPublic(letter),
    ...(body !== undefined && { body }),
    ...(contentType !== undefined && { contentType }),
    headers,
  };
}
