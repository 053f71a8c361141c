import { parseArgs } from 'node:util';
import { CommandError } from '../command-error.js';
import { up, type Running, type UpOptions } from './up.js';

type Flags = Pick<UpOptions, 'port' | 'dataDir' | 'host' | 'allowClientSends'>;

const HELP = `
  Starts a private RabbitMQ and a Warren server on it, until Ctrl-C.

    --port N        the server's port; that of the last start, at first 8080 or a free one
    --host ADDRESS  an address of this machine by which phones and emulators reach it; 127.0.0.1
    --data-dir DIR  where all state lives; .warren by default, or WARREN_DATA_DIR
    --allow-client-sends
                    clients may send to every user, and to their groups
    --help          prints this

  With npm: npm start -- --port 9000

`;

/**
 * Reads the flags of {@link HELP}. At `--help` it prints what there is, and ends the process.
 * @throws {CommandError} for anything else.
 */
export function readFlags(args: string[]): Flags {
  const values = parse(args);
  if (values.help === true) {
    process.stdout.write(HELP);
    process.exit();
  }
  const port = values.port === undefined ? undefined : Number(values.port);
  if (port !== undefined && !(Number.isInteger(port) && port >= 1 && port <= 65535)) {
    throw new CommandError('--port must be a number from 1 to 65535.', LIST);
  }
  const { host, 'data-dir': dataDir, 'allow-client-sends': allowClientSends } = values;
  return {
    ...(port !== undefined && { port }),
    ...(host !== undefined && { host }),
    ...(dataDir !== undefined && { dataDir }),
    ...(allowClientSends !== undefined && { allowClientSends }),
  };
}

const LIST = '"--help" lists the flags.';

function parse(args: string[]) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        port: { type: 'string' },
        host: { type: 'string' },
        'data-dir': { type: 'string' },
        'allow-client-sends': { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    return values;
  } catch (error) {
    const [what] = (error instanceof Error ? error.message : String(error)).split('. ', 1);
    throw new CommandError(`${what ?? ''}.`, LIST, { cause: error });
  }
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
    const running = await starting;
    warn(options);
    await onReady(running);
  } catch (error) {
    fail(error);
  }
}

/** Of what is open that usually is not. */
function warn({ host, allowClientSends }: UpOptions): void {
  if (allowClientSends === true) {
    process.stdout.write(`
  Clients may send to every user, and to their groups (--allow-client-sends).
`);
  }
  if (host === undefined) return;
  process.stdout.write(`
  Anybody who reaches ${host} can act as any user, since /dev/token gives out
  everybody's token. Use a network that you trust.
`);
}

/**
 * Says what happened and what to do, and sets the exit code.
 * @param opening what has failed, where the error alone does not tell.
 */
export function fail(error: unknown, opening = 'Warren could not start. '): void {
  const message = error instanceof Error ? error.message : String(error);
  const remedy =
    error instanceof Error && 'remedy' in error && error.remedy && typeof error.remedy === 'string'
      ? `\n  ${error.remedy}`
      : '';
  process.stderr.write(`\n  ${opening}${message}${remedy}\n\n`);
  process.exitCode = 1;
}
