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
  const value = headers[BROKERS_HEADER];
  if (!Array.isArray(value)) return [];
  return value
    .slice(0, MOST)
    .map(toDeath)
    .filter((death) => death !== undefined);
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
