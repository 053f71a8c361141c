// Debian in a directory of its own, by debootstrap, with one package and what that needs.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

const SCRIPTS = '/usr/share/debootstrap/scripts';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const MAIN_MIRROR = 'http://deb.debian.org/debian';

function run(command, args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', env });
  return { ok: status === 0, output: `${stdout ?? ''}${stderr ?? ''}` };
}

const read = (path) => (existsSync(path) ? readFileSync(path, 'utf8') : '');

/** Every address in apt's sources, which may be of either format. */
function aptAddresses() {
  const dir = '/etc/apt/sources.list.d';
  const names = existsSync(dir) ? readdirSync(dir).sort() : [];
  const files = ['/etc/apt/sources.list', ...names.map((name) => join(dir, name))];
  return files.flatMap((file) => {
    const text = read(file);
    if (!file.endsWith('.sources')) {
      return [...text.matchAll(/^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)/gm)].map(([, uri]) => uri);
    }
    return text
      .split(/\n\s*\n/)
      .filter((stanza) => !/^Enabled:\s*no/im.test(stanza))
      .flatMap((stanza) => /^URIs:\s*(.+)$/im.exec(stanza)?.[1].trim().split(/\s+/) ?? []);
  });
}

/** Mirrors of Debian itself, which is what /debian at an address's end says; the machine's own comes first. */
const mirrors = () => [
  ...new Set([...aptAddresses().filter((uri) => /\/debian\/?$/.test(uri)), MAIN_MIRROR]),
];

function install() {
  if (existsSync('/usr/sbin/debootstrap')) return true;
  run('apt-get', ['update', '-q']);
  return run('apt-get', ['install', '-y', '-q', 'debootstrap']).ok;
}

function debootstrap({ suite, include, directory, mirror, isChecked }) {
  rmSync(directory, { recursive: true, force: true });
  run('mkdir', ['-p', directory]);
  // An older debootstrap does not know the names of newer suites; they are made as sid is.
  const script = existsSync(join(SCRIPTS, suite)) ? [] : [join(SCRIPTS, 'sid')];
  const signature = isChecked ? [`--keyring=${KEYRING}`] : ['--no-check-gpg'];
  const what = ['--variant=minbase', `--include=${include}`, ...signature];
  return run('debootstrap', [...what, suite, directory, mirror, ...script]);
}

/**
 * Makes it, or leaves what was there. The signature goes unchecked only where this machine's keyring is too old to
 * have the key, which is said.
 * @returns why it could not be made; undefined when it was.
 */
export function makeDebian({ suite, include, directory }, say) {
  if (!install()) return 'debootstrap could not be installed with apt';
  // Renamed when it is whole: one that was broken off is not taken for good.
  const draft = `${directory}.new`;
  let output = '';
  for (const mirror of mirrors()) {
    const base = { suite, include, directory: draft, mirror };
    let made = debootstrap({ ...base, isChecked: existsSync(KEYRING) });
    if (!made.ok && /signed by unknown key/i.test(made.output)) {
      say(`The signature of ${suite} goes unchecked: the Debian keyring here has no key for it.`);
      made = debootstrap({ ...base, isChecked: false });
    }
    if (made.ok) {
      // Without it Erlang finds no localhost, and no node starts.
      writeFileSync(join(draft, 'etc', 'hosts'), '127.0.0.1 localhost\n');
      renameSync(draft, directory);
      return undefined;
    }
    output = made.output;
  }
  rmSync(draft, { recursive: true, force: true });
  return `debootstrap said: ${output.trim().split('\n').at(-1) ?? 'nothing'}`;
}
