import { rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Express } from 'express';
import jwt from 'jsonwebtoken';
import { Broker, DEFAULT_NAMES, isPortFree } from '@warren/rabbitmq';
import { readConfig, type Config } from '../config.js';
import { knownHosts } from '../http/known-hosts.js';
import { devTokenRoute } from '../http/routes/dev.js';
import { createLogger } from '../logger.js';
import type { Policy } from '../outbound/policy.js';
import type { Warren } from '../warren.js';
import { PortTakenError, startServer, type RunningServer } from '../server.js';
import { checkHost, hostVariables, LOOPBACK } from './host.js';
import { loadState, lockDirectory, type DevInfo, type DevState } from './state.js';

export interface UpOptions {
  /** Default: the port of the last start; on the first one 8080, or a free one if that is taken. */
  port?: number;
  /** Where all state lives. Default `.warren`. */
  dataDir?: string;
  /**
   * An IPv4 address of this machine, where other devices reach the server and the private broker. Whoever does can act
   * as any user. Default: loopback.
   */
  host?: string;
  /** Pages and routes besides the API; they answer under the server's own address alone. */
  mount?: (app: Express, context: UpContext) => void;
  /** Where `mount` adds a push proxy, unless `WARREN_PUSH_WEBHOOK_URL` names one. Default: there is none. */
  pushPath?: string;
  /** What clients may send to each other. Default: `WARREN_POLICY_URL` is asked; without it, nothing. */
  policy?: Policy;
  /** Clients may send to every user, and to their groups, whatever the policy refuses. Default false. */
  allowClientSends?: boolean;
  /** Told of each step, for a person to read. */
  onProgress?: (text: string) => void;
}

export interface UpContext {
  info: DevInfo;
  warren: Warren;
  /** Where all state lives; absolute. */
  dataDir: string;
  /** What is posted to webhooks and push proxies is signed with. */
  webhookSecret: string;
}

export interface Running {
  info: DevInfo;
  /** Where `info` is written. */
  file: string;
  /** Stops all that was started. Idempotent. */
  stop: () => Promise<void>;
}

/**
 * Starts a private broker, or takes the one of `WARREN_AMQP_URL`, and a server with
 * `POST /dev/token`; writes `dev.json` into the data directory once all is ready.
 * @throws errors with a `code` and a `remedy`; whatever was started by then is stopped again.
 */
export async function up(options: UpOptions = {}): Promise<Running> {
  const dataDir = resolve(options.dataDir ?? process.env['WARREN_DATA_DIR'] ?? '.warren');
  const progress = options.onProgress ?? (() => undefined);
  const undo: (() => Promise<void>)[] = [];
  const stop = once(async () => {
    for (const step of undo.splice(0).reverse()) await step();
  });
  try {
    if (options.host !== undefined) await checkHost(options.host);
    undo.push(await lockDirectory(dataDir));
    const state = await loadState(dataDir, options.port ?? portFromEnvironment());
    // Asked first: a broker takes seconds to start.
    if (!(await isPortFree(state.port, options.host))) throw new PortTakenError(state.port);

    const own = await startBroker(dataDir, state, options);
    undo.push(own.stop);
    progress('Starting the server');
    const server = await startOn(own, state, options);
    undo.push(server.running.close);
    if (!(await server.running.warren.ready(20_000))) {
      progress('The broker cannot be reached yet; the server goes on trying');
    }
    const file = join(dataDir, 'dev.json');
    await writeFile(file, `${JSON.stringify(server.info, null, 2)}\n`, { mode: 0o600 });
    undo.push(() => rm(file, { force: true }));
    return { info: server.info, file, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface OwnBroker {
  config: Config;
  /** What a back end publishes with. */
  backendAmqpUrl: string;
  stop: () => Promise<void>;
}

async function startBroker(
  dataDir: string,
  state: DevState,
  options: UpOptions,
): Promise<OwnBroker> {
  const { host, onProgress: progress = () => undefined } = options;
  const common = variablesFor(dataDir, state, options);
  if (process.env['WARREN_AMQP_URL'] ?? process.env['WARREN_AMQP_URL_FILE']) {
    progress('Using the broker of WARREN_AMQP_URL');
    const config = readConfig(common);
    return { config, backendAmqpUrl: config.amqpUrl, stop: () => Promise.resolve() };
  }
  progress('Starting RabbitMQ (about 5 seconds)');
  const broker = new Broker({
    dataDir: join(dataDir, 'broker'),
    ...(host !== undefined && { clientHost: host }),
  });
  await broker.start();
  try {
    const { amqpUrl, backendAmqpUrl, clientAmqpUrl, managementUrl, metricsUrl, stompUrl } =
      broker.endpoints;
    const config = readConfig({
      ...common,
      WARREN_AMQP_URL: amqpUrl,
      WARREN_MANAGEMENT_URL: managementUrl,
      WARREN_BROKER_METRICS_URL: metricsUrl,
      WARREN_PUBLIC_STOMP_URL: stompUrl,
      WARREN_PUBLIC_AMQP_URL: clientAmqpUrl,
      WARREN_SIGNING_KEY: broker.signingKey.privateKey,
    });
    return { config, backendAmqpUrl, stop: () => broker.stop() };
  } catch (error) {
    await broker.stop();
    throw error;
  }
}

/** What the environment leaves out, so that a server runs on this directory. */
function variablesFor(
  dataDir: string,
  state: DevState,
  { host, pushPath }: UpOptions,
): Record<string, string | undefined> {
  const isGiven = (name: string): boolean =>
    [name, `${name}_FILE`].some((variable) => process.env[variable] !== undefined);
  return {
    WARREN_SERVICE_KEYS: state.serviceKey,
    WARREN_ADMIN_KEYS: state.adminKey,
    WARREN_HOST: LOOPBACK,
    WARREN_LOG_LEVEL: 'warn',
    ...(process.env['WARREN_USER_JWT_PUBLIC_KEY'] === undefined &&
      process.env['WARREN_USER_JWT_JWKS_URL'] === undefined && {
        WARREN_USER_JWT_SECRET: state.userJwtSecret,
      }),
    ...(!isGiven('WARREN_VAPID_PRIVATE_KEY') && {
      WARREN_VAPID_PRIVATE_KEY: state.vapidPrivateKey,
      WARREN_VAPID_SUBJECT: 'mailto:nobody@example.com',
    }),
    ...(!isGiven('WARREN_WEBHOOK_SECRET') && { WARREN_WEBHOOK_SECRET: state.webhookSecret }),
    ...(pushPath !== undefined &&
      !isGiven('WARREN_PUSH_WEBHOOK_URL') && {
        WARREN_PUSH_WEBHOOK_URL: `http://${host ?? LOOPBACK}:${String(state.port)}${pushPath}`,
      }),
    ...process.env,
    ...(host !== undefined && hostVariables(host)),
    WARREN_DATA_DIR: dataDir,
    WARREN_PORT: String(state.port),
  };
}

async function startOn(
  { config, backendAmqpUrl }: OwnBroker,
  state: DevState,
  options: UpOptions,
): Promise<{ running: RunningServer; info: DevInfo }> {
  const policy = policyFor(options);
  const apiUrl = `http://${options.host ?? LOOPBACK}:${String(state.port)}`;
  const info: DevInfo = {
    apiUrl,
    consoleUrl: `${apiUrl}/console/`,
    stompUrl: config.endpoints.stomp[0] ?? '',
    amqpUrl: backendAmqpUrl,
    managementUrl: config.managementUrl,
    vhost: decodeURIComponent(new URL(config.amqpUrl).pathname.slice(1)),
    exchange: config.names.exchange ?? DEFAULT_NAMES.exchange,
    serviceKey: config.serviceKeys[0] ?? '',
    adminKey: config.adminKeys.find(({ role }) => role === 'operator')?.key ?? '',
    pid: process.pid,
  };
  const running = await startServer(config, createLogger(config.logLevel), {
    routes: devRoutes(config),
    mount: (app, warren) => {
      // Before all that is mounted, the examples too: they take anybody's word for a name.
      app.use(knownHosts(options.host === undefined ? undefined : [options.host]));
      const webhookSecret = config.push.providers.webhook?.secret ?? state.webhookSecret;
      options.mount?.(app, { info, warren, dataDir: config.dataDir, webhookSecret });
    },
    ...(policy !== undefined && { policy }),
    // Pages that a developer serves from another port of this machine.
    corsOrigins: [
      /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/,
      ...(options.host === undefined
        ? []
        : [new RegExp(`^https?://${options.host.replaceAll('.', '\\.')}(:\\d+)?$`)]),
    ],
  });
  return { running, info };
}

function policyFor({ policy, allowClientSends }: UpOptions): Policy | undefined {
  if (allowClientSends !== true) return policy;
  return async (message) => {
    const answer = await policy?.(message);
    // A push that the policy adds stays.
    return typeof answer === 'object' ? answer : true;
  };
}

function devRoutes({ userTokens }: Config) {
  if (userTokens === undefined || !('secret' in userTokens.key)) return [];
  const { key, issuer, audience, claim = 'sub' } = userTokens;
  const { secret } = key;
  return [
    devTokenRoute((userId) =>
      jwt.sign({ [claim]: userId }, secret, {
        algorithm: 'HS256',
        expiresIn: '12h',
        ...(issuer !== undefined && { issuer }),
        ...(audience !== undefined && { audience }),
      }),
    ),
  ];
}

function portFromEnvironment(): number | undefined {
  const text = process.env['WARREN_PORT'];
  return text === undefined || text === '' ? undefined : Number(text);
}

function once(work: () => Promise<void>): () => Promise<void> {
  let result: Promise<void> | undefined;
  return () => (result ??= work());
}
