import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { DEFAULT_NAMES, topology } from '@warren/rabbitmq';
import { ManagementApi } from './broker/management.js';
import { readConfig } from './config.js';
import { fail, runUp } from './dev/index.js';
import type { DevInfo } from './dev/index.js';
import { createLogger } from './logger.js';
import { createPublisher } from './publisher/index.js';
import { startServer } from './server.js';

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
    const stop = (): void => {
      server.close().then(
        () => process.exit(),
        () => process.exit(1),
      );
    };
    process.once('SIGINT', stop);
    process.once('SIGTERM', stop);
  });

program
  .command('provision')
  .description("make Warren's exchanges, queues and policies on a broker")
  .option('--print', 'only print what would be made, as RabbitMQ definitions')
  .action(async ({ print }: { print?: boolean }) => {
    const { WARREN_AMQP_URL, WARREN_MANAGEMENT_URL } = process.env;
    const vhost = decodeURIComponent(new URL(WARREN_AMQP_URL ?? 'amqp://host/').pathname.slice(1));
    const names = {
      vhost: vhost || DEFAULT_NAMES.vhost,
      exchange: process.env['WARREN_EXCHANGE'] ?? DEFAULT_NAMES.exchange,
      userPrefix: process.env['WARREN_USER_PREFIX'] ?? DEFAULT_NAMES.userPrefix,
      livePrefix: process.env['WARREN_LIVE_PREFIX'] ?? DEFAULT_NAMES.livePrefix,
    };
    const definitions = topology(names);
    if (print === true) {
      process.stdout.write(`${JSON.stringify(definitions, null, 2)}\n`);
      return;
    }
    if (WARREN_MANAGEMENT_URL === undefined) {
      throw new Error(
        'Set WARREN_MANAGEMENT_URL to http://name:password@host:15672, or use --print.',
      );
    }
    await new ManagementApi(WARREN_MANAGEMENT_URL, names.vhost).importDefinitions(definitions);
    process.stdout.write(`The vhost ${names.vhost} has all that Warren needs.\n`);
  });

program
  .command('send')
  .description('send a message to a user, straight to the broker')
  .argument('<user>')
  .argument('<data>', 'JSON, or plain text')
  .option('--device <id>', 'this device only')
  .option('--type <type>', "the message's type", 'message')
  .option('--live', 'only to who is connected now')
  .option('--ttl-ms <n>', 'how long it may wait', integer)
  .option('--data-dir <dir>', 'where "npm start" keeps its state', '.warren')
  .action(async (user: string, data: string, options: SendFlags) => {
    const amqpUrl = process.env['WARREN_AMQP_URL'] ?? (await readDevInfo(options.dataDir)).amqpUrl;
    const publisher = createPublisher({ amqpUrl });
    const settings = {
      delivery: options.live === true ? ('live' as const) : ('queued' as const),
      ...(options.ttlMs !== undefined && { ttlMs: options.ttlMs }),
    };
    try {
      const { type, device } = options;
      const result = await (device === undefined
        ? publisher.toUser(user, type, parse(data), settings)
        : publisher.toDevice({ user, device }, type, parse(data), settings));
      process.stdout.write(`${JSON.stringify(result)}\n`);
    } finally {
      await publisher.close();
    }
  });

interface SendFlags {
  device?: string;
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
    const advice = `Nothing runs on ${dataDir}: run "npm start" first, or set WARREN_AMQP_URL.`;
    throw new Error(advice, { cause: error });
  }
}

program.parseAsync().catch(fail);
