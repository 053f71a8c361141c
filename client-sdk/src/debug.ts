/**
 * What a client does, in one line each: for the console of whoever develops an application, or for its log.
 *
 * @module @warren/client/debug
 */
import type { Client, EventMap } from './client.js';

/**
 * Tells of states and what led to them, of this tab's part, of messages and how they ended in this tab, and of gaps.
 * Listens to no event that says something when nobody listens (`error`, `unhandled`).
 * Never a payload or a token; types and ids of messages are in it.
 * @param log where each line goes. Default: `console.debug`.
 * @returns an idempotent function that ends it.
 */
export function debug<Events extends EventMap>(
  client: Client<Events>,
  log: (line: string) => void = (line) => {
    console.debug(line);
  },
): () => void {
  const say = (line: string): void => {
    // Types and names come from outside; a line is to stay one.
    log(
      `warren ${client.deviceId}: ${line.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, ' ').slice(0, MOST_CHARACTERS)}`,
    );
  };
  let { role, receiving } = client.getSnapshot();
  const ends = [
    client.on('state', ({ previous, current, reason, retryAt }) => {
      const why = reason === undefined ? '' : `: ${reason.code}: ${reason.message}`;
      const next =
        retryAt === undefined ? '' : `; next attempt at ${new Date(retryAt).toISOString()}`;
      say(`${previous} -> ${current}${why}${next}`);
    }),
    client.subscribe(() => {
      const now = client.getSnapshot();
      if (now.role === role && now.receiving === receiving) return;
      ({ role, receiving } = now);
      say(`tab: ${role}, ${receiving ? 'receives' : 'does not receive'}`);
    }),
    client.on('handled', ({ id = 'without an id', type, tookMs, error, name = '' }) => {
      const how = error === undefined ? 'handled' : `rejected (${error} ${name})`;
      say(`message ${id} of type ${type}: ${how} in ${String(tookMs)} ms`);
    }),
    client.on('gap', ({ reason, recovered }) => {
      say(`gap: ${reason}, ${String(recovered)} recovered`);
    }),
  ];
  return () => {
    for (const end of ends) end();
  };
}

/** Of a line: a message's type and id are not the SDK's. */
const MOST_CHARACTERS = 500;
