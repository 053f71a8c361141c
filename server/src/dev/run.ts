import { parseArgs } from 'node:util';
import { up, type Running, type UpOptions } from './up.js';

interface Flags {
  port?: number;
  dataDir?: string;
}

/** Reads `--port N --data-dir DIR`. @throws {TypeError} for anything else. */
export function readFlags(args: string[]): Flags {
  const { values } = parseArgs({
    args,
    options: { port: { type: 'string' }, 'data-dir': { type: 'string' } },
  });
  const port = values.port === undefined ? undefined : Number(values.port);
  if (port !== undefined && !(Number.isInteger(port) && port >= 1 && port <= 65535)) {
    throw new TypeError('--port must be a number from 1 to 65535.');
  }
  const dataDir = values['data-dir'];
  return { ...(port !== undefined && { port }), ...(dataDir !== undefined && { dataDir }) };
}

/**
 * Runs {@link up} as a program in the foreground: until Ctrl-C, SIGTERM or SIGHUP, when it stops all
 * that it started. A failure is one message with what to do, and exit code 1.
 */
export async function runUp(
  options: UpOptions,
  onReady: (running: Running) => Promise<void> | void,
): Promise<void> {
  const starting = up({
    onProgress: (text) => {
      process.stdout.write(`  ${text} …\n`);
    },
    ...options,
  });
  let stopping = false;
  const stop = (): void => {
    // A second Ctrl-C would leave the broker behind; stopping ends by itself.
    if (stopping) return;
    stopping = true;
    process.stdout.write('\n  Stopping …\n');
    starting
      .then((running) => running.stop())
      .catch(() => undefined)
      .finally(() => process.exit());
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  try {
    await onReady(await starting);
  } catch (error) {
    fail(error);
  }
}

/** Says what happened and what to do, and sets the exit code. */
export function fail(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  const remedy =
    error instanceof Error && 'remedy' in error && typeof error.remedy === 'string'
      ? `\n  ${error.remedy}`
      : '';
  process.stderr.write(`\n  Warren could not start. ${message}${remedy}\n\n`);
  process.exitCode = 1;
}
