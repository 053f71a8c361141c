import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readFlags } from '@warren/server/dev';
import { program } from '../../../server/dist/cli.js';
import { ROOT } from '../program.js';
import { curlProblem } from './routes.js';
import { DEV_INFO, RUN, type Command } from './shell.js';

/** Of others: which of their commands there are, only they know. */
const FOREIGN = ['pip', 'rabbitmqctl', 'sqlite3', ...RUN];
const FOREIGN_PACKAGES = ['@react-native-community/cli'];

/** What is wrong with a command as the shell calls it; undefined when nothing is. */
export async function commandProblem(command: Command): Promise<string | undefined> {
  const { page, argv, isInSentence } = command;
  const [name = '', ...args] = argv;
  if (FOREIGN.includes(name)) return undefined;
  if (name === 'curl') return attempt(() => curlProblem(args, DEV_INFO.apiUrl));
  if (name === 'npm') return npmProblem(args, page);
  if (name === 'warren') return warrenProblem(args, isInSentence);
  if (name === 'npx' && args[0] === 'warren') return warrenProblem(args.slice(1), isInSentence);
  if (name === 'npx') return npxProblem(args);
  if (name === 'apt-get') return aptProblem(args);
  if (['sh', 'python3', 'node'].includes(name)) return scriptProblem(args);
  return `${name} is checked by nobody.`;
}

function attempt(check: () => string | undefined): string | undefined {
  try {
    return check();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

interface Manifest {
  scripts?: Record<string, string>;
  dependencies?: Record<string, string>;
}
const manifestIn = async (folder: string): Promise<Manifest> => {
  const text = await readFile(join(ROOT, folder, 'package.json'), 'utf8').catch(() => '{}');
  return JSON.parse(text) as Manifest;
};

async function npmProblem([verb = '', ...rest]: string[], page: string) {
  if (verb === 'ci') return undefined;
  if (verb === 'install') {
    const { dependencies = {} } = await manifestIn(dirname(page));
    const unknown = rest.filter((name) => !(name in dependencies));
    return unknown.length === 0 ? undefined : `The package needs no ${unknown.join(', no ')}.`;
  }
  const script = verb === 'run' ? (rest.shift() ?? '') : verb;
  const workspace = rest[0] === '-w' ? rest.splice(0, 2)[1] : undefined;
  const places = workspace === undefined ? ['.', dirname(page)] : [workspace];
  const manifests = await Promise.all(places.map(manifestIn));
  if (!manifests.some(({ scripts = {} }) => script in scripts)) {
    return `There is no script ${script} in ${places.join(' or ')}.`;
  }
  if (rest.length === 0) return undefined;
  if (rest[0] !== '--') return `npm takes ${rest.join(' ')} for itself: -- is missing.`;
  return scriptArgsProblem(script, rest.slice(1));
}

async function scriptArgsProblem(script: string, args: string[]): Promise<string | undefined> {
  // It would end the process.
  if (script === 'start')
    return attempt(() => void readFlags(args.filter((arg) => arg !== '--help')));
  if (script === 'test') return testsProblem(args);
  if (script !== 'bench') return `What ${script} takes is not known here.`;
  const source = await readFile(join(ROOT, 'bench/src/main.ts'), 'utf8');
  const [, parts = ''] = /const PARTS[^{]*\{([^}]*)\}/.exec(source) ?? [];
  const known = [...parts.matchAll(/^ {2}'?([\w-]+)'?:/gm)].map(([, part]) => part);
  const unknown = args.filter((arg) => !known.includes(arg));
  return unknown.length === 0 ? undefined : `There is no benchmark ${unknown.join(', ')}.`;
}

function npxProblem([name = '', ...args]: string[]):
  Promise<string | undefined> | string | undefined {
  if (name === 'vitest') return testsProblem(args.slice(1));
  return FOREIGN_PACKAGES.includes(name) ? undefined : `${name} is no command of Warren's.`;
}

/** Vitest runs the files whose names hold one of the words. */
async function testsProblem(words: string[]): Promise<string | undefined> {
  const files = await readdir(join(ROOT, 'test'), { recursive: true });
  const tests = files.filter((file) => file.endsWith('.test.ts')).map((file) => `test/${file}`);
  const unknown = words.filter(
    (word) => word !== '…' && !tests.some((file) => file.includes(word)),
  );
  return unknown.length === 0 ? undefined : `There are no tests ${unknown.join(', ')}.`;
}

/** By the options and arguments that the command itself reads. */
function warrenProblem(args: string[], isInSentence: boolean): string | undefined {
  let command: typeof program = program;
  const rest = [...args];
  for (;;) {
    const next = command.commands.find((each) => each.name() === rest[0]);
    if (next === undefined) break;
    command = next;
    rest.shift();
  }
  const name = ['warren', ...args.slice(0, args.length - rest.length)].join(' ');
  if (command.commands.length > 0) return `${name} knows no command ${rest.join(' ')}.`;
  command.exitOverride().configureOutput({ writeErr: () => undefined });
  return attempt(() => {
    const { operands, unknown } = command.parseOptions(rest);
    if (unknown.length > 0) return `${name} knows no ${unknown.join(' ')}.`;
    if (isInSentence && operands.length === 0) return undefined;
    const problem = operandsProblem(command, operands);
    return problem && `${name} ${problem}`;
  });
}

function operandsProblem(command: typeof program, operands: string[]): string | undefined {
  const { registeredArguments: expected } = command;
  const least = expected.filter(({ required }) => required).length;
  if (operands.length > expected.length || operands.length < least) {
    return `takes ${String(least)} to ${String(expected.length)} arguments, not ${String(operands.length)}.`;
  }
  const wrong = operands.filter((operand, index) => {
    const { argChoices } = expected[index] ?? {};
    return argChoices !== undefined && !argChoices.includes(operand);
  });
  return wrong.length === 0 ? undefined : `takes no ${wrong.join(', ')}.`;
}

/** Debian's packages are those that the tests install. */
async function aptProblem(args: string[]): Promise<string | undefined> {
  const known = await readFile(join(ROOT, 'tools/prepare.mjs'), 'utf8');
  const [verb = '', ...rest] = args;
  const unknown = rest.filter((name) => !name.startsWith('-') && !known.includes(`'${name}': [`));
  if (verb !== 'install') return `apt-get ${verb} is not known here.`;
  return unknown.length === 0 ? undefined : `The tests install no ${unknown.join(', no ')}.`;
}

/** What lies in a folder must be there; a bare name is a file that the page has the reader make. */
function scriptProblem([script = '']: string[]): string | undefined {
  const isThere = script.includes('/') ? existsSync(join(ROOT, script)) : /^\w+\.\w+$/.test(script);
  return isThere ? undefined : `There is no ${script}.`;
}
