import { createHash } from 'node:crypto';
import type { DeadReason } from '@warren/protocol';
import { WAIT_PREFIX } from '@warren/rabbitmq';
import { deathsIn, type Death } from '../broker/deaths.js';
import { REASON_HEADER, type Job } from '../broker/job.js';

/** RabbitMQ's reasons for a dead letter. */
const REASONS = new Map<string, Exclude<DeadReason, 'job'>>([
  ['expired', 'expired'],
  ['maxlen', 'overflowed'],
  ['rejected', 'rejected'],
  ['delivery_limit', 'rejected'],
]);

/** Why a message was given up, and by which queue. */
export interface Cause {
  reason: DeadReason;
  queue: string;
}

/** The newest death that is one: a job that was tried again has died in the queues where it waited, too. */
export const deathOf = (headers: Record<string, unknown>): Death | undefined =>
  deathsIn(headers).find(({ queue }) => !queue.startsWith(WAIT_PREFIX));

/**
 * Undefined when it cannot be told. The broker's word comes first: whoever published a message that has died in a
 * mailbox may have written on it that it is a job.
 */
export function causeOf(headers: Record<string, unknown>, routingKey: string): Cause | undefined {
  const death = deathOf(headers);
  if (death === undefined) {
    // A worker has put it here by hand, without any.
    return headers[REASON_HEADER] === undefined ? undefined : { reason: 'job', queue: routingKey };
  }
  const reason = REASONS.get(death.reason);
  return reason && { reason, queue: death.queue };
}

/** The same of the same dead letter, whenever and by whichever server it is taken. */
export function fingerprintOf({ headers, routingKey, messageId, content }: Job): string {
  const deaths = deathsIn(headers).map((death) => [
    death.queue,
    death.reason,
    death.exchange,
    death['routing-keys'],
    death.time,
  ]);
  const said = JSON.stringify([deaths, routingKey, messageId ?? null, headers[REASON_HEADER]]);
  return createHash('sha256').update(said).update(content).digest('base64url');
}
