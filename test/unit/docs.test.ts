import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { PROBLEMS } from '@warren/protocol';
import { ROOT } from '../support/program.js';

const read = (path: string): Promise<string> => readFile(join(ROOT, path), 'utf8');

/** The members of a union of string literals, as its source has them. */
async function unionIn(path: string, name: string): Promise<string[]> {
  const [, union = ''] = new RegExp(`type ${name} =([^;]+);`).exec(await read(path)) ?? [];
  return [...union.matchAll(/'(\w+)'/g)].map(([, code]) => code!);
}

describe('docs/errors.md', () => {
  it.each([
    ['the HTTP API', () => Promise.resolve(Object.keys(PROBLEMS))],
    ['the publish helper', () => unionIn('server/src/publisher/errors.ts', 'PublishErrorCode')],
    ['the SDK, terminal', () => unionIn('client-sdk/src/errors.ts', 'TerminalCode')],
    ['the SDK, passing', () => unionIn('client-sdk/src/errors.ts', 'PassingCode')],
    ['the SDK, pausing', () => unionIn('client-sdk/src/errors.ts', 'PauseCode')],
    ['the SDK, usage', () => unionIn('client-sdk/src/errors.ts', 'UsageCode')],
    ['the launcher', () => unionIn('rabbitmq/src/errors.ts', 'BrokerErrorCode')],
  ])('explains every code of %s', async (_what, codesOf) => {
    const docs = await read('docs/errors.md');
    const codes = await codesOf();
    expect(codes.length).toBeGreaterThan(2);
    expect(codes.filter((code) => !docs.includes(`\`${code}\``))).toEqual([]);
  });
});

describe('docs/security.md', () => {
  it('names tests that there are', async () => {
    const named = [...(await read('docs/security.md')).matchAll(/`((?:[a-z]+)\/[a-z-]+)`[,)]/g)];
    const tests = new Set(named.map(([, name]) => `${name!}.test.ts`));
    expect(tests.size).toBeGreaterThan(20);
    const files = await readdir(join(ROOT, 'test'), { recursive: true });
    expect([...tests].filter((name) => !files.includes(name))).toEqual([]);
  });
});

describe('docs/api', () => {
  it('is what the doc comments say today: `npm run docs` writes it anew', async () => {
    const out = await mkdtemp(join(tmpdir(), 'warren-docs-'));
    try {
      // Ends with an error when something exported is not explained, or a link leads nowhere.
      await promisify(execFile)(process.execPath, [
        join(ROOT, 'node_modules/typedoc/bin/typedoc'),
        '--options',
        join(ROOT, 'typedoc.json'),
        '--out',
        out,
      ]);
      const pages = await readdir(out, { recursive: true });
      const committed = await readdir(join(ROOT, 'docs/api'), { recursive: true });
      expect([...committed].sort()).toEqual([...pages].sort());
      for (const page of pages.filter((name) => name.endsWith('.md'))) {
        const isCurrent =
          (await read(join('docs/api', page))) === (await readFile(join(out, page), 'utf8'));
        expect(isCurrent, page).toBe(true);
      }
    } finally {
      await rm(out, { recursive: true, force: true });
    }
  }, 180_000);

  it.each([
    ['client-sdk/src/options.ts', 'ClientOptions', 19],
    ['client-sdk/src/stomp.ts', 'StompOptions', 2],
    ['client-sdk/src/platform/node.ts', 'NodeOptions', 1],
    ['server/src/publisher/publisher.ts', 'PublisherOptions', 9],
    ['server/src/publisher/compose.ts', 'SendOptions', 5],
  ])('tells of every option in %s what happens without it', async (path, name, least) => {
    const [, body = ''] =
      new RegExp(`interface ${name} \\{\n([\\s\\S]*?)\n\\}`).exec(await read(path)) ?? [];
    const options = [...body.matchAll(/\/\*\*([\s\S]*?)\*\/\s+(\w+)\??:/g)];
    expect(options.length).toBeGreaterThanOrEqual(least);
    const fields = [...body.matchAll(/^ {2}(\w+)\??:/gm)].map(([, field]) => field);
    expect(options.map(([, , field]) => field)).toEqual(fields);
    const silent = options.filter(([, text]) => !/Default|\(default\)|Required/.test(text!));
    expect(silent.map(([, , field]) => field)).toEqual([]);
    // A number without its unit is a guess.
    const unitless = options.filter(
      ([, text, field]) => field!.endsWith('Ms') && !text!.includes('millisecond'),
    );
    expect(unitless.map(([, , field]) => field)).toEqual([]);
  });
});

describe('README.md', () => {
  it('names every variable that the server reads, and no other', async () => {
    const source = await read('server/src/variables.ts');
    const known = new Set(source.match(/^ {2}WARREN_[A-Z_]+(?=:)/gm)?.map((name) => name.trim()));
    const readme = (await read('README.md')).replaceAll(
      /`_(PUBLIC_KEY|JWKS_URL|AUDIENCE|CLAIM)`/g,
      'WARREN_USER_JWT_$1',
    );
    const named = new Set(readme.match(/WARREN_[A-Z_]+[A-Z]/g));
    expect([...named].sort()).toEqual([...known].sort());
  });
});
