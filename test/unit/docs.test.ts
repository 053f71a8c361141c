import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
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

describe('README.md', () => {
  it('names every variable that the server reads, and no other', async () => {
    const source = await read('server/src/config.ts');
    const known = new Set(source.match(/^ {2}WARREN_[A-Z_]+(?=:)/gm)?.map((name) => name.trim()));
    const readme = (await read('README.md')).replaceAll(
      /`_(PUBLIC_KEY|JWKS_URL|AUDIENCE|CLAIM)`/g,
      'WARREN_USER_JWT_$1',
    );
    const named = new Set(readme.match(/WARREN_[A-Z_]+[A-Z]/g));
    expect([...named].sort()).toEqual([...known].sort());
  });
});
