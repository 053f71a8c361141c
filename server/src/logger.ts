import { pino, type DestinationStream, type Logger } from 'pino';
import { limitLines } from './log-budget.js';

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'silent';

/**
 * JSON lines on standard output, of each kind so many a minute. Whatever might carry a secret is cut out by name;
 * nothing that Warren logs holds a payload.
 */
export function createLogger(level: LogLevel, destination?: DestinationStream): Logger {
  const options = {
    level,
    redact: {
      paths: ['authorization', 'cookie', 'token', 'password', 'secret']
        .flatMap((name) => [name, `*.${name}`, `*.*.${name}`])
        .concat('req.headers'),
      remove: true,
    },
    hooks: { logMethod: limitLines() },
    serializers: {
      err: (error: unknown) => describe(error),
    },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

interface ErrorDescription {
  name: string;
  message: string;
  code?: unknown;
  stack?: string | undefined;
  cause?: ErrorDescription;
}

/** An error without the properties that libraries hang on it: requests, headers, options. */
function describe(error: unknown): ErrorDescription {
  if (!(error instanceof Error)) return { name: 'unknown', message: 'not an Error' };
  return {
    name: error.name,
    message: withoutCredentials(error.message),
    ...('code' in error && { code: error.code }),
    stack: error.stack === undefined ? undefined : withoutCredentials(error.stack),
    ...(error.cause !== undefined && { cause: describe(error.cause) }),
  };
}

const withoutCredentials = (text: string): string =>
  text.replace(/(\w+:\/\/)[^@/\s]+@/g, '$1***@').replace(/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, '***');
