import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_NAMES, parseVersion } from '@warren/rabbitmq';
import { writeConfiguration } from '../../../rabbitmq/dist/configuration.js';
import type { Block } from './pages.js';

const PORTS = {
  amqp: 1,
  stomp: 2,
  management: 3,
  secureManagement: 4,
  metrics: 5,
  distribution: 6,
  epmd: 7,
};

/**
 * The keys that a private broker with TLS and origins is given, which the tests boot: one that is unknown keeps
 * it from that. Numbers and ids in them are the reader's own.
 */
export async function knownSettings(): Promise<Set<string>> {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-settings-'));
  try {
    await mkdir(join(dataDir, 'keys'));
    const file = join(dataDir, 'any.pem');
    await writeFile(file, '');
    await writeConfiguration(
      { nodeName: '', ports: PORTS, passwords: { server: '', backend: '' } },
      { kid: 'k0123456789abcdef', privateKey: '', publicKeyPath: file },
      { dataDir, inside: (path) => path },
      {
        names: DEFAULT_NAMES,
        version: parseVersion('4.3.6'),
        tls: { ca: file, cert: file, key: file },
        allowOrigins: ['https://app.example.com'],
      },
    );
    const text = await readFile(join(dataDir, 'rabbitmq.conf'), 'utf8');
    return new Set(text.split('\n').flatMap(settingsIn));
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** The settings of a block that no broker of the tests has. */
export function unknownSettings({ page, line, text }: Block, known: Set<string>): string[] {
  return text.split('\n').flatMap((each, index) => {
    const unknown = settingsIn(each).filter((setting) => !known.has(setting));
    return unknown.map((setting) => `${page}:${String(line + index)}: ${setting} is not known.`);
  });
}

/** `name = value`, without the number or id that the name ends with. */
function settingsIn(line: string): string[] {
  const [, name] = /^([a-z]\S*) = \S/.exec(line) ?? [];
  return name === undefined ? [] : [name.replace(/\.(\d+|default|<KID>|k[0-9a-f]{16})$/, '')];
}
