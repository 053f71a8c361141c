// Other RabbitMQs than the machine's own, for the tests: each is a Debian with rabbitmq-server in a directory of its
// own, made once, in a minute or two.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { makeDebian } from './debootstrap.mjs';

const HOME = process.env.WARREN_TEST_BROKERS ?? '/var/cache/warren-tests';
const LIB = 'usr/lib/rabbitmq/lib';
const BIN = '/usr/lib/rabbitmq/bin';

/** Debian 13 has RabbitMQ 4.0, Debian 14 has 4.3. */
export const TRIXIE = { suite: 'trixie', directory: join(HOME, 'debian-13') };
export const FORKY = { suite: 'forky', directory: join(HOME, 'debian-14') };

/** The RabbitMQ of a root directory, as its package calls it: `4.3.6`; undefined where there is none. */
export function brokerVersion(root = '/') {
  const lib = join(root, LIB);
  const name = existsSync(lib)
    ? readdirSync(lib).find((entry) => entry.startsWith('rabbitmq_server-'))
    : undefined;
  return name?.slice('rabbitmq_server-'.length);
}

/** Its root directory, or why there is none. */
export function prepareBroker({ suite, directory }, say) {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    return { reason: 'it takes root, on Debian or Ubuntu' };
  }
  if (brokerVersion(directory) === undefined) {
    say(`Installing the RabbitMQ of Debian's ${suite} (a minute or two, the first time) …`);
    const reason = makeDebian({ suite, include: 'rabbitmq-server', directory }, say);
    if (reason !== undefined) return { reason };
  }
  return fitOut(directory) ? { root: directory } : { reason: '/proc cannot be mounted in it' };
}

/**
 * What programs need that start this RabbitMQ without knowing of the root directory, as `npm start` does: a script
 * that does, and files within the root under the names that they have outside.
 */
export function fitOut(root) {
  const sbin = join(root, 'warren', 'sbin');
  mkdirSync(sbin, { recursive: true });
  for (const tool of ['rabbitmq-server', 'rabbitmqctl']) {
    const script = `#!/bin/sh\nexec chroot '${root}' ${BIN}/${tool} "$@"\n`;
    writeFileSync(join(sbin, tool), script, { mode: 0o755 });
  }
  // By their names a launcher tells the version.
  const plugins = join('..', LIB, `rabbitmq_server-${brokerVersion(root) ?? ''}`, 'plugins');
  link(plugins, join(root, 'warren', 'plugins'));
  mkdirSync(dirname(join(root, root)), { recursive: true });
  link('/', join(root, root));
  // Without it Erlang counts no processors.
  if (existsSync(join(root, 'proc', 'self'))) return true;
  return spawnSync('mount', ['-t', 'proc', 'proc', join(root, 'proc')]).status === 0;
}

function link(target, path) {
  const isThere = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
  if (isThere && readlinkSync(path) === target) return;
  rmSync(path, { force: true });
  symlinkSync(target, path);
}
