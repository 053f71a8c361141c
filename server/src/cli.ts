import { join } from 'node:path';
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import type { Logger } from 'pino';
import { examine, report } from './commands/doctor.js';
import { adminAccess, type AdminFlags } from './commands/admin-api.js';
import { CommandError } from './command-error.js';
import { readVariables, withManagement } from './commands/environment.js';
import { checkKey, newKey, vapidKey } from './commands/keys.js';
import { readPatient } from './commands/patient.js';
import { printTopology, provision } from './commands/provision.js';
import { send, type SendFlags } from './commands/send.js';
import { tail } from './commands/tail.js';
import { why } from './commands/why.js';
import { printable } from './commands/printable.js';
import { addService, removeService } from './commands/service.js';
import { readConfig } from './config.js';
import { fail, runUp, type UpOptions } from './dev/index.js';
import { createLogger } from './logger.js';
import { startServer } from './server.js';
import { KeyRing } from './sessions/key-ring.js';
import { VERSION } from './version.js';
import type { Warren } from './warren.js';
import { readHistoryWorkerConfig, readPushWorkerConfig } from './worker-config.js';
import { runHistoryWorker, runPushWorker } from './worker.js';

/** Every command with its arguments and options; {@link main} runs the one that is asked for. */
export const program = new Command('warren')
  .description('Messages from your server to your users, over RabbitMQ.')
  .version(VERSION)
  .showHelpAfterError();

/** Nothing that a command shows may steer the terminal. */
const print = (text: string): void => {
  process.stdout.write(printable(text));
};

const integer = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('must be a number.');
  return value;
};

/** The directory of "npm start", which takes it from the same variable. */
const dataDir = (): Option =>
  new Option('--data-dir <dir>', 'where "npm start" keeps its state')
    .env('WARREN_DATA_DIR')
    .default('.warren');

/** A program that goes on until it is stopped: what fails before has kept it from starting. */
const starting =
  <Args extends unknown[]>(work: (...args: Args) => Promise<void>) =>
  (...args: Args): Promise<void> =>
    work(...args).catch(fail);

program
  .command('up')
  .description('start a private broker and a server, for development')
  .option('--port <n>', "the server's port", integer)
  .option('--host <address>', 'an address of this machine by which other devices reach it')
  .option('--allow-client-sends', 'clients may send to every user, and to their groups')
  .addOption(dataDir())
  .action((options: UpOptions & { dataDir: string }) =>
    runUp(options, ({ info }) => {
      print(`  Ready: ${info.apiUrl} (keys in ${join(options.dataDir, 'dev.json')})\n`);
    }),
  );

program
  .command('server')
  .description('start the API server, configured by WARREN_… variables')
  .action(
    starting(async () => {
      const config = readConfig(process.env);
      const logger = createLogger(config.logLevel);
      const server = await startServer(config, logger);
      process.on('SIGHUP', () => {
        void reload(server.warren, logger);
      });
      stopWith(server);
      // Last: whoever waits for this line may stop it at once.
      logger.info({ url: server.url }, 'listening');
    }),
  );

/** At Ctrl-C and SIGTERM, when what is under way has ended. */
function stopWith(running: { close: () => Promise<void> }): void {
  const stop = (): void => {
    running.close().then(
      () => process.exit(),
      () => process.exit(1),
    );
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
}

/** Keys alone: what else changed asks for a restart. */
async function reload(warren: Warren, logger: Logger): Promise<void> {
  try {
    const { signingKey, serviceKeys, adminKeys } = readConfig(process.env);
    await warren.reload({ signingKey, serviceKeys, adminKeys });
    logger.info({ kid: new KeyRing(signingKey).signing.kid }, 'took the keys into use');
  } catch (error) {
    logger.error({ err: error }, 'the keys stay as they were');
  }
}

program
  .command('worker')
  .description(
    'run a worker beside servers that share its database (WARREN_HISTORY_WORKER=off, WARREN_PUSH_WORKER=off)',
  )
  .addArgument(new Argument('<name>', 'which one').choices(['history', 'push']))
  .action(starting((name: 'history' | 'push') => WORKERS[name]()));

const WORKERS: Record<'history' | 'push', () => Promise<void>> = {
  history: async () => {
    const config = readHistoryWorkerConfig(process.env);
    const logger = createLogger(config.logLevel);
    stopWith(await runHistoryWorker(config, logger));
    logger.info('writes stored messages down');
  },
  push: async () => {
    const config = readPushWorkerConfig(process.env);
    const logger = createLogger(config.logLevel);
    stopWith(await runPushWorker(config, logger));
    logger.info('sends pushes');
  },
};

program
  .command('provision')
  .description("make Warren's exchanges, queues and policies on a broker")
  .option('--print', 'only print what would be made, as RabbitMQ definitions')
  .option(
    '--for <version>',
    'print it for this RabbitMQ; default: the one of WARREN_MANAGEMENT_URL, else 4.3',
  )
  .action(async (options: { print?: boolean; for?: string }) => {
    const text = options.print === true ? await printTopology(options.for) : await provision();
    print(text);
  });

program
  .command('doctor')
  .description('look at the broker of WARREN_AMQP_URL, or of "npm start", and say what to mend')
  .option('--json', 'print the findings as JSON')
  .addOption(dataDir())
  .action(async ({ json, dataDir }: { json?: boolean; dataDir: string }) => {
    const findings = await examine(await readPatient(dataDir));
    print(json === true ? `${JSON.stringify(findings, null, 2)}\n` : report(findings));
    if (findings.some(({ level }) => level === 'problem')) process.exitCode = 1;
  });

const service = program
  .command('service')
  .description('accounts on the broker for back ends that publish by AMQP');

service
  .command('add')
  .description('make one, and print its address with the password: it is shown this once')
  .argument('<name>')
  .option(
    '--direct',
    'it may publish straight to mailboxes also where RabbitMQ (before 4.0) is not safe from that',
  )
  .action(async (name: string, { direct }: { direct?: boolean }) => {
    const { WARREN_AMQP_URL: amqpUrl } = readVariables('WARREN_AMQP_URL');
    const { password, note } = await withManagement((management, names) =>
      addService(management, names, name, { isDirect: direct === true }),
    );
    // Not among what a script reads.
    if (note !== undefined) process.stderr.write(printable(`${note}\n`));
    const url = new URL(amqpUrl ?? 'amqp://localhost/warren');
    url.username = name;
    url.password = password;
    print(`${url.toString()}\n`);
  });

service
  .command('remove')
  .description('remove one, and close its connections')
  .argument('<name>')
  .action(async (name: string) => {
    await withManagement((management, names) => removeService(management, names, name));
    print(`${name} is removed.\n`);
  });

const keys = program.command('keys').description("the keys that sign clients' tokens");

keys
  .command('new')
  .description('make a key, and say how to take it into use without a refused login')
  .argument('<file>', 'for the private half, as PEM')
  .action(async (file: string) => {
    print(await newKey(file));
  });

keys
  .command('vapid')
  .description('make a key for Web Push, by which push services know this application')
  .action(() => {
    print(vapidKey());
  });

keys
  .command('check')
  .description('whether the broker of WARREN_AMQP_URL accepts tokens signed with this key')
  .argument('<file>')
  .action(async (file: string) => {
    const { WARREN_AMQP_URL: amqpUrl } = readVariables('WARREN_AMQP_URL');
    if (amqpUrl === undefined) {
      throw new CommandError('No broker is named.', 'Set WARREN_AMQP_URL to the one to ask.');
    }
    print(await checkKey(amqpUrl, file));
  });

program
  .command('send')
  .description('send a message to a user or a group, straight to the broker')
  .argument('<to>', "the user's id, or the group's")
  .argument('<data>', 'JSON, or plain text')
  .option('--device <id>', 'this device of the user only')
  .option('--group', 'to all members of the group')
  .option('--type <type>', "the message's type", 'message')
  .option('--live', 'only to who is connected now')
  .option('--stored', 'the history keeps it')
  .option('--ttl-ms <n>', 'how long it may wait', integer)
  .addOption(dataDir())
  .action(async (to: string, data: string, options: SendFlags) => {
    print(`${JSON.stringify(await send(to, data, options))}\n`);
  });

program
  .command('why')
  .description('what became of a message, or what happened to a user in the last 7 days')
  .argument('<id>', "a user's id, or that of a message")
  .option('--limit <n>', 'how many entries of a user, the newest', integer, 50)
  .option('--api <url>', 'the server, with a key in WARREN_ADMIN_KEYS')
  .addOption(dataDir())
  .action(async (id: string, options: AdminFlags & { limit: number }) => {
    print(await why(await adminAccess(options), id, options));
  });

program
  .command('tail')
  .description('print what happens, as it happens: events, or all that one user is sent and does')
  .argument('[user]', 'whom to watch, which the audit log will say')
  .option('--json', 'one JSON object a line')
  .option('--api <url>', 'the server, with a key in WARREN_ADMIN_KEYS')
  .addOption(dataDir())
  .action(async (user: string | undefined, options: AdminFlags & { json?: boolean }) => {
    const stop = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        stop.abort();
      });
    }
    await tail(await adminAccess(options), {
      user,
      isJson: options.json === true,
      print: (line) => {
        print(`${line}\n`);
      },
      signal: stop.signal,
    });
  });

export function main(): void {
  program.parseAsync().catch((error: unknown) => {
    fail(error, '');
  });
}
