import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * So many rows are read or written at a time: SQLite holds up all else in the process meanwhile, and PostgreSQL is
 * given 4 s for a statement. A message to a group of 100,000 has as many.
 */
export const PORTION = 500;

export function portions<Item>(items: readonly Item[], size = PORTION): Item[][] {
  const all: Item[][] = [];
  for (let start = 0; start < items.length; start += size) {
    all.push(items.slice(start, start + size));
  }
  return all;
}

/** Others get their turn in between. */
export async function oneByOne<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<void>,
): Promise<void> {
  for (const [index, item] of items.entries()) {
    if (index > 0) await nextTurn();
    await work(item);
  }
}

/** As {@link oneByOne}, until `work` says that there was no more. */
export async function whileThereIsMore(work: () => Promise<boolean>): Promise<void> {
  while (await work()) await nextTurn();
}
