import { chmod, copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  backendAccount,
  definitionsFile,
  serverAccount,
  type TopologyNames,
} from './definitions.js';
import type { SigningKey } from './keys.js';
import type { TlsFiles } from './broker.js';
import type { BrokerPorts, BrokerState } from './state.js';

const HOST = '127.0.0.1';
const packageFile = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));

/** Where a node's files lie. */
export interface Place {
  dataDir: string;
  /** A path as the node sees it, which may live in a root directory of its own. */
  inside: (path: string) => string;
}

/** Writes all that the node reads when it boots. */
export async function writeConfiguration(
  { ports, passwords }: BrokerState,
  { kid, publicKeyPath }: SigningKey,
  names: TopologyNames,
  { dataDir, inside }: Place,
  tls?: TlsFiles,
): Promise<void> {
  const at = (name: string) => join(dataDir, name);
  const own = [
    '',
    '# This private node.',
    ...(tls === undefined
      ? plainListeners(ports)
      : await secureListeners(ports, tls, { dataDir, inside })),
    `management.tcp.ip = ${HOST}`,
    `management.tcp.port = ${String(ports.management)}`,
    `prometheus.tcp.ip = ${HOST}`,
    `prometheus.tcp.port = ${String(ports.metrics)}`,
    `auth_oauth2.default_key = ${kid}`,
    `auth_oauth2.signing_keys.${kid} = ${inside(publicKeyPath)}`,
    'definitions.import_backend = local_filesystem',
    `definitions.local.path = ${inside(at('definitions.json'))}`,
    // An operator's change to a policy outlives the next start.
    'definitions.skip_if_unchanged = true',
    `log.dir = ${inside(at('log'))}`,
    'log.file = rabbit.log',
    'log.file.level = info',
    'log.file.rotation.size = 10485760',
    'log.file.rotation.count = 3',
    'log.console = false',
    '',
  ];
  const common = await readFile(packageFile('rabbitmq.conf'), 'utf8');
  await writeFile(at('rabbitmq.conf'), common + own.join('\n'));
  await copyFile(packageFile('enabled_plugins'), at('enabled_plugins'));
  const accounts = [
    serverAccount(passwords.server, names),
    backendAccount(passwords.backend, names),
  ];
  await writeFile(at('definitions.json'), definitionsFile(accounts, names), {
    mode: 0o600,
  });
}

function plainListeners(ports: BrokerPorts): string[] {
  return [
    `listeners.tcp.1 = ${HOST}:${String(ports.amqp)}`,
    `web_stomp.tcp.ip = ${HOST}`,
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
