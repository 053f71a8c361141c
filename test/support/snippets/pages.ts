import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from '../program.js';

/** A fenced block of a page. */
export interface Block {
  /** Relative to the root of the repository. */
  page: string;
  /** Of the first line of its text, counted from 1, as editors do. */
  line: number;
  /** The first word behind the fence; empty where there is none. */
  language: string;
  text: string;
}

/** Code within a sentence or a table. */
export interface Span {
  page: string;
  line: number;
  text: string;
}

export interface Page {
  path: string;
  text: string;
  blocks: Block[];
  spans: Span[];
}

const FENCE = /^( *)```(\S*)/;
const SPAN = /(`+)(.+?)\1(?!`)/g;

const read = (path: string): Promise<string> => readFile(join(ROOT, path), 'utf8');

/** The changelog also names what is no more; the API reference is made of doc comments: {@link readExamples}. */
const NO_PAGES = /^(CHANGELOG\.md$|docs\/api\/)/;

/** Every page that tells somebody how to use Warren. */
export async function readPages(): Promise<Page[]> {
  const paths = (await filesBelow('', '.md')).filter((path) => !NO_PAGES.test(path));
  return Promise.all(paths.map(async (path) => parsePage(path, await read(path))));
}

async function filesBelow(folder: string, extension: string): Promise<string[]> {
  const entries = await readdir(join(ROOT, folder), { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry) => {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (!entry.isDirectory()) return path.endsWith(extension) ? [path] : [];
      return /^(\..*|node_modules|dist)$/.test(entry.name) ? [] : filesBelow(path, extension);
    }),
  );
  return found.flat().sort();
}

/** What follows `@example` in the doc comments of the packages. */
export async function readExamples(): Promise<Block[]> {
  const folders = ['client-sdk/src', 'server/src'];
  const paths = await Promise.all(folders.map((folder) => filesBelow(folder, '.ts')));
  const found = paths.flat().map(async (page) => {
    const source = await read(page);
    return [...source.matchAll(/^ *\* @example\b([\s\S]*?)(?=\*\/|^ *\* @)/gm)].map(
      ({ 1: comment = '', index }): Block => {
        const text = comment.replaceAll(/^ *\* ?/gm, '').trimEnd();
        return { page, line: source.slice(0, index).split('\n').length, language: 'ts', text };
      },
    );
  });
  return (await Promise.all(found)).flat();
}

export function parsePage(path: string, text: string): Page {
  const page: Page = { path, text, blocks: [], spans: [] };
  let open: { block: Block; indent: string; lines: string[] } | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    const [fence, indent = '', language = ''] = FENCE.exec(line) ?? [];
    if (open === undefined && fence !== undefined) {
      const block = { page: path, line: index + 2, language, text: '' };
      open = { block, indent, lines: [] };
    } else if (open === undefined) {
      for (const [, , code = ''] of line.matchAll(SPAN)) {
        page.spans.push({ page: path, line: index + 1, text: code });
      }
    } else if (fence !== undefined) {
      page.blocks.push({ ...open.block, text: open.lines.join('\n') });
      open = undefined;
    } else open.lines.push(line.startsWith(open.indent) ? line.slice(open.indent.length) : line);
  }
  if (open !== undefined) throw new Error(`${path}:${String(open.block.line)}: is never closed.`);
  return page;
}
