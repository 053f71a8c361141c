import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { DevInfo } from '../../../server/dist/dev/state.js';
import type { Block, Page } from './pages.js';

export interface Command {
  page: string;
  line: number;
  /** A sentence may name a command without what it is called with. */
  isInSentence: boolean;
  argv: string[];
}

export interface ShellRun {
  commands: Command[];
  /** What the shell or a program had to say of what it could not do. */
  problems: string[];
  stdout: string;
}

/** Recorded instead of run. Whatever is in none of these lists is "not found". */
const RECORDED = [
  'apt-get',
  'curl',
  'node',
  'npm',
  'npx',
  'pip',
  'python3',
  'rabbitmqctl',
  'sh',
  'sqlite3',
  'warren',
];
/** Run where they are installed: they change nothing but what lies in the directory of the run. */
export const RUN = ['openssl', 'sha256sum', 'cut'];

/** `dev() { node -p …; }` of the README runs, so that a field that is not there shows itself. */
const RECORDER = `#!/bin/sh
name=\${0##*/}
if [ "$name \${1-}" = "node -p" ]; then exec "$REAL_NODE" "$@"; fi
printf '%s\\0' "$LINE" "$PLACE" "$#" "$name" "$@" >>"$COMMANDS"
`;
/** openssl tells on standard error what it does well, too. */
const RUNNER = `#!/bin/sh
name=\${0##*/}
PATH=$REAL_PATH "$name" "$@" 2>/dev/null || echo "$name $* has failed" >&2
`;

export const DEV_INFO: DevInfo = {
  apiUrl: 'http://127.0.0.1:8080',
  consoleUrl: 'http://127.0.0.1:8080/console',
  stompUrl: 'ws://127.0.0.1:15674/ws',
  amqpUrl: 'amqp://backend:password@127.0.0.1:5672/warren',
  managementUrl: 'http://127.0.0.1:15672',
  vhost: 'warren',
  exchange: 'warren.direct',
  serviceKey: 'service-key-service-key',
  adminKey: 'admin-key-admin-key',
  pid: 1,
};

const SPAN = new RegExp(`^([A-Z_]+=(\\$\\(.*?\\)|\\S+) )*(${[...RECORDED, ...RUN].join('|')}) `);

/**
 * Runs all of a page's commands in one shell, from top to bottom, as its reader would: blocks, and spans that
 * are commands. Programs that would do something are only recorded, as the shell calls them.
 * @param last runs at the end, to print what the page has come to.
 */
export async function runPage(page: Page, last = ''): Promise<ShellRun> {
  const directory = await mkdtemp(join(tmpdir(), 'warren-snippets-'));
  try {
    await furnish(directory);
    const script = join(directory, 'page.sh');
    await writeFile(script, `${toScript(page)}\n${last}\n`);
    const { stdout, stderr } = await run(script, directory);
    const recorded = await readFile(join(directory, 'commands'), 'utf8').catch(() => '');
    const problems = stderr.split('\n').filter((line) => line !== '');
    return {
      commands: parseRecord(page.path, recorded),
      problems: problems.map((line) => `${page.path}: ${line.replace(`${script}: `, '')}`),
      stdout,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Each line is where it is on the page, so that the shell speaks of the page's lines. */
function toScript({ text, blocks, spans }: Page): string {
  const lines = text.split('\n').map((): string => '');
  for (const block of blocks) {
    const code = commandsIn(block);
    if (code === undefined) continue;
    lines[block.line - 2] = `LINE=${String(block.line)} PLACE=block`;
    for (const [index, each] of code.entries()) lines[block.line - 1 + index] = each;
  }
  for (const { line, text: code } of spans) {
    if (!SPAN.test(code)) continue;
    // In a sentence, <name> stands for what the reader puts there.
    const filled = code.replaceAll(/<[^<>]+>/g, 'placeholder');
    lines[line - 1] = `${lines[line - 1] ?? ''}LINE=${String(line)} PLACE=sentence; ${filled}; `;
  }
  return lines.join('\n');
}

/** On a console, what is behind `$`: the rest is what it prints. */
function commandsIn({ language, text }: Block): string[] | undefined {
  const lines = text.split('\n');
  if (language === 'console') {
    return lines.map((line) => (line.startsWith('$ ') ? line.slice(2) : ''));
  }
  return language === 'sh' ? lines : undefined;
}

async function furnish(directory: string): Promise<void> {
  await mkdir(join(directory, '.warren'));
  await writeFile(join(directory, '.warren/dev.json'), JSON.stringify(DEV_INFO));
  const bin = join(directory, 'bin');
  await mkdir(bin);
  const programs = [
    ...RECORDED.map((name) => [name, RECORDER]),
    ...RUN.map((name) => [name, isInstalled(name) ? RUNNER : RECORDER]),
  ];
  for (const [name = '', text = ''] of programs) {
    await writeFile(join(bin, name), text);
    await chmod(join(bin, name), 0o755);
  }
}

function run(script: string, cwd: string): Promise<{ stdout: string; stderr: string }> {
  const env = {
    PATH: join(cwd, 'bin'),
    REAL_PATH: process.env['PATH'] ?? '',
    REAL_NODE: process.execPath,
    COMMANDS: join(cwd, 'commands'),
    LINE: '0',
    PLACE: 'block',
  };
  return new Promise((resolve) => {
    execFile('/bin/sh', ['-u', script], { cwd, env }, (_error, stdout, stderr) => {
      // What has failed says so itself.
      resolve({ stdout, stderr });
    });
  });
}

/** As the recorder has written it: line, place, count, name and so many arguments. */
function parseRecord(page: string, text: string): Command[] {
  const words = text.split('\0').slice(0, -1);
  const commands: Command[] = [];
  while (words.length > 0) {
    const [line, place, count] = words.splice(0, 3);
    commands.push({
      page,
      line: Number(line),
      isInSentence: place === 'sentence',
      argv: words.splice(0, 1 + Number(count)),
    });
  }
  return commands;
}

/** Whether a program is on this machine. */
export function isInstalled(name: string): boolean {
  const places = (process.env['PATH'] ?? '').split(delimiter);
  return places.some((place) => existsSync(join(place, name)));
}
