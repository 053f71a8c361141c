/** An entry of the header `x-death`: where, why and how a message died. */
export interface Death {
  queue: string;
  reason: string;
  exchange?: string;
  'routing-keys'?: string[];
  'original-expiration'?: string;
  /** Seconds since 1970. */
  time: number;
}

/** Written by the broker, the newest death first; older brokers leave behind it what a publisher has put there. */
const BROKERS_HEADER = 'x-death';
/** A message has died in few queues, unless its publisher says so. */
const MOST = 32;

/** Those that can be one, the newest first. */
export function deathsIn(headers: Record<string, unknown>): Death[] {
  const value = brokersIn(headers);
  if (!Array.isArray(value)) return [];
  return value
    .slice(0, MOST)
    .map(toDeath)
    .filter((death) => death !== undefined);
}

/**
 * By AMQP 1.0 a consumer may put a text there as it gives a message back (from 4.0 on, of quorum queues). Its last death
 * the broker has written beside it.
 */
function brokersIn(headers: Record<string, unknown>): unknown {
  const deaths = headers[BROKERS_HEADER];
  if (deaths === undefined || Array.isArray(deaths)) return deaths;
  const { 'x-last-death-queue': queue, 'x-last-death-reason': reason } = headers;
  return [{ queue, reason }];
}

function toDeath(value: unknown): Death | undefined {
  const { queue, reason, exchange, time, ...rest } = Object(value) as Record<string, unknown>;
  if (typeof queue !== 'string' || typeof reason !== 'string') return undefined;
  const keys = rest['routing-keys'];
  const expiration = rest['original-expiration'];
  return {
    queue,
    reason,
    time: secondsOf(time),
    ...(typeof exchange === 'string' && { exchange }),
    ...(isTexts(keys) && { 'routing-keys': keys }),
    ...(typeof expiration === 'string' && { 'original-expiration': expiration }),
  };
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((entry) => typeof entry === 'string');

/** amqplib shows `{'!': 'timestamp', value}`, rabbitmq-client a number. */
function secondsOf(time: unknown): number {
  const value = time instanceof Date ? time.getTime() : time;
  if (typeof value === 'number') return value > 1e11 ? Math.floor(value / 1000) : value;
  return Number((Object(time) as { value?: unknown }).value ?? 0) || 0;
}
