import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Argument, Command, InvalidArgumentError } from 'commander';
import type { Logger } from 'pino';
import type { Delivery, Recipient } from '@warren/protocol';
import { DEFAULT_NAMES, topology, type TopologyNames } from '@warren/rabbitmq';
import { ManagementApi } from './broker/management.js';
import { examine, report } from './commands/doctor.js';
import { checkKey, newKey, vapidKey } from './commands/keys.js';
import type { AdminAccess } from './commands/admin-api.js';
import { tail } from './commands/tail.js';
import { why } from './commands/why.js';
import { addService, removeService } from './commands/service.js';
import { readConfig } from './config.js';
import { fail, runUp } from './dev/index.js';
import type { DevInfo } from './dev/index.js';
import { createLogger } from './logger.js';
import { createPublisher } from './publisher/index.js';
import { findPlaintext, PLAINTEXT_VARIABLES } from './plaintext.js';
import { startServer } from './server.js';
import { KeyRing } from './sessions/key-ring.js';
import { readVariable } from './variables.js';
import type { Warren } from './warren.js';
import { readHistoryWorkerConfig, readPushWorkerConfig } from './worker-config.js';
import { runHistoryWorker, runPushWorker, type RunningWorker } from './worker.js';

const program = new Command('warren')
  .description('Messages from your server to your users, over RabbitMQ.')
  .showHelpAfterError();

const integer = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('must be a number.');
  return value;
};

program
  .command('up')
  .description('start a private broker and a server, for development')
  .option('--port <n>', "the server's port", integer)
  .option('--data-dir <dir>', 'where all state lives', '.warren')
  .action((options: { port?: number; dataDir: string }) =>
    runUp(options, ({ info }) => {
      process.stdout.write(
        `  Ready: ${info.apiUrl} (keys in ${join(options.dataDir, 'dev.json')})\n`,
      );
    }),
  );

program
  .command('server')
  .description('start the API server, configured by WARREN_… variables')
  .action(async () => {
    const config = readConfig(process.env);
    const logger = createLogger(config.logLevel);
    const server = await startServer(config, logger);
    logger.info({ url: server.url }, 'listening');
    process.on('SIGHUP', () => {
      void reload(server.warren, logger);
    });
    stopWith(server);
  });

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
  .action(async (name: 'history' | 'push') => {
    stopWith(await WORKERS[name]());
  });

const WORKERS: Record<'history' | 'push', () => Promise<RunningWorker>> = {
  history: async () => {
    const config = readHistoryWorkerConfig(process.env);
    const logger = createLogger(config.logLevel);
    const worker = await runHistoryWorker(config, logger);
    logger.info('writes stored messages down');
    return worker;
  },
  push: async () => {
    const config = readPushWorkerConfig(process.env);
    const logger = createLogger(config.logLevel);
    const worker = await runPushWorker(config, logger);
    logger.info('sends pushes');
    return worker;
  },
};

program
  .command('provision')
  .description("make Warren's exchanges, queues and policies on a broker")
  .option('--print', 'only print what would be made, as RabbitMQ definitions')
  .action(async ({ print }: { print?: boolean }) => {
    const names = brokerNames();
    const definitions = topology(names);
    if (print === true) {
      process.stdout.write(`${JSON.stringify(definitions, null, 2)}\n`);
      return;
    }
    await managementOf(names, ' Or use --print.').importDefinitions(definitions);
    process.stdout.write(`The vhost ${names.vhost} has all that Warren needs.\n`);
  });

program
  .command('doctor')
  .description('look at a broker that you run yourself, and say what to mend')
  .option('--json', 'print the findings as JSON')
  .action(async ({ json }: { json?: boolean }) => {
    const amqpUrl = readVariable(process.env, 'WARREN_AMQP_URL');
    if (amqpUrl === undefined) throw new Error('Set WARREN_AMQP_URL to the broker to look at.');
    const names = brokerNames();
    const signingKey = readVariable(process.env, 'WARREN_SIGNING_KEY');
    const findings = await examine({
      amqpUrl,
      management: managementOf(names),
      names,
      keys: signingKey === undefined ? undefined : new KeyRing(signingKey),
      stompUrls: (readVariable(process.env, 'WARREN_PUBLIC_STOMP_URL') ?? '')
        .split(',')
        .map((url) => url.trim())
        .filter((url) => url !== ''),
      plaintext: findPlaintext(
        Object.fromEntries(
          PLAINTEXT_VARIABLES.map((name) => [name, readVariable(process.env, name)]),
        ),
        true,
      ),
    });
    process.stdout.write(
      json === true ? `${JSON.stringify(findings, null, 2)}\n` : report(findings),
    );
    if (findings.some(({ level }) => level === 'problem')) process.exitCode = 1;
  });

const service = program
  .command('service')
  .description('accounts on the broker for back ends that publish by AMQP');

service
  .command('add')
  .description('make one, and print its address with the password: it is shown this once')
  .argument('<name>')
  .action(async (name: string) => {
    const names = brokerNames();
    const password = await addService(managementOf(names), names, name);
    const url = new URL(readVariable(process.env, 'WARREN_AMQP_URL') ?? 'amqp://localhost/warren');
    url.username = name;
    url.password = password;
    process.stdout.write(`${url.toString()}\n`);
  });

service
  .command('remove')
  .description('remove one, and close its connections')
  .argument('<name>')
  .action(async (name: string) => {
    const names = brokerNames();
    await removeService(managementOf(names), names, name);
    process.stdout.write(`${name} is removed.\n`);
  });

const keys = program.command('keys').description("the keys that sign clients' tokens");

keys
  .command('new')
  .description('make a key, and say how to take it into use without a refused login')
  .argument('<file>', 'for the private half, as PEM')
  .action(async (file: string) => {
    process.stdout.write(await newKey(file));
  });

keys
  .command('vapid')
  .description('make a key for Web Push, by which push services know this application')
  .action(() => {
    process.stdout.write(vapidKey());
  });

keys
  .command('check')
  .description('whether the broker of WARREN_AMQP_URL accepts tokens signed with this key')
  .argument('<file>')
  .action(async (file: string) => {
    const amqpUrl = readVariable(process.env, 'WARREN_AMQP_URL');
    if (amqpUrl === undefined) throw new Error('Set WARREN_AMQP_URL to the broker to ask.');
    process.stdout.write(await checkKey(amqpUrl, await readFile(file, 'utf8')));
  });

function brokerNames(): TopologyNames {
  const url = readVariable(process.env, 'WARREN_AMQP_URL') ?? 'amqp://host/';
  const vhost = decodeURIComponent(new URL(url).pathname.slice(1));
  return {
    vhost: vhost || DEFAULT_NAMES.vhost,
    exchange: process.env['WARREN_EXCHANGE'] ?? DEFAULT_NAMES.exchange,
    userPrefix: process.env['WARREN_USER_PREFIX'] ?? DEFAULT_NAMES.userPrefix,
    livePrefix: process.env['WARREN_LIVE_PREFIX'] ?? DEFAULT_NAMES.livePrefix,
  };
}

function managementOf({ vhost }: TopologyNames, otherwise = ''): ManagementApi {
  const url = readVariable(process.env, 'WARREN_MANAGEMENT_URL');
  if (url !== undefined) return new ManagementApi(url, vhost);
  throw new Error(`Set WARREN_MANAGEMENT_URL to http://name:password@host:15672.${otherwise}`);
}

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
  .option('--data-dir <dir>', 'where "npm start" keeps its state', '.warren')
  .action(async (to: string, data: string, options: SendFlags) => {
    const amqpUrl = process.env['WARREN_AMQP_URL'] ?? (await readDevInfo(options.dataDir)).amqpUrl;
    const settings = {
      delivery: deliveryOf(options),
      ...(options.ttlMs !== undefined && { ttlMs: options.ttlMs }),
    };
    const publisher = createPublisher({ amqpUrl });
    try {
      const { type } = options;
      const result = await publisher.send(recipientOf(to, options), type, parse(data), settings);
      process.stdout.write(`${JSON.stringify(result)}\n`);
    } finally {
      await publisher.close();
    }
  });

function recipientOf(to: string, { device, group }: SendFlags): Recipient {
  if (group === true) return { group: to };
  return device === undefined ? { user: to } : { device: { user: to, device } };
}

function deliveryOf({ live, stored }: SendFlags): Delivery {
  if (live === true && stored === true) throw new Error('Give only one of --live and --stored.');
  return live === true ? 'live' : stored === true ? 'stored' : 'queued';
}

interface AdminFlags {
  api?: string;
  dataDir: string;
}

/** A server of one's own by `--api` and `WARREN_ADMIN_KEYS`, or the one of "npm start". */
async function adminAccess({ api, dataDir }: AdminFlags): Promise<AdminAccess> {
  const [key] = (readVariable(process.env, 'WARREN_ADMIN_KEYS') ?? '').split(',');
  const adminKey = key?.trim().replace(/^(viewer|operator):/, '');
  if (api !== undefined && adminKey) return { apiUrl: api, adminKey };
  if (api !== undefined) throw new Error('Set WARREN_ADMIN_KEYS to a key of that server.');
  const info = await readDevInfo(dataDir);
  return { apiUrl: info.apiUrl, adminKey: adminKey || info.adminKey };
}

program
  .command('why')
  .description('what became of a message, or what happened to a user in the last 7 days')
  .argument('<id>', "a user's id, or that of a message")
  .option('--limit <n>', 'how many entries of a user, the newest', integer, 50)
  .option('--api <url>', 'the server, with a key in WARREN_ADMIN_KEYS')
  .option('--data-dir <dir>', 'where "npm start" keeps its state', '.warren')
  .action(async (id: string, options: AdminFlags & { limit: number }) => {
    process.stdout.write(await why(await adminAccess(options), id, options));
  });

program
  .command('tail')
  .description('print what happens, as it happens: events, or all that one user is sent and does')
  .argument('[user]', 'whom to watch, which the audit log will say')
  .option('--json', 'one JSON object a line')
  .option('--api <url>', 'the server, with a key in WARREN_ADMIN_KEYS')
  .option('--data-dir <dir>', 'where "npm start" keeps its state', '.warren')
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
      print: (line) => process.stdout.write(`${line}\n`),
      signal: stop.signal,
    });
  });

interface SendFlags {
  stored?: boolean;
  device?: string;
  group?: boolean;
  type: string;
  live?: boolean;
  ttlMs?: number;
  dataDir: string;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function readDevInfo(dataDir: string): Promise<DevInfo> {
  try {
    return JSON.parse(await readFile(join(dataDir, 'dev.json'), 'utf8')) as DevInfo;
  } catch (error) {
    const advice = `Nothing runs on ${dataDir}: run "npm start" first, or name a server (see --help).`;
    throw new Error(advice, { cause: error });
  }
}

program.parseAsync().catch(fail);
