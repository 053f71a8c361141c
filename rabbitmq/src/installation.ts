import { access, readdir, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseVersion, type Version } from './version.js';

/** Debian's, Homebrew's (both kinds of Mac) and the generic package's places. */
const SERVER_SCRIPTS = [
  '/usr/lib/rabbitmq/bin/rabbitmq-server',
  '/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server',
  '/usr/local/opt/rabbitmq/sbin/rabbitmq-server',
  '/opt/rabbitmq/sbin/rabbitmq-server',
];

/** Where `rabbitmq-server` is, or undefined when this machine has none. */
export async function findServerScript(root = '/'): Promise<string | undefined> {
  const fromEnvironment = process.env['RABBITMQ_SERVER_SCRIPT'];
  const candidates = fromEnvironment === undefined ? SERVER_SCRIPTS : [fromEnvironment];
  for (const candidate of candidates) {
    try {
      await access(join(root, candidate));
      return candidate;
    } catch {
      // The next one, then.
    }
  }
  return undefined;
}

/**
 * Which RabbitMQ a script starts, by the name of its own plugin (`plugins/rabbit-4.3.6`), which lies at the same
 * place in every package: `rabbitmqctl version` would take seconds. Undefined where that is not so.
 */
export async function installedVersion(script: string, root = '/'): Promise<Version | undefined> {
  try {
    // Debian's script is a link to the one beside the plugins.
    const home = dirname(dirname(await realpath(join(root, script))));
    const names = await readdir(join(home, 'plugins'));
    const own = names.find((name) => /^rabbit-\d/.test(name));
    return own === undefined ? undefined : parseVersion(own.slice('rabbit-'.length));
  } catch {
    return undefined;
  }
}
