// Runs all tests on RabbitMQ 4.3, and on the machine's own and 4.0 whatever a broker can change; then some of them on
// PostgreSQL. Where there is no 4.3, the machine's own runs all of them. Ends with their count on a line of its own. Arguments go to vitest; with any, or with a broker chosen by
// WARREN_TEST_BROKER_ROOT, there is one run.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { brokerVersion, fitOut, FORKY, prepareBroker, TRIXIE } from './brokers.mjs';
import { IN_DATABASE, LEFT_OUT } from './left-out.mjs';
import { runOnce, runTwice, tell } from './vitest.mjs';

/** One for each core; much of a test is waiting. What starts brokers draws its ports from the lane's own. */
const LANES = ['15000-23499', '23500-32000'];

const say = (text) => process.stdout.write(`  ${text}\n`);
const labelOf = (root) => `RabbitMQ ${brokerVersion(root) ?? 'of this machine'}`;
const dir = mkdtempSync(join(tmpdir(), 'warren-tests-'));

function onBroker(name, { root, reason }, what, leftOut) {
  if (root === undefined) return { name, label: what, reason };
  const args = leftOut.flatMap(([pattern]) => ['--exclude', pattern]);
  const env = { WARREN_TEST_BROKER_ROOT: root };
  return { name, label: labelOf(root), args, env, leftOut };
}

/**
 * The longest first, so that the lanes end together. One without `args` cannot be made, for its `reason`. Only the
 * one that runs everything prints as it goes on.
 */
function plan() {
  const forky = prepareBroker(FORKY, say);
  const trixie = prepareBroker(TRIXIE, say);
  const hasForky = forky.root !== undefined;
  const onForky = hasForky ? { WARREN_TEST_BROKER_ROOT: forky.root } : {};
  const own = onBroker('own', { root: '/' }, '', hasForky ? LEFT_OUT.oldest : []);
  return [
    { ...onBroker('recommended', forky, 'RabbitMQ 4.3', []), isShown: hasForky },
    { ...own, env: {}, isShown: !hasForky },
    onBroker('between', trixie, 'RabbitMQ 4.0', LEFT_OUT.between),
    {
      name: 'postgres',
      label: `PostgreSQL, with ${labelOf(forky.root ?? '/')}`,
      args: IN_DATABASE,
      env: { WARREN_TEST_DATABASE: 'postgres', ...onForky },
      leftOut: [['all else', 'it has run on a file, and asks the database for nothing']],
    },
  ];
}

async function runToLog(run) {
  if (run.isShown) return runTwice(run, dir, say);
  const log = join(dir, `${run.name}.log`);
  const output = openSync(log, 'w');
  const result = await runTwice({ ...run, output }, dir, say);
  closeSync(output);
  process.stdout.write(`\n  Meanwhile, ${run.label}:\n${readFileSync(log, 'utf8')}`);
  return result;
}

async function runAll(runs) {
  const waiting = runs.filter(({ args }) => args !== undefined);
  const results = [];
  const lane = async (ports) => {
    for (let run = waiting.shift(); run !== undefined; run = waiting.shift()) {
      const env = { ...run.env, WARREN_TEST_PORTS: ports };
      results.push({ ...run, ...(await runToLog({ ...run, env })) });
    }
  };
  await Promise.all(LANES.map(lane));
  return results;
}

/** One line for each run, and what each has left out. @returns whether there were all that CI wants. */
function summarize(results, missing) {
  process.stdout.write('\n');
  for (const { label, passed, failed } of results) {
    say(`${label}: ${String(passed)} passed${failed > 0 ? `, ${String(failed)} failed` : ''}`);
  }
  for (const { label, leftOut = [] } of results) {
    if (leftOut.length > 0) say(`Left out of ${label}:`);
    for (const [pattern, reason] of leftOut) say(`  ${pattern} (${reason})`);
  }
  for (const { label, reason } of missing) say(`NOT RUN on ${label}: ${reason}.`);
  if (missing.length === 0 || process.env.CI !== 'true') return true;
  say('In CI that is a failure.');
  return false;
}

const args = process.argv.slice(2);
const chosen = process.env.WARREN_TEST_BROKER_ROOT;
let runs;
let isComplete = true;
if (args.length === 0 && chosen === undefined) {
  const planned = plan();
  runs = await runAll(planned);
  isComplete = summarize(
    runs,
    planned.filter((run) => run.args === undefined),
  );
} else {
  if (chosen !== undefined) fitOut(chosen);
  runs = [await runOnce({ name: 'own', label: labelOf(chosen ?? '/'), args }, dir)];
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
process.exitCode = isComplete && runs.every(({ ok }) => ok) ? 0 : 1;
