// RabbitMQ 4 beside the machine's own 3.10, for the tests: Debian 13's package in a root directory of
// its own. Made once, in about two minutes; where it cannot be made, the tests run on one broker.
import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

const ROOT = process.env.WARREN_SECOND_BROKER_ROOT ?? '/var/cache/warren-tests/debian-13';
const SERVER = 'usr/lib/rabbitmq/bin/rabbitmq-server';

const run = (command, args) =>
  spawnSync(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  }).status === 0;

/** Whether /proc is there in it, without which Erlang counts no processors. */
function mountProc() {
  if (existsSync(join(ROOT, 'proc', 'self'))) return true;
  return run('mount', ['-t', 'proc', 'proc', join(ROOT, 'proc')]);
}

function make() {
  if (
    !existsSync('/usr/sbin/debootstrap') &&
    !run('apt-get', ['install', '-y', '-q', 'debootstrap'])
  )
    return false;
  // Renamed when it is whole: one that was broken off is not taken for good.
  const draft = `${ROOT}.new`;
  rmSync(draft, { recursive: true, force: true });
  const args = ['--variant=minbase', '--include=rabbitmq-server', 'trixie', draft];
  if (!run('mkdir', ['-p', draft]) || !run('debootstrap', args)) return false;
  renameSync(draft, ROOT);
  return true;
}

/** The directory of a second broker, or undefined where there can be none. */
export function secondBroker(say) {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    say('A second broker takes root on Debian or Ubuntu; the tests run on one.');
    return undefined;
  }
  if (!existsSync(join(ROOT, SERVER))) {
    say('Installing RabbitMQ 4 beside the other (about two minutes, the first time) …');
    if (!make()) {
      say('It could not be installed; the tests run on one broker.');
      return undefined;
    }
  }
  return mountProc() ? ROOT : undefined;
}
