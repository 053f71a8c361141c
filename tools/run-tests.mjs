// Runs all tests on the machine's own RabbitMQ, then those that a broker can change the outcome of on
// RabbitMQ 4, and some on PostgreSQL, and ends with their count on a line of its own. Arguments go to vitest; with any, or with
// a broker chosen by WARREN_TEST_BROKER_ROOT, there is one run.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import process from 'node:process';
import { stripVTControlCharacters } from 'node:util';
import { secondBroker } from './second-broker.mjs';

/** What runs without a broker, or has one of its own whose version it does not ask for. */
const BROKERLESS = [
  'test/unit/**',
  'test/commands/start.test.ts',
  'test/examples/**',
  // Its chroot is what the second run stands on.
  'test/faults/launcher.test.ts',
  // They take long, and what they kill is the same.
  'test/faults/chaos.test.ts',
  'test/faults/push.test.ts',
  'test/integration/postgres.test.ts',
  'test/integration/history-store.test.ts',
  'test/faults/history.test.ts',
];

/** What a file and PostgreSQL could answer differently. */
const IN_DATABASE = [
  'groups',
  'many',
  'tracking',
  'push',
  'presence',
  'devices',
  'history.',
  'recovery',
  'timeline',
  'dead-letters',
  'admin',
].map((name) => `test/integration/${name}`);

/** More than so many failures are no accident. */
const MOST_TRIED_AGAIN = 5;

const say = (text) => process.stdout.write(`  ${text}\n`);
const dir = mkdtempSync(join(tmpdir(), 'warren-tests-'));

function runOnce(name, args, env = {}) {
  const report = join(dir, `${name}.json`);
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const { status } = spawnSync(process.execPath, [vitest, 'run', ...reporters, ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env },
  });
  try {
    const results = JSON.parse(readFileSync(report, 'utf8'));
    const { numPassedTests: passed, numFailedTests: failed, numPendingTests: skipped } = results;
    const ok = status === 0 && passed > 0 && failed === 0;
    return { passed, failed, skipped, ok, failures: failuresIn(name, results) };
  } catch {
    process.stderr.write('The test runner wrote no report.\n');
    return { passed: 0, failed: 0, skipped: 0, ok: false, failures: [] };
  }
}

/**
 * As {@link runOnce}, but files with a few failed tests are run once more, by themselves. What passes then has met
 * a busy machine, or a bug in the test or in Warren that shows itself now and then: it is told all the same.
 */
function runTwice(name, args, env = {}) {
  const first = runOnce(name, args, env);
  const { failures } = first;
  if (failures.length === 0 || failures.length > MOST_TRIED_AGAIN) return first;
  say(`Again, by themselves, those of ${String(failures.length)} that failed:`);
  const again = runOnce(name, [...new Set(failures.map(({ file }) => file))], env);
  if (!again.ok) return { ...first, failures: [...failures, ...again.failures] };
  const flaky = failures.map((failure) => ({ ...failure, isFlaky: true }));
  return { ...first, passed: first.passed + first.failed, failed: 0, ok: true, failures: flaky };
}

/** What failed, by file, test and message. */
function failuresIn(run, { testResults }) {
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = relative(process.cwd(), name);
    const failed = assertionResults.filter((test) => test.status === 'failed');
    // A file that could not be loaded, or whose hooks failed, says so in its own message.
    if (failed.length === 0) return status === 'failed' ? [{ run, file, name: '', message }] : [];
    return failed.map(({ fullName, failureMessages }) => {
      return { run, file, name: fullName, message: failureMessages.join('\n') };
    });
  });
}

/** Whoever has only the end of a long log can tell what went wrong. */
function tell({ run, file, name, message, isFlaky = false }) {
  const lines = stripVTControlCharacters(message).split('\n');
  const own = lines.filter((line) => !line.includes('node_modules'));
  const beginning = own.slice(0, 12).join('\n');
  const word = isFlaky ? 'FLAKY' : 'FAILED';
  process.stdout.write(`\n${word} in ${run}: ${file}: ${name}\n${beginning.slice(0, 1000)}\n`);
}

const args = process.argv.slice(2);
const isWhole = args.length === 0 && process.env.WARREN_TEST_BROKER_ROOT === undefined;
const runs = [isWhole ? runTwice('own', args) : runOnce('own', args)];
if (isWhole) {
  const root = secondBroker(say);
  if (root !== undefined) {
    say('The same tests on RabbitMQ 4:');
    const excluded = BROKERLESS.flatMap((pattern) => ['--exclude', pattern]);
    runs.push(runTwice('second', excluded, { WARREN_TEST_BROKER_ROOT: root }));
  }
  say('Those whose outcome is in the database, on PostgreSQL:');
  runs.push(runTwice('postgres', IN_DATABASE, { WARREN_TEST_DATABASE: 'postgres' }));
}
rmSync(dir, { recursive: true, force: true });

const failures = runs.flatMap((run) => run.failures);
for (const failure of failures) tell(failure);
const sum = (key) => runs.reduce((total, run) => total + run[key], 0);
const skipped = sum('skipped') > 0 ? `, ${sum('skipped')} skipped` : '';
const flaky = failures.filter(({ isFlaky }) => isFlaky).length;
if (flaky > 0)
  say(`${String(flaky)} failed at first and passed when tried again: see FLAKY above.`);
process.stdout.write(`${sum('passed')} passed, ${sum('failed')} failed${skipped}\n`);
// A run without any test has shown nothing.
process.exitCode = runs.every(({ ok }) => ok) ? 0 : 1;
