import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { sendBodySchema, sessionGrantSchema } from '@warren/protocol';
import { keyId, topology } from '@warren/rabbitmq';
import type { ZodType } from 'zod';
import { VARIABLES } from '../../server/dist/variables.js';
import { ROOT } from '../support/program.js';
import { knownSettings, unknownSettings } from '../support/snippets/broker-settings.js';
import { commandProblem } from '../support/snippets/commands.js';
import { doctorLines, unknownLines } from '../support/snippets/doctor-lines.js';
import { fillIn } from '../support/snippets/json.js';
import { readExamples, readPages, type Block } from '../support/snippets/pages.js';
import { findPython, runPython } from '../support/snippets/python.js';
import { requestProblem, routesAt, schemaProblem } from '../support/snippets/routes.js';
import { isInstalled, RUN, runPage, type ShellRun } from '../support/snippets/shell.js';
import { typeErrors, type Snippet } from '../support/snippets/types.js';

const pages = await readPages();
const blocks = pages.flatMap((page) => page.blocks);
const spans = pages.flatMap((page) => page.spans);
const inLanguage = (...languages: string[]): Block[] =>
  blocks.filter(({ language }) => languages.includes(language));
const placeOf = ({ page, line }: { page: string; line: number }): string =>
  `${page}:${String(line)}`;

/** `receive.mjs` is the block above it, with another client. */
function inItsPlace(block: Block): Block {
  if (!block.text.includes('// In the place of the client above.')) return block;
  const above = blocks[blocks.indexOf(block) - 1]?.text.split(/^const client = .*\n/m);
  if (above?.length !== 2) throw new Error(`${placeOf(block)}: There is no client above.`);
  const [before = '', after = ''] = above;
  // The lines of the block itself keep their numbers.
  const line = block.line - before.split('\n').length + 1;
  return { ...block, language: 'js', line, text: `${before}${block.text}\n${after}` };
}

const CODE = ['ts', 'tsx', 'js'];
const CHECKED = [...CODE, 'json', 'sh', 'console', 'python', 'ini'];
/** By page and language, with the reason. */
const UNCHECKED: Record<string, string> = {
  'README.md text': 'a picture of the way of a message',
};

/** What snippets of a page use and do not declare, in test/fixtures/snippets. */
const PRELUDES: Record<string, string> = {
  'README.md': 'readme.ts',
  'docs/client.md': 'client.ts',
  'docs/migrating.md': 'migrating.ts',
  'docs/push.md': 'push.ts',
  'examples/express/README.md': 'express.ts',
};

/** By page, in order, what each block of JSON is: a type of the protocol, or a schema, or both. */
const JSON_BLOCKS: Record<string, { type?: string; schema?: ZodType }[]> = {
  'docs/push.md': [{ type: 'PushProxyBody' }],
  'docs/sending.md': [{ schema: sendBodySchema }],
  'docs/wire.md': [{ type: 'WarrenEvent' }, { type: 'SessionGrant', schema: sessionGrantSchema }],
};
const jsonBlocks = Object.entries(JSON_BLOCKS).flatMap(([page, kinds]) => {
  const here = inLanguage('json').filter((block) => block.page === page);
  return kinds.map((kind, index) => ({ ...kind, block: here[index] }));
});

describe('blocks of code', () => {
  it('are all in a language that is checked below, or there is a reason', () => {
    const kinds = blocks.map(({ page, language }) => `${page} ${language}`);
    const unknown = blocks.filter(
      ({ page, language }) =>
        !CHECKED.includes(language) && UNCHECKED[`${page} ${language}`] === undefined,
    );
    expect(unknown.map((block) => `${placeOf(block)}: "${block.language}"`)).toEqual([]);
    expect(Object.keys(UNCHECKED).filter((kind) => !kinds.includes(kind))).toEqual([]);
    // The list above is of no use when the blocks are not found.
    for (const language of CHECKED) expect(inLanguage(language), language).not.toEqual([]);
  });

  it('of TypeScript and JavaScript compile, as do examples in doc comments', async () => {
    const examples = await readExamples();
    expect(examples.length).toBeGreaterThan(3);
    const snippets: Snippet[] = [
      ...inLanguage(...CODE).map((block) => ({
        ...inItsPlace(block),
        prelude: PRELUDES[block.page],
        // What a reader has so far, with libraries that are not installed here.
        isForeign: block.text.startsWith('// before'),
      })),
      ...examples.map((block) => ({ ...block, prelude: 'examples.ts' })),
      ...jsonBlocks.flatMap(({ type, block }) => {
        if (type === undefined || block === undefined) return [];
        const text = `import type { ${type} } from '@warren/protocol'; export const body: ${type} = `;
        return [{ ...block, language: 'ts', text: `${text}${fillIn(block.text)};` }];
      }),
    ];
    expect(typeErrors(snippets)).toEqual([]);
  });

  it('of JSON are what the protocol says', () => {
    const known = jsonBlocks.map(({ block }) => block);
    const unknown = inLanguage('json').filter((block) => !known.includes(block));
    expect(unknown.map(placeOf)).toEqual([]);
    const problems = jsonBlocks.map(({ block, schema }) => {
      if (block === undefined) return 'There is one block less.';
      const problem = schema && schemaProblem(schema, JSON.parse(fillIn(block.text)));
      return problem === undefined ? '' : `${placeOf(block)}: ${problem}`;
    });
    expect(problems.filter((problem) => problem !== '')).toEqual([]);
  });

  it('of rabbitmq.conf have settings that the tests boot a broker with', async () => {
    const known = await knownSettings();
    expect(inLanguage('ini').flatMap((block) => unknownSettings(block, known))).toEqual([]);
  });

  it('from a console show what the doctor says', async () => {
    const known = await doctorLines();
    expect(known.length).toBeGreaterThan(5);
    expect(inLanguage('console').flatMap((block) => unknownLines(block, known))).toEqual([]);
  });
});

/** With what a shell has by itself. */
const PRINT_KEY = `
echo "KID $KID"
while read -r part; do echo "$part"; done <signing-key.pub.pem`;

describe('commands, in blocks and in sentences', () => {
  const runs = new Map<string, Promise<ShellRun>>(
    pages.map((page) => [
      page.path,
      runPage(page, page.path === 'docs/operating.md' ? PRINT_KEY : ''),
    ]),
  );

  it('are what a shell and their programs understand', async () => {
    const done = await Promise.all(runs.values());
    const commands = done.flatMap((run) => run.commands);
    const names = new Set(commands.map(({ argv }) => argv[0]));
    expect([...names]).toEqual(expect.arrayContaining(['npm', 'npx', 'warren', 'curl']));
    const found = await Promise.all(
      commands.map(async (command) => {
        const problem = await commandProblem(command);
        return problem === undefined
          ? []
          : [`${placeOf(command)}: ${command.argv.join(' ')}: ${problem}`];
      }),
    );
    expect([...done.flatMap(({ problems }) => problems), ...found.flat()]).toEqual([]);
  });

  it.skipIf(!RUN.every(isInstalled))(
    'of docs/operating.md give a key the id that the server gives it',
    async () => {
      const { stdout } = (await runs.get('docs/operating.md'))!;
      const [, kid, publicKey = ''] = /^KID (\S+)\n([\s\S]*)/m.exec(stdout) ?? [];
      expect(kid).toBe(keyId(publicKey));
    },
  );
});

describe('requests in sentences', () => {
  /** Of applications, before they had Warren. */
  const FOREIGN = ['/news'];

  it('name a method, a path and a body that the API has', () => {
    const requests = spans.flatMap((span) => {
      const [, method = '', url = '', body] =
        /^(GET|PUT|POST|DELETE) (\/\S*)(?: (\{.*\}))?$/.exec(span.text) ?? [];
      return url === '' || FOREIGN.includes(url.split('?')[0]!)
        ? []
        : [{ span, method, url, body }];
    });
    expect(requests.length).toBeGreaterThan(50);
    const problems = requests.flatMap(({ span, method, url, body }) => {
      // Where it is in an application of one's own.
      const problem = requestProblem(method, url.replace(/^\/warren\//, '/'), body);
      return problem === undefined ? [] : [`${placeOf(span)}: ${span.text}: ${problem}`];
    });
    expect(problems).toEqual([]);
  });

  it('and in code name a path that it has', () => {
    const paths = inLanguage(...CODE).flatMap((block) =>
      [...block.text.matchAll(/\/(?:v1|dev)\/[\w/-]+/g)].map(([path]) => ({ block, path })),
    );
    expect(paths.length).toBeGreaterThan(1);
    const unknown = paths.filter(({ path }) => routesAt(path).length === 0);
    expect(unknown.map(({ block, path }) => `${placeOf(block)}: ${path}`)).toEqual([]);
  });
});

describe('variables', () => {
  it('are those that the server reads, and in test/README.md those of the tests', async () => {
    const files = await readdir(join(ROOT, 'test'), { recursive: true });
    const tests = files.filter((name) => name.endsWith('.ts') && !name.startsWith('dist'));
    const sources = await Promise.all(
      tests.map((name) => readFile(join(ROOT, 'test', name), 'utf8')),
    );
    const ofServer = Object.keys(VARIABLES);
    const ofTests = sources.flatMap((source) =>
      [...source.matchAll(/process\.env\['(WARREN_\w+)'\]/g)].map(([, name = '']) => name),
    );
    const unknown = pages.flatMap(({ path, text }) => {
      const known = path.startsWith('test/') ? [...ofServer, ...ofTests] : ofServer;
      const names = text.match(/\bWARREN_[A-Z0-9_]*[A-Z0-9]\b/g) ?? [];
      return names
        .filter((name) => !known.includes(name.replace(/_FILE$/, '')))
        .map((name) => `${path}: ${name}`);
    });
    // A table says the beginning once; `_HH` is a byte in a name.
    const ends = spans.filter(({ text }) => /^_[A-Z_]{3,}$/.test(text));
    const unknownEnds = ends.filter(({ text }) => !ofServer.some((name) => name.endsWith(text)));
    expect([...unknown, ...unknownEnds.map((span) => `${placeOf(span)}: ${span.text}`)]).toEqual(
      [],
    );
  });
});

const python = await findPython();
const ofPython = python === undefined ? undefined : await runPython(python, inLanguage('python'));

describe('Python', () => {
  it.skipIf(ofPython === undefined)('compiles, and runs where there is pika', () => {
    expect(ofPython!.results.flatMap(({ problem }) => problem ?? [])).toEqual([]);
  });

  it.skipIf(ofPython?.hasPika !== true)('publishes what the broker and the server take', () => {
    const { exchanges } = topology();
    const published = ofPython!.results.flatMap((result) => result.published ?? []);
    expect(published.length).toBe(inLanguage('python').length);
    for (const { exchange, routingKey, body } of published) {
      expect(exchanges.map(({ name }) => name)).toContain(exchange);
      if (exchange === 'warren.send') {
        expect([routingKey, schemaProblem(sendBodySchema, JSON.parse(body))]).toEqual([
          '',
          undefined,
        ]);
      } else expect(routingKey).toMatch(/^user\.[\w-]+$/);
    }
  });
});
