import { describe, expect, it } from 'vitest';
import { FairLimit } from '../../server/dist/fair-limit.js';

/** Work that ends when it is told to, and what has begun by now, in its order. */
function works(limit: FairLimit) {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const add = (key: string, name: string, signal?: AbortSignal): Promise<string> =>
    limit.run(
      key,
      async () => {
        begun.push(name);
        await new Promise<void>((resolve) => ends.set(name, resolve));
        return name;
      },
      signal,
    );
  const end = async (name: string): Promise<void> => {
    ends.get(name)!();
    await settled();
  };
  return { begun, add, end };
}

/** What can go on by itself has. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a limit that keys share', () => {
  it('does so much at a time, and less for one key', async () => {
    const { begun, add } = works(new FairLimit(3, 2));
    for (const name of ['a1', 'a2', 'a3']) void add('a', name);
    for (const name of ['b1', 'b2']) void add('b', name);
    await settled();
    expect(begun).toEqual(['a1', 'a2', 'b1']);
  });

  it('lets keys take turns, and those of one come in their order', async () => {
    const { begun, add, end } = works(new FairLimit(1, 1));
    for (const name of ['a1', 'a2', 'a3']) void add('a', name);
    void add('b', 'b1');
    void add('c', 'c1');
    await settled();
    for (const name of ['a1', 'b1', 'c1', 'a2']) await end(name);
    expect(begun).toEqual(['a1', 'b1', 'c1', 'a2', 'a3']);
  });

  it('lets them take turns also where one may do more at a time', async () => {
    const { begun, add, end } = works(new FairLimit(1, 2));
    for (const name of ['a1', 'a2', 'a3']) void add('a', name);
    void add('b', 'b1');
    await settled();
    for (const name of ['a1', 'a2', 'b1']) await end(name);
    expect(begun).toEqual(['a1', 'a2', 'b1', 'a3']);
  });

  it('leaves no place empty that one who waits may have', async () => {
    const { begun, add, end } = works(new FairLimit(2, 2));
    for (const name of ['a1', 'a2']) void add('a', name);
    for (const name of ['b1', 'b2']) void add('b', name);
    await settled();
    for (const name of ['a1', 'a2']) await end(name);
    expect(begun).toEqual(['a1', 'a2', 'b1', 'b2']);
  });

  it('gives the place of what has failed to the next', async () => {
    const limit = new FairLimit(1, 1);
    const failing = limit.run('a', () => Promise.reject(new Error('failed')));
    const next = limit.run('a', () => Promise.resolve('next'));
    await expect(failing).rejects.toThrow('failed');
    expect(await next).toBe('next');
  });

  it('counts who waits, of all and of one, until it has a place or gives up', async () => {
    const limit = new FairLimit(1, 1);
    const { add, end } = works(limit);
    void add('a', 'a1');
    const abort = new AbortController();
    const late = add('a', 'a2', abort.signal);
    void add('b', 'b1');
    expect([limit.waiting, limit.waitingOf('a'), limit.waitingOf('b')]).toEqual([2, 1, 1]);
    abort.abort(new Error('gone'));
    await expect(late).rejects.toThrow('gone');
    expect([limit.waiting, limit.waitingOf('a'), limit.waitingOf('b')]).toEqual([1, 0, 1]);
    await end('a1');
    expect([limit.waiting, limit.waitingOf('b')]).toEqual([0, 0]);
  });

  it('gives nobody a place who has given up, before or while it waited', async () => {
    const limit = new FairLimit(1, 1);
    const { begun, add, end } = works(limit);
    void add('a', 'a1');
    const abort = new AbortController();
    const waiting = add('a', 'a2', abort.signal).catch(String);
    abort.abort();
    const before = add('a', 'a3', abort.signal).catch(String);
    await Promise.all([waiting, before]);
    void add('a', 'a4');
    await end('a1');
    expect(begun).toEqual(['a1', 'a4']);
  });

  it('takes no place back twice', async () => {
    const limit = new FairLimit(1, 2);
    const leave = await limit.enter('a');
    leave();
    leave();
    const { begun, add } = works(limit);
    for (const name of ['a1', 'a2']) void add('a', name);
    await settled();
    expect(begun).toEqual(['a1']);
  });
});
