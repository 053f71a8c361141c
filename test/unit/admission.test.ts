import { describe, expect, it } from 'vitest';
import { FairLimit } from '../../server/dist/fair-limit.js';
import { HttpProblem } from '../../server/dist/problem.js';
import { Admission } from '../../server/dist/sessions/admission.js';
import { Locks } from '../../server/dist/storage/locks.js';

/** Of one who does not go. */
const staying = () => new AbortController().signal;

/** Lets all go on that waits for nothing but others that go on. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Work that lasts until it is told to end, and tells who is at it. */
class Work {
  /** In the order in which they began. */
  readonly begun: string[] = [];
  readonly running = new Map<string, () => void>();

  readonly do = (name: string) => (): Promise<string> => {
    this.begun.push(name);
    return new Promise((resolve) => {
      this.running.set(name, () => {
        this.running.delete(name);
        resolve(name);
      });
    });
  };

  async end(name: string): Promise<void> {
    this.running.get(name)!();
    await settled();
  }

  async endAll(): Promise<void> {
    while (this.running.size > 0) {
      for (const end of this.running.values()) end();
      await settled();
    }
  }
}

const names = (who: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${who}${String(index)}`);

describe('a fair limit', () => {
  it('gives one key no more places than are one key’s, and all of them to several', async () => {
    const limit = new FairLimit(3, 2);
    const work = new Work();
    const all = names('a', 5).map((name) => limit.run('a', work.do(name)));
    await settled();
    expect(work.begun).toEqual(['a0', 'a1']);
    expect([limit.waiting, limit.waitingOf('a'), limit.waitingOf('b')]).toEqual([3, 3, 0]);
    all.push(...names('b', 2).map((name) => limit.run('b', work.do(name))));
    await settled();
    expect(work.begun).toEqual(['a0', 'a1', 'b0']);
    await work.endAll();
    expect(await Promise.all(all)).toEqual([...names('a', 5), ...names('b', 2)]);
    expect(limit.waiting).toBe(0);
  });

  it('lets keys take turns, however much one of them has asked for before', async () => {
    const limit = new FairLimit(1, 1);
    const work = new Work();
    const all = ['a', 'a', 'a', 'b', 'c', 'b'].map((key, index) =>
      limit.run(key, work.do(`${key}${String(index)}`)),
    );
    await settled();
    for (const name of ['a0', 'b3', 'c4', 'a1', 'b5', 'a2']) await work.end(name);
    await Promise.all(all);
    expect(work.begun).toEqual(['a0', 'b3', 'c4', 'a1', 'b5', 'a2']);
  });

  it('gives back the place of work that fails, and of a wait that is given up', async () => {
    const limit = new FairLimit(1, 1);
    const work = new Work();
    const first = limit.run('a', work.do('first'));
    const gone = new AbortController();
    const given = limit.run('a', work.do('given up'), gone.signal);
    const failing = expect(
      limit.run('a', () => Promise.reject(new Error('failed'))),
    ).rejects.toThrow('failed');
    const last = limit.run('b', work.do('last'));
    gone.abort(new Error('gone'));
    await expect(given).rejects.toThrow('gone');
    await expect(limit.enter('c', gone.signal)).rejects.toThrow('gone');
    expect(limit.waiting).toBe(2);
    await work.end('first');
    await work.end('last');
    await failing;
    expect(await Promise.all([first, last])).toEqual(['first', 'last']);
    expect(work.begun).toEqual(['first', 'last']);
  });

  it('does not take a place that is left twice for two', async () => {
    const limit = new FairLimit(1, 1);
    const leave = await limit.enter('a');
    leave();
    leave();
    await limit.enter('a');
    const work = new Work();
    void limit.run('b', work.do('b'));
    await settled();
    expect(work.begun).toEqual([]);
  });
});

describe('admission', () => {
  const open = () => {
    const locks = new Locks(undefined, () => undefined);
    return { locks, admission: new Admission(locks), work: new Work() };
  };

  it('lets one user keep nobody waiting, however much it asks for', async () => {
    const { admission, work } = open();
    const own = names('mallory-', 100).map((name) =>
      admission.run('mallory', staying(), work.do(name)),
    );
    await settled();
    expect(work.begun).toEqual(['mallory-0']);
    // Fifteen others find a place while it goes on.
    const others = names('user-', 15).map((name) => admission.run(name, staying(), work.do(name)));
    await settled();
    expect(work.begun).toEqual(['mallory-0', ...names('user-', 15)]);
    await work.endAll();
    expect(await Promise.all(own)).toEqual(names('mallory-', 100));
    expect(await Promise.all(others)).toEqual(names('user-', 15));
  });

  it('keeps the user’s lock when the place is left, which somebody else has then', async () => {
    const { admission, locks, work } = open();
    const closing = new Work();
    const crowd = names('user-', 16).map((name) =>
      admission.run(name, staying(), async (leave) => {
        await work.do(name)();
        leave();
        return closing.do(name)();
      }),
    );
    const late = admission.run('late', staying(), work.do('late'));
    await settled();
    expect(work.running.has('late')).toBe(false);
    await work.end('user-0');
    expect(work.running.has('late')).toBe(true);
    const next = admission.run('user-0', staying(), work.do('next'));
    let isLocked = true;
    void locks.user('user-0', () => {
      isLocked = false;
      return Promise.resolve();
    });
    await work.endAll();
    expect([isLocked, work.begun.includes('next')]).toEqual([true, false]);
    await closing.endAll();
    await work.endAll();
    expect(isLocked).toBe(false);
    await Promise.all([...crowd, late, next]);
  });

  it('has a revocation wait for one of a user’s requests, and not for all', async () => {
    const { admission, locks, work } = open();
    const own = names('alice-', 3).map((name) => admission.run('alice', staying(), work.do(name)));
    await settled();
    const revocation = locks.user('alice', work.do('revocation'));
    await work.end('alice-0');
    expect(work.begun).toEqual(['alice-0', 'revocation']);
    await work.endAll();
    await Promise.all([...own, revocation]);
    expect(work.begun).toEqual(['alice-0', 'revocation', 'alice-1', 'alice-2']);
  });

  it('forgets at once who has gone: in the user’s turn, at the lock, and before a place', async () => {
    const { admission, locks, work } = open();
    const gone = new AbortController();
    const problem = new HttpProblem('overloaded');
    const crowd = names('user-', 16).map((name) => admission.run(name, staying(), work.do(name)));
    await settled();
    const atPlace = admission.run('alice', gone.signal, work.do('at the place'));
    const inTurn = admission.run('alice', gone.signal, work.do('in turn'));
    const held = locks.user('bob', work.do('lock'));
    const atLock = admission.run('bob', gone.signal, work.do('at the lock'));
    const toldLater = expect(atLock).rejects.toBe(problem);
    await settled();
    gone.abort(problem);
    for (const waiting of [atPlace, inTurn]) await expect(waiting).rejects.toBe(problem);
    // Neither the turn nor the lock is kept by them.
    expect(await locks.user('alice', () => Promise.resolve('free'))).toBe('free');
    await work.end('lock');
    await toldLater;
    const next = ['alice', 'bob'].map((user) => admission.run(user, staying(), work.do(user)));
    await work.endAll();
    expect(await Promise.all(next)).toEqual(['alice', 'bob']);
    await Promise.all([...crowd, held]);
    expect(work.begun).toEqual([...names('user-', 16), 'lock', 'alice', 'bob']);
  });

  it('turns away a crowd, and of one user what is more than its devices ask for', async () => {
    const { admission, work } = open();
    const overloaded = { code: 'overloaded', retryAfterSeconds: expect.any(Number) as number };
    const own = names('a', 101).map((name) => admission.run('alice', staying(), work.do(name)));
    await expect(admission.run('alice', staying(), work.do('more'))).rejects.toMatchObject(
      overloaded,
    );
    const crowd = names('u', 615).map((name) => admission.run(name, staying(), work.do(name)));
    await settled();
    await expect(admission.run('late', staying(), work.do('late'))).rejects.toMatchObject(
      overloaded,
    );
    await work.endAll();
    await Promise.all([...own, ...crowd]);
  });

  it('has work that was given up keep the lock and not the place', async () => {
    const { admission, locks, work } = open();
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const problem = new HttpProblem('broker_unavailable', undefined, { ended });
    const stalled = names('u', 16).map((name) =>
      admission.run(name, staying(), () => Promise.reject(problem)),
    );
    for (const one of stalled) await expect(one).rejects.toBe(problem);
    const other = admission.run('other', staying(), work.do('other'));
    await settled();
    await work.end('other');
    expect(await other).toBe('other');
    await expect(locks.user('u0', () => Promise.resolve())).rejects.toBe(problem);
    end();
  });
});
