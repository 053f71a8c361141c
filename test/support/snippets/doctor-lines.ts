import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from '../program.js';
import type { Block } from './pages.js';

/** What `warren doctor` may find in order, as its source has it. */
export async function doctorLines(): Promise<RegExp[]> {
  const folder = join(ROOT, 'server/src/doctor');
  const names = await readdir(folder);
  const sources = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
  const texts = sources.flatMap((source) => [...source.matchAll(/\bok\(\s*(['"`])(.*?)\1/g)]);
  return texts.map(([, , text = '']) => {
    const parts = text.split(/\$\{.*?\}/).map((part) => part.replaceAll(/[.*+?^$()[\]]/g, '\\$&'));
    return new RegExp(`^${parts.join('.+')}$`);
  });
}

/** Lines that the doctor does not print. */
export function unknownLines({ page, line, text }: Block, known: RegExp[]): string[] {
  return text.split('\n').flatMap((each, index) => {
    const [, finding] = /^ {2}✓ (.*)$/.exec(each) ?? [];
    if (finding === undefined || known.some((pattern) => pattern.test(finding))) return [];
    return [`${page}:${String(line + index)}: The doctor says no "${finding}".`];
  });
}
