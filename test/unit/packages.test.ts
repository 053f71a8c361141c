import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import ts from 'typescript';
import { beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../support/program.js';
import { bundle, bundleSdk } from '../support/sdk-page.js';

/** socket.io-client has 14.6 KB, pusher-js 17.8, centrifuge 19. */
const MOST_BYTES = 19_500;

const ESM = ts.ModuleKind.ESNext;

const gzipped = (code: string): number => gzipSync(code, { level: 9 }).length;

describe('the browser bundle', () => {
  let all: string;
  beforeAll(async () => {
    all = await bundleSdk();
  });

  it('has at most 19.5 KB with STOMP, lifecycle and tabs, gzipped', () => {
    process.stdout.write(`  browser bundle: ${String(gzipped(all))} bytes gzipped\n`);
    expect(gzipped(all)).toBeLessThanOrEqual(MOST_BYTES);
  });

  it('has no module of Node, no zod and no AMQP in it, and imports nothing', () => {
    // Not toMatch, which would print all of it.
    expect(/^import\b|\bimport\s*[({*]|\brequire\(/m.test(all)).toBe(false);
    expect(/amqplib|ZodType|_zod/.test(all)).toBe(false);
    expect(builtinModules.filter((name) => all.includes(`node:${name}`))).toEqual([]);
  });

  it('leaves out what an application does not use', async () => {
    const small = await bundle(`export { getClient } from './index.js'`);
    expect(/SIGTERM|powerMonitor|AppState/.test(small)).toBe(false);
    expect(all.includes('SIGTERM')).toBe(true);
    const errors = await bundle(`export { UnauthorizedError } from './index.js'`);
    expect(gzipped(errors)).toBeLessThan(300);
    const native = await bundle(`export { reactNative } from './platform/react-native.js'`);
    expect(gzipped(native)).toBeLessThan(1000);
  });
});

interface Manifest {
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

/** Packages whose types the declarations of a built package are made of: `@types/express` rather than `express`. */
async function typesUsedBy(folder: string): Promise<Set<string>> {
  const dist = join(ROOT, folder, 'dist');
  const files = await readdir(dist, { recursive: true });
  const packages = new Set<string>();
  for (const file of files.filter((name) => name.endsWith('.d.ts'))) {
    const path = join(dist, file);
    const { importedFiles } = ts.preProcessFile(await readFile(path, 'utf8'));
    for (const { fileName: name } of importedFiles.filter(
      ({ fileName }) => !/^(\.|node:)/.test(fileName),
    )) {
      const options = { module: ts.ModuleKind.NodeNext };
      const { resolvedModule } = ts.resolveModuleName(
        name,
        path,
        options,
        ts.sys,
        undefined,
        undefined,
        ESM,
      );
      packages.add(resolvedModule?.packageId?.name ?? name);
    }
  }
  return packages;
}

describe.each(['protocol', 'client-sdk', 'rabbitmq', 'server'])('the package in %s', (folder) => {
  it('brings the types that its own declarations are made of', async () => {
    const text = await readFile(join(ROOT, folder, 'package.json'), 'utf8');
    const { dependencies, peerDependencies } = JSON.parse(text) as Manifest;
    // An application that has React has its types.
    const brought = Object.keys({ ...dependencies, ...peerDependencies, '@types/react': '' });
    const used = await typesUsedBy(folder);
    expect([...used].filter((name) => !brought.includes(name))).toEqual([]);
  });

  it('is packed as publint and attw want it', { timeout: 120_000 }, async () => {
    const { messages } = await publint({ pkgDir: join(ROOT, folder), strict: true });
    expect(messages.map(({ code, path }) => `${code} ${path.join('.')}`)).toEqual([]);
    const directory = await mkdtemp(join(tmpdir(), 'warren-pack-'));
    try {
      const { stdout } = await promisify(execFile)(
        'npm',
        ['pack', '--json', '--pack-destination', directory],
        { cwd: join(ROOT, folder) },
      );
      const [{ filename, files }] = JSON.parse(stdout) as [
        { filename: string; files: { path: string }[] },
      ];
      // What a user gets is the build, its types and what they point at: no tests, no stray files.
      const stray = files
        .map(({ path }) => path)
        .filter((path) => /tsbuildinfo|test\.|\.env/.test(path));
      expect(stray).toEqual([]);
      const tarball = createPackageFromTarballData(await readFile(join(directory, filename)));
      const result = await checkPackage(tarball);
      // ES modules, which require() takes in any Node that is maintained; TypeScript's `module: node16` knows no such.
      const problems = result.types === false ? ['no types'] : result.problems;
      const unexpected = problems.filter(
        (problem) =>
          typeof problem === 'string' ||
          !('resolutionKind' in problem) ||
          problem.resolutionKind !== 'node16-cjs',
      );
      expect(unexpected).toEqual([]);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});
