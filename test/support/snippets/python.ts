import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../program.js';
import type { Block } from './pages.js';
import { DEV_INFO } from './shell.js';

export interface PythonRun {
  /** Without pika nothing runs: blocks are compiled alone. */
  hasPika: boolean;
  results: {
    problem?: string;
    published?: { exchange: string; routingKey: string; body: string }[];
  }[];
}

/** Debian's is the one that has pika. */
const INTERPRETERS = ['/usr/bin/python3', 'python3'];

/** @returns undefined where there is no Python. */
export async function findPython(): Promise<string | undefined> {
  for (const python of INTERPRETERS) {
    const works = await promisify(execFile)(python, ['-c', '']).then(
      () => true,
      () => false,
    );
    if (works) return python;
  }
  return undefined;
}

/** Runs each block by itself, with pika's own types and no broker. */
export async function runPython(python: string, blocks: Block[]): Promise<PythonRun> {
  const running = promisify(execFile)(python, [join(ROOT, 'test/fixtures/snippets/run.py')], {
    env: { ...process.env, AMQP_URL: DEV_INFO.amqpUrl },
  });
  const given = blocks.map(({ page, line, text }) => ({ page, line, text }));
  running.child.stdin?.end(JSON.stringify(given));
  return JSON.parse((await running).stdout) as PythonRun;
}
