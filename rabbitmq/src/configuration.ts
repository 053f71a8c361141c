import { chmod, copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { backendAccount, definitionsFile, serverAccount } from './definitions.js';
import type { SigningKey } from './keys.js';
import type { TopologyNames } from './names.js';
import type { BrokerOptions, TlsFiles } from './options.js';
import type { BrokerPorts, BrokerState } from './state.js';
import { CHECKS_ORIGINS, isAtLeast, RAISES_FRAMES, type Version } from './version.js';

const HOST = '127.0.0.1';
/** With the 4096 bytes that RabbitMQ adds, those of `web_stomp.ws_opts.max_frame_size`. */
const MAX_FRAME_BYTES = 61_440;
const packageFile = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));

/** Where a node's files lie. */
export interface Place {
  dataDir: string;
  /** A path as the node sees it, which may live in a root directory of its own. */
  inside: (path: string) => string;
}

interface Settings extends Pick<
  BrokerOptions,
  'tls' | 'clientHost' | 'allowOrigins' | 'quorumTickMs'
> {
  names: TopologyNames;
  /** Undefined: nothing is written that some version does not know, with which it would not boot. */
  version: Version | undefined;
}

/** Writes all that the node reads when it boots. */
export async function writeConfiguration(
  state: BrokerState,
  key: SigningKey,
  place: Place,
  settings: Settings,
): Promise<void> {
  const at = (name: string) => join(place.dataDir, name);
  const { names, version } = settings;
  const common = await readFile(packageFile('rabbitmq.conf'), 'utf8');
  const own = await ownSettings(state, key, place, settings);
  await writeFile(at('rabbitmq.conf'), common + own.join('\n'));
  await writeFile(at('advanced.config'), await advanced(settings));
  await copyFile(packageFile('enabled_plugins'), at('enabled_plugins'));
  const { passwords } = state;
  const accounts = [
    serverAccount(passwords.server, names),
    backendAccount(passwords.backend, names),
  ];
  await writeFile(at('definitions.json'), definitionsFile(accounts, names, version), {
    mode: 0o600,
  });
}

/** The lines of rabbitmq.conf that are this node's alone. */
async function ownSettings(
  { ports }: BrokerState,
  { kid, publicKeyPath }: SigningKey,
  place: Place,
  { tls, clientHost = HOST, allowOrigins = [], version }: Settings,
): Promise<string[]> {
  const at = (name: string) => place.inside(join(place.dataDir, name));
  return [
    '',
    '# This private node.',
    ...(tls === undefined
      ? plainListeners(ports, clientHost)
      : await secureListeners(ports, tls, place)),
    `management.tcp.ip = ${HOST}`,
    `management.tcp.port = ${String(ports.management)}`,
    `prometheus.tcp.ip = ${HOST}`,
    `prometheus.tcp.port = ${String(ports.metrics)}`,
    ...(isAtLeast(version, CHECKS_ORIGINS)
      ? allowOrigins.map((origin, index) => `web_stomp.allow_origins.${String(index)} = ${origin}`)
      : []),
    ...(isAtLeast(version, RAISES_FRAMES)
      ? [`stomp.max_frame_size = ${String(MAX_FRAME_BYTES)}`]
      : []),
    `auth_oauth2.default_key = ${kid}`,
    `auth_oauth2.signing_keys.${kid} = ${place.inside(publicKeyPath)}`,
    'definitions.import_backend = local_filesystem',
    `definitions.local.path = ${at('definitions.json')}`,
    // An operator's change to a policy outlives the next start.
    'definitions.skip_if_unchanged = true',
    `log.dir = ${at('log')}`,
    'log.file = rabbit.log',
    'log.file.level = info',
    'log.file.rotation.size = 10485760',
    'log.file.rotation.count = 3',
    'log.console = false',
    '',
  ];
}

/** What has no key in rabbitmq.conf. */
async function advanced({ quorumTickMs }: Settings): Promise<string> {
  const text = await readFile(packageFile('advanced.config'), 'utf8');
  if (quorumTickMs === undefined) return text;
  return text.replace(/(quorum_tick_interval, )\d+/, `$1${String(quorumTickMs)}`);
}

function plainListeners(ports: BrokerPorts, clientHost: string): string[] {
  return [
    ...[...new Set([HOST, clientHost])].map(
      (host, index) => `listeners.tcp.${String(index + 1)} = ${host}:${String(ports.amqp)}`,
    ),
    `web_stomp.tcp.ip = ${clientHost}`,
    `web_stomp.tcp.port = ${String(ports.stomp)}`,
  ];
}

/** The files are copied to where the node can read them. */
async function secureListeners(
  ports: BrokerPorts,
  tls: TlsFiles,
  { dataDir, inside }: Place,
): Promise<string[]> {
  const files: Record<string, string> = {};
  for (const [name, path] of Object.entries(tls) as [keyof TlsFiles, string][]) {
    const copy = join(dataDir, 'keys', `tls-${name}.pem`);
    await copyFile(path, copy);
    await chmod(copy, 0o600);
    files[name] = inside(copy);
  }
  const filesOf = (prefix: string): string[] => [
    `${prefix}.cacertfile = ${files['ca'] ?? ''}`,
    `${prefix}.certfile = ${files['cert'] ?? ''}`,
    `${prefix}.keyfile = ${files['key'] ?? ''}`,
  ];
  return [
    'listeners.tcp = none',
    `listeners.ssl.1 = ${HOST}:${String(ports.amqp)}`,
    ...filesOf('ssl_options'),
    // The server shows a certificate; clients show a token.
    'ssl_options.verify = verify_none',
    'ssl_options.fail_if_no_peer_cert = false',
    'ssl_options.versions.1 = tlsv1.3',
    'ssl_options.versions.2 = tlsv1.2',
    'web_stomp.tcp.listener = none',
    `web_stomp.ssl.ip = ${HOST}`,
    `web_stomp.ssl.port = ${String(ports.stomp)}`,
    ...filesOf('web_stomp.ssl'),
    `management.ssl.ip = ${HOST}`,
    `management.ssl.port = ${String(ports.secureManagement)}`,
    ...filesOf('management.ssl'),
  ];
}

/** The variables that make the node a private one. */
export function nodeEnvironment(
  { nodeName, ports }: BrokerState,
  { dataDir, inside }: Place,
): Record<string, string> {
  const at = (name: string) => inside(join(dataDir, name));
  return {
    RABBITMQ_NODENAME: nodeName,
    RABBITMQ_CONFIG_FILE: at('rabbitmq'),
    RABBITMQ_ADVANCED_CONFIG_FILE: at('advanced.config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: at('enabled_plugins'),
    RABBITMQ_MNESIA_BASE: at('mnesia'),
    RABBITMQ_LOG_BASE: at('log'),
    RABBITMQ_PID_FILE: at('node.pid'),
    RABBITMQ_DIST_PORT: String(ports.distribution),
    ERL_EPMD_PORT: String(ports.epmd),
    ERL_EPMD_ADDRESS: HOST,
    // epmd is ours, so that it ends with the node: one that the node starts would stay for ever.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: [
      '-start_epmd false',
      '-kernel inet_dist_use_interface {127,0,0,1}',
      // Schedulers that spin while they wait would take the cores of a small machine.
      '+sbwt none +sbwtdcpu none +sbwtdio none',
    ].join(' '),
  };
}
