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

/** What failed, a paragraph each: whoever has only the end of a long log can tell what went wrong. */
function failuresIn(run, { testResults }) {
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = relative(process.cwd(), name);
    const failed = assertionResults.filter((test) => test.status === 'failed');
    // A file that could not be loaded, or whose hooks failed, says so in its own message.
    if (failed.length === 0)
      return status === 'failed' ? [`${run}: ${file}\n${beginning(message)}`] : [];
    return failed.map(
      ({ fullName, failureMessages }) =>
        `${run}: ${file}: ${fullName}\n${beginning(failureMessages.join('\n'))}`,
    );
  });
}

const beginning = (message) =>
  stripVTControlCharacters(message).split('\n').slice(0, 12).join('\n').slice(0, 1000);

const args = process.argv.slice(2);
const runs = [runOnce('own', args)];
if (args.length === 0 && process.env.WARREN_TEST_BROKER_ROOT === undefined) {
  const root = secondBroker(say);
  if (root !== undefined) {
    say('The same tests on RabbitMQ 4:');
    const excluded = BROKERLESS.flatMap((pattern) => ['--exclude', pattern]);
    runs.push(runOnce('second', excluded, { WARREN_TEST_BROKER_ROOT: root }));
  }
  say('Those whose outcome is in the database, on PostgreSQL:');
  runs.push(runOnce('postgres', IN_DATABASE, { WARREN_TEST_DATABASE: 'postgres' }));
}
rmSync(dir, { recursive: true, force: true });

for (const failure of runs.flatMap(({ failures }) => failures))
  process.stdout.write(`\nFAILED in ${failure}\n`);
const sum = (key) => runs.reduce((total, run) => total + run[key], 0);
const skipped = sum('skipped') > 0 ? `, ${sum('skipped')} skipped` : '';
process.stdout.write(`${sum('passed')} passed, ${sum('failed')} failed${skipped}\n`);
// A run without any test has shown nothing.
process.exitCode = runs.every(({ ok }) => ok) ? 0 : 1;
