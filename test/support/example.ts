import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrowserContextOptions, Browser, Page } from 'playwright-core';
import { freePorts } from '@warren/rabbitmq';
import { Program, ROOT } from './program.js';
import { until } from './until.js';

export interface RunningExample {
  /** Where its page is, with a slash at the end. */
  url: string;
  dataDir: string;
  program: Program;
  stop: () => Promise<void>;
}

/** The blocks of shell commands in a README, in order. */
export async function commandsIn(readme: string): Promise<string[]> {
  const text = await readFile(join(ROOT, readme), 'utf8');
  return [...text.matchAll(/```sh\n([\s\S]*?)\n```/g)].map(([, block = '']) => block);
}

/** Runs what the README of an example says, on a free port and a directory that goes with it. */
export async function startExample(
  name: string,
  environment: Record<string, string> = {},
): Promise<RunningExample> {
  const [command = ''] = await commandsIn(`examples/${name}/README.md`);
  const [port = 0] = await freePorts(1);
  const dataDir = await mkdtemp(join(tmpdir(), `warren-${name}-`));
  const args = [...command.split(' '), '--', '--port', String(port), '--data-dir', dataDir];
  const program = new Program(args[0] ?? '', args.slice(1), environment);
  let url = '';
  await until(
    () => {
      url = /http:\/\/127\.0\.0\.1:\d+\/\S*/.exec(program.output)?.[0] ?? '';
      return program.output.includes('Ctrl-C stops everything.');
    },
    () => program.output,
    90_000,
  );
  return {
    url,
    dataDir,
    program,
    stop: async () => {
      program.interrupt();
      await program.exited;
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** A page in a browser profile of its own; what goes wrong in it is in `problems`. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; problems: string[] }> {
  const context = await browser.newContext({ viewport: { width: 900, height: 700 }, ...options });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (line) => {
    if (line.type() === 'error') problems.push(line.text());
  });
  await page.goto(url);
  return { page, problems };
}
