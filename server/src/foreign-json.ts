/** So deep may arrays and objects stand in each other: whoever reads it with care stops somewhere, many at 100 or 128. */
export const MAX_JSON_DEPTH = 128;

const BAD_NUMBER =
  'A number does not fit into the double that JSON is read into: send it as a string.';
const TOO_DEEP = `Arrays and objects may stand in each other up to ${String(MAX_JSON_DEPTH)} deep.`;

/** So long a number may have lost digits. Most bodies have none, and are looked at no further. */
const SUSPICIOUS = /\d{16}|[eE][+-]?\d{2}/;
/**
 * Strings first, so that what looks like a number in one is passed over. One that does not end is taken to the end of
 * the text: looked through anew from each quote in it, it would take minutes.
 */
const TOKENS = /"(?:[^"\\]|\\[\s\S])*(?:"|\\?$)|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Why a JSON text cannot be taken whose sender nobody knows; undefined when it can, should it be JSON. */
export function flawIn(json: string): string | undefined {
  if (!keepsNumbers(json)) return BAD_NUMBER;
  return isTooDeep(json) ? TOO_DEEP : undefined;
}

/**
 * Whether all numbers of a JSON text are the same once they are read: an integer beyond 2^53 may become its
 * neighbour, 1e400 infinity, and 1e-400 zero. A fraction is rounded to the nearest double, as by all readers of JSON.
 */
function keepsNumbers(json: string): boolean {
  if (!SUSPICIOUS.test(json)) return true;
  for (const [token] of json.matchAll(TOKENS)) {
    if (!token.startsWith('"') && !isKept(token)) return false;
  }
  return true;
}

function isKept(token: string): boolean {
  const value = Number(token);
  const isZero = !/[1-9]/.test(token.split(/[eE]/, 1)[0] ?? '');
  if (!Number.isFinite(value) || (value === 0 && !isZero)) return false;
  return !/^-?\d+$/.test(token) || BigInt(token) === BigInt(value);
}

/** `JSON.parse` reads any depth; what it has read cannot be written again, nor be handed to another thread. */
function isTooDeep(json: string): boolean {
  let depth = 0;
  for (let at = 0; at < json.length; at++) {
    const character = json[at];
    if (character === '"') at = endOfString(json, at);
    else if (character === '[' || character === '{') {
      if (++depth > MAX_JSON_DEPTH) return true;
    } else if (character === ']' || character === '}') depth--;
  }
  return false;
}

/**
 * As {@link flawIn}, for what somebody else has parsed: digits that were lost on the way are not seen.
 */
export function flawInParsed(body: unknown): string | undefined {
  let level = [body];
  for (let depth = 0; level.length > 0; depth++) {
    if (level.includes(Infinity) || level.includes(-Infinity)) return BAD_NUMBER;
    level = level.filter((value) => typeof value === 'object' && value !== null);
    if (depth >= MAX_JSON_DEPTH && level.length > 0) return TOO_DEEP;
    level = level.flatMap((value) => Object.values(value as object) as unknown[]);
  }
  return undefined;
}

/** Where the string that begins here ends; the end of the text when it does not. */
function endOfString(json: string, start: number): number {
  for (let at = start + 1; at < json.length; at++) {
    if (json[at] === '\\') at++;
    else if (json[at] === '"') return at;
  }
  return json.length;
}
