// Runs all tests on the machine's own RabbitMQ; beside them those that a broker can change the outcome of on RabbitMQ 4,
// and then some on PostgreSQL. Ends with their count on a line of its own. Arguments go to vitest; with any, or with a
// broker chosen by WARREN_TEST_BROKER_ROOT, there is one run.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
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

async function runOnce({ name, args, env = {}, output = 'inherit' }) {
  const report = join(dir, `${name}.json`);
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const run = spawn(process.execPath, [vitest, 'run', ...reporters, ...args], {
    stdio: ['ignore', output, output],
    env: { ...process.env, ...env },
  });
  const [status] = await once(run, 'close');
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
async function runTwice(run) {
  const first = await runOnce(run);
  const { failures } = first;
  if (failures.length === 0 || failures.length > MOST_TRIED_AGAIN) return first;
  say(`Again, by themselves, those of ${String(failures.length)} that failed (${run.name}):`);
  const args = [...new Set(failures.map(({ file }) => file))];
  const again = await runOnce({ ...run, args });
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

/** The runs that are not on the machine's own broker, one after the other. Resolves to their results. */
async function runElsewhere(output) {
  const results = [];
  const head = (text) => writeSync(output, `\n  ${text}\n`);
  const root = secondBroker(say);
  if (root !== undefined) {
    const args = BROKERLESS.flatMap((pattern) => ['--exclude', pattern]);
    const env = { WARREN_TEST_BROKER_ROOT: root };
    head('The same tests on RabbitMQ 4:');
    results.push(await runTwice({ name: 'second', args, env, output }));
  }
  const env = { WARREN_TEST_DATABASE: 'postgres' };
  head('Those whose outcome is in the database, on PostgreSQL:');
  results.push(await runTwice({ name: 'postgres', args: IN_DATABASE, env, output }));
  return results;
}

/** Much of a test is waiting, so that two runs at once take little longer than one. */
async function runAll() {
  const log = join(dir, 'elsewhere.log');
  const output = openSync(log, 'w');
  const results = await Promise.all([runTwice({ name: 'own', args: [] }), runElsewhere(output)]);
  closeSync(output);
  say('Meanwhile:');
  process.stdout.write(readFileSync(log, 'utf8'));
  return results.flat();
}

const args = process.argv.slice(2);
const isWhole = args.length === 0 && process.env.WARREN_TEST_BROKER_ROOT === undefined;
const runs = isWhole ? await runAll() : [await runOnce({ name: 'own', args })];
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
