/** So long a number may have lost digits. Most bodies have none, and are looked at no further. */
const SUSPICIOUS = /\d{16}|[eE][+-]?\d{2}/;
/**
 * Strings first, so that what looks like a number in one is passed over. One that does not end is taken to the end of
 * the text: looked through anew from each quote in it, it would take minutes.
 */
const TOKENS = /"(?:[^"\\]|\\[\s\S])*(?:"|\\?$)|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/**
 * Whether all numbers of a JSON text are the same once they are read: an integer beyond 2^53 may become its
 * neighbour, 1e400 infinity, and 1e-400 zero. A fraction is rounded to the nearest double, as by all readers of JSON.
 */
export function keepsNumbers(text: string): boolean {
  if (!SUSPICIOUS.test(text)) return true;
  for (const [token] of text.matchAll(TOKENS)) {
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
