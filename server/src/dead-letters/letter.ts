import { createHash } from 'node:crypto';
import type { DeadReason } from '@warren/protocol';
import { WAIT_PREFIX } from '@warren/rabbitmq';
import { REASON_HEADER } from '../broker/work-queues.js';

/** An entry of the header `x-death`. */
export interface Death {
  queue?: string;
  reason?: string;
  exchange?: string;
  'routing-keys'?: string[];
  'original-expiration'?: string;
  /** Seconds since 1970; libraries disagree on how to show it. */
  time?: unknown;
}

/** RabbitMQ's reasons for a dead letter. */
const REASONS: Record<string, Exclude<DeadReason, 'job'>> = {
  expired: 'expired',
  maxlen: 'overflowed',
  rejected: 'rejected',
  delivery_limit: 'rejected',
};

/** Why a message was given up, and by which queue. */
export interface Cause {
  reason: DeadReason;
  queue: string;
}

/** The newest death that is one: a job that was tried again has died in the queues where it waited, too. */
export function deathOf(headers: Record<string, unknown>): Death | undefined {
  const deaths = (headers['x-death'] ?? []) as Death[];
  return deaths.find(({ queue = '' }) => !queue.startsWith(WAIT_PREFIX));
}

/** Undefined when it cannot be told. */
export function causeOf(headers: Record<string, unknown>, routingKey: string): Cause | undefined {
  // A worker has put it here by hand.
  if (headers[REASON_HEADER] !== undefined) return { reason: 'job', queue: routingKey };
  const death = deathOf(headers);
  const reason = REASONS[death?.reason ?? ''];
  if (death?.queue === undefined || reason === undefined) return undefined;
  return { reason, queue: death.queue };
}

/**
 * The same of the same dead letter, whichever library reads it; two that share it say the same to the same
 * mailbox, so that either may stand for the other.
 */
export function fingerprintOf(
  headers: Record<string, unknown>,
  { routingKey, messageId }: { routingKey: string; messageId: string | undefined },
): string {
  const deaths = ((headers['x-death'] ?? []) as Death[]).map((death) => [
    death.queue,
    death.reason,
    death.exchange,
    death['routing-keys'],
    secondsOf(death.time),
  ]);
  const said = JSON.stringify([deaths, routingKey, messageId ?? null, headers[REASON_HEADER]]);
  return createHash('sha256').update(said).digest('base64url');
}

/** amqplib shows `{'!': 'timestamp', value}`, rabbitmq-client a number. */
function secondsOf(time: unknown): number {
  const value = time instanceof Date ? time.getTime() : time;
  if (typeof value === 'number') return value > 1e11 ? Math.floor(value / 1000) : value;
  return Number((Object(time) as { value?: unknown }).value ?? 0);
}
