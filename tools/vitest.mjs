// One run of vitest as a process of its own, and what came of it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import process from 'node:process';
import { stripVTControlCharacters } from 'node:util';

/** More than so many failures are no accident. */
const MOST_TRIED_AGAIN = 5;

/** @param run `{ name, label, args, env, output }`; `dir` is for its report. */
export async function runOnce({ name, label, args, env = {}, output = 'inherit' }, dir) {
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
    return { label, passed, failed, skipped, ok, failures: failuresIn(label, results) };
  } catch {
    process.stderr.write(`The test runner wrote no report (${label}).\n`);
    return { label, passed: 0, failed: 0, skipped: 0, ok: false, failures: [] };
  }
}

/**
 * As {@link runOnce}, but files with a few failed tests are run once more, by themselves. What passes then has met
 * a busy machine, or a bug in the test or in Warren that shows itself now and then: it is told all the same.
 */
export async function runTwice(run, dir, say) {
  const first = await runOnce(run, dir);
  const { failures } = first;
  if (failures.length === 0 || failures.length > MOST_TRIED_AGAIN) return first;
  say(`Again, by themselves, those of ${String(failures.length)} that failed (${run.label}):`);
  const args = [...new Set(failures.map(({ file }) => file))];
  const again = await runOnce({ ...run, args }, dir);
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
export function tell({ run, file, name, message, isFlaky = false }) {
  const lines = stripVTControlCharacters(message).split('\n');
  const own = lines.filter((line) => !line.includes('node_modules'));
  const beginning = own.slice(0, 12).join('\n');
  const word = isFlaky ? 'FLAKY' : 'FAILED';
  process.stdout.write(`\n${word} in ${run}: ${file}: ${name}\n${beginning.slice(0, 1000)}\n`);
}
