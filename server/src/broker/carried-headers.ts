const OWN = 'x-warren-';

/**
 * The headers of a job that is published again: Warren's own, and how it died, in the form in which RabbitMQ writes it.
 * Whoever published it may have written anything, and RabbitMQ acts on some of it: `CC` and `BCC` are further routing
 * keys, and before 4.0 a malformed `x-death` crashes the queue in which the job waits.
 */
export function carriedHeaders(headers: Record<string, unknown>): Record<string, unknown> {
  const own = Object.entries(headers).filter(([name]) => name.startsWith(OWN));
  const { 'x-death': said } = headers;
  const deaths = Array.isArray(said) ? said.filter(isDeath) : [];
  return { ...Object.fromEntries(own), ...(deaths.length > 0 && { 'x-death': deaths }) };
}

function isDeath(entry: unknown): boolean {
  const { queue, reason, count } = Object(entry) as Record<string, unknown>;
  return typeof queue === 'string' && typeof reason === 'string' && Number.isSafeInteger(count);
}
