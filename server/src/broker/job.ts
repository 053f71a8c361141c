import type { Message } from 'amqplib';
import { DEAD_LETTERS, EVENTS, REPLIES, RETRY } from '@warren/rabbitmq';
import { deathsIn } from './deaths.js';

/** What a work queue holds. */
export interface Job {
  /** The bytes that were published; {@link jsonIn} reads them. */
  content: Buffer;
  /** Without what a publisher is not to decide: see {@link trustedHeaders}. */
  headers: Record<string, unknown>;
  messageId: string | undefined;
  type: string | undefined;
  contentType: string | undefined;
  correlationId: string | undefined;
  routingKey: string;
  /** Whether nobody published it here: see {@link wasForwarded}. */
  isForwarded: boolean;
  /** The account that published it; only when it says so, which the broker checks. */
  account: string | undefined;
  /** 1 for the first. */
  attempt: number;
  /** Not to be done before, in milliseconds since 1970. */
  dueAt: number;
}

/** A job that no further attempt would help. */
export class RefusedJob extends Error {
  override readonly name = 'RefusedJob';
}

/** A job whose time has not come. */
export class PostponedJob extends Error {
  override readonly name = 'PostponedJob';
  /** @param at when it is to come again, in milliseconds since 1970. */
  constructor(readonly at: number) {
    super('The job is to come again later.');
  }
}

/** On a job that waits: until when, in milliseconds since 1970. */
export const DUE_HEADER = 'x-warren-due';
/** On a dead letter, why it is one. */
export const REASON_HEADER = 'x-warren-reason';
const ATTEMPT_HEADER = 'x-warren-attempt';
/** Who published it; the broker lets nobody but that account say so in the property. */
const ACCOUNT_HEADER = 'x-warren-account';
/** What belongs to the job, and not to what it is about. */
const BOOKKEEPING = [DUE_HEADER, REASON_HEADER, ATTEMPT_HEADER, ACCOUNT_HEADER];
const IS_DEATH = /^x-(first-|last-)?death/;
/** Further routing keys, which the broker would follow again with the rights of whoever publishes it again. */
const ROUTING = ['CC', 'BCC'];
/** A frame has 128 KB, and a message that does not fit ends the connection of all others. */
const MAX_CARRIED_CHARACTERS = 32_768;

/**
 * Back ends write headers, too. How often a job was tried, and what it waits for, is believed of what came by the
 * exchange that only servers and the queues of waiting jobs write to; where a message died, of what came by that
 * of the dead letters as well.
 */
export function trustedHeaders({ fields, properties }: Message): Record<string, unknown> {
  const headers = (properties.headers ?? {}) as Record<string, unknown>;
  const { exchange } = fields;
  if (exchange === RETRY) return headers;
  const isTrusted = (name: string): boolean =>
    exchange === DEAD_LETTERS && (name === REASON_HEADER || IS_DEATH.test(name));
  return filtered(headers, (name) => isTrusted(name) || !isActedOn(name));
}

/** Of a message that is published again: nothing that the broker or a server would act on, and not too much. */
export function carriedHeaders(headers: Record<string, unknown>): Record<string, unknown> {
  const carried = filtered(headers, (name) => !isActedOn(name));
  return charactersOf(carried) > MAX_CARRIED_CHARACTERS ? {} : carried;
}

const isActedOn = (name: string): boolean =>
  IS_DEATH.test(name) || ROUTING.includes(name) || BOOKKEEPING.includes(name);

const filtered = (
  headers: Record<string, unknown>,
  keeps: (name: string) => boolean,
): Record<string, unknown> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => keeps(name)));

function charactersOf(headers: Record<string, unknown>): number {
  try {
    return JSON.stringify(headers).length;
  } catch {
    // Tables in tables in tables.
    return Infinity;
  }
}

/** What the queues and exchanges of back ends' accounts are called. */
const OF_BACKENDS = [EVENTS, REPLIES];

/**
 * Whether the broker brought it from something that a back end reads, not from a publisher: an account may bind
 * `warren.send`, to which it writes, to `warren.events`, and have it take the dead letters of its own queues. What
 * servers tell would come back to them as something to tell of, for ever.
 */
function wasForwarded({ fields, properties }: Message): boolean {
  // Of what waits, it was seen when it came first.
  if (fields.exchange === RETRY) return false;
  const [death] = deathsIn(properties.headers ?? {});
  const places = [fields.exchange, death?.queue ?? ''];
  return places.some((place) =>
    OF_BACKENDS.some((name) => place === name || place.startsWith(`${name}.`)),
  );
}

export function toJob(message: Message): Job {
  const { content, fields, properties } = message;
  const headers = trustedHeaders(message);
  const account = headers[ACCOUNT_HEADER];
  return {
    content,
    headers,
    messageId: text(properties.messageId),
    type: text(properties.type),
    contentType: text(properties.contentType),
    correlationId: text(properties.correlationId),
    routingKey: fields.routingKey,
    isForwarded: wasForwarded(message),
    account: text(properties.userId) ?? text(account),
    attempt: Math.max(1, wholeNumber(headers[ATTEMPT_HEADER])),
    dueAt: wholeNumber(headers[DUE_HEADER]),
  };
}

/** Of a job that comes again. */
export function headersOfNext(job: Job, dueAt: number, attempt: number): Record<string, unknown> {
  return {
    ...carriedHeaders(job.headers),
    ...(job.account !== undefined && { [ACCOUNT_HEADER]: job.account }),
    [ATTEMPT_HEADER]: String(attempt),
    [DUE_HEADER]: String(dueAt),
  };
}

/** Of a job that became a dead letter: no death of a message. */
export const headersOfDead = (
  headers: Record<string, unknown>,
  reason: string,
): Record<string, unknown> => ({ ...carriedHeaders(headers), [REASON_HEADER]: reason });

/** Undefined for what is no JSON. */
export function jsonIn({ content }: Pick<Job, 'content'>): unknown {
  try {
    return JSON.parse(content.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** Without it, some libraries send an empty one. */
const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

function wholeNumber(value: unknown): number {
  const number = Number(value ?? 0);
  return Number.isSafeInteger(number) ? number : 0;
}
