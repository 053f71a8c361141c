import type { LoggerOptions } from 'pino';

type LogMethod = NonNullable<NonNullable<LoggerOptions['hooks']>['logMethod']>;

/** Lines of each text, a minute. */
const LINES = 60;
const WINDOW_MS = 60_000;
/** As pino counts levels. */
const INFO = 30;

/**
 * Bounds what is logged: a back end whose messages nobody can read, or a database that is away while thousands ask,
 * must not fill a disk. Of each text so many lines a minute are written, then how many were not. Who asks for `debug`
 * gets all of it.
 *
 * @returns a hook of pino's.
 */
export function limitLines(): LogMethod {
  const written = new Map<string, number>();
  return function (args, method, level) {
    const text = args.find((arg) => typeof arg === 'string');
    if (text === undefined || level < INFO) {
      method.apply(this, args);
      return;
    }
    const key = `${String(level)} ${text}`;
    const count = written.get(key) ?? 0;
    written.set(key, count + 1);
    if (count < LINES) method.apply(this, args);
    if (count > 0) return;
    const tellRest = (): void => {
      const omitted = (written.get(key) ?? 0) - LINES;
      written.delete(key);
      if (omitted > 0) method.apply(this, [{ omitted }, text]);
    };
    setTimeout(tellRest, WINDOW_MS).unref();
  };
}
