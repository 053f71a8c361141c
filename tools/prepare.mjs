// Brings a fresh clone to the point where its commands work: packages, build, broker, browser. Runs
// before `npm start`, `npm test` and `npm run bench`, with Node alone, so it imports nothing else.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const mode = process.argv[2];
const PURPOSES = ['start', 'test', 'build'];

const say = (text) => process.stdout.write(`  ${text}\n`);

function giveUp(what, remedy) {
  process.stderr.write(`\n  Warren could not start. ${what}\n  ${remedy}\n\n`);
  process.exit(1);
}

function run(command, args, { quiet = false, env = {} } = {}) {
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: quiet ? ['ignore', 'ignore', 'inherit'] : ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env },
    shell: process.platform === 'win32',
  });
  return status === 0;
}

function checkNode() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= 20) return;
  giveUp(`Node ${process.versions.node} is too old.`, 'Install Node 20 or newer.');
}

function installPackages() {
  const stamp = join(root, 'node_modules', '.warren-installed');
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  say('Installing packages (about a minute, the first time) …');
  if (!run('npm', ['ci', '--no-audit', '--no-fund'])) {
    giveUp('The packages could not be installed.', 'See above; then run "npm ci" again.');
  }
  writeFileSync(stamp, wanted);
}

/** What is built for browsers, and what it is made of beside its own sources. */
const PAGES = [
  'server/console',
  ...['demo', 'chat', 'notification', 'progress', 'call', 'express'].map(
    (name) => `examples/${name}/web`,
  ),
];
const PARTS = ['client-sdk/src', 'examples/common/src', 'examples/common/style.css'];

function build(projects) {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  if (!existsSync(join(root, 'server', 'dist', 'index.js')))
    say('Building (about half a minute) …');
  if (!run(process.execPath, [tsc, '-b', ...projects])) {
    giveUp('The build failed.', 'See above.');
  }
  for (const path of PAGES) buildPages(path);
}

function newestIn(path) {
  if (!statSync(path).isDirectory()) return statSync(path).mtimeMs;
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .filter((file) => !/[\\/](dist|node_modules)[\\/]/.test(file));
  return Math.max(...files.map((file) => statSync(file).mtimeMs));
}

/** With Vite, when something that the page is made of is newer than it is. */
function buildPages(path) {
  const page = join(root, `${path.replace(/\/web$/, '')}/dist/web/index.html`);
  const sources = [path, path.replace(/\/web$/, '/src'), ...PARTS].map((source) =>
    join(root, source),
  );
  const newest = Math.max(...sources.filter((source) => existsSync(source)).map(newestIn));
  if (existsSync(page) && statSync(page).mtimeMs > newest) return;
  const vite = join(root, 'node_modules', 'vite', 'bin', 'vite.js');
  if (!run(process.execPath, [vite, 'build', '--logLevel', 'warn', join(root, path)])) {
    giveUp(`The page of ${path} could not be built.`, 'See above.');
  }
}

/** What stands for each Debian package once it is installed. */
const PACKAGES = {
  'rabbitmq-server': ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
  chromium: ['/usr/bin/chromium'],
  'python3-pika': ['/usr/lib/python3/dist-packages/pika'],
  postgresql: ['/usr/lib/postgresql'],
  openssl: ['/usr/bin/openssl'],
  'default-jdk-headless': ['/usr/bin/javac'],
  'librabbitmq-client-java': ['/usr/share/java/amqp-client.jar'],
  'libandroid-json-org-java': ['/usr/share/java/json-android.jar'],
};
// Where macOS and the generic package put the broker.
const OTHER_BROKERS = [
  '/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server',
  '/usr/local/opt/rabbitmq/sbin/rabbitmq-server',
  '/opt/rabbitmq/sbin/rabbitmq-server',
  process.env.RABBITMQ_SERVER_SCRIPT ?? '',
];

const isInstalled = (name) =>
  PACKAGES[name].some((path) => existsSync(path)) ||
  (name === 'rabbitmq-server' && OTHER_BROKERS.some((path) => path !== '' && existsSync(path)));

function installSystemPackages(names) {
  const missing = names.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  const canInstall = process.getuid?.() === 0 && existsSync('/usr/bin/apt-get');
  if (!canInstall) {
    giveUp(
      `This machine has no ${missing.join(', no ')}, and it cannot be installed from here.`,
      'Debian, Ubuntu: "sudo apt-get install ' +
        `${missing.join(' ')}". macOS: "brew install rabbitmq". Docker: ` +
        '"docker run rabbitmq:4-management" or any other broker of your own: set WARREN_AMQP_URL and ' +
        'its companions (see README.md).',
    );
  }
  say(`Installing ${missing.join(', ')} with apt (a minute or two, the first time) …`);
  withoutStartingServices(() => {
    const quiet = { quiet: true, env: { DEBIAN_FRONTEND: 'noninteractive' } };
    run('apt-get', ['update', '-q'], quiet);
    if (!run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], quiet)) {
      giveUp('apt could not install them.', `Run "apt-get install ${missing.join(' ')}" by hand.`);
    }
  });
}

/** Debian starts what it installs; a broker with its default guest account is not wanted here. */
function withoutStartingServices(work) {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) {
    work();
    return;
  }
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const restore = () => rmSync(policy, { force: true });
  process.once('exit', restore);
  work();
  restore();
}

if (!PURPOSES.includes(mode)) {
  giveUp('prepare.mjs was called wrong.', `Say one of: ${PURPOSES.join(', ')}.`);
}
checkNode();
// What cannot be installed is said before anything is downloaded.
if (mode === 'start' && !process.env.WARREN_AMQP_URL && !process.env.WARREN_AMQP_URL_FILE) {
  installSystemPackages(['rabbitmq-server']);
}
if (mode === 'test') installSystemPackages(Object.keys(PACKAGES));
installPackages();
const FOR_START = ['examples/demo', 'examples/express', 'examples/service', 'bench'];
build(mode === 'start' ? [...FOR_START, 'client-sdk/tsconfig.amqp.json'] : ['.']);
