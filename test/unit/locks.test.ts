import { expect, it } from 'vitest';
import { HttpProblem } from '../../server/dist/problem.js';
import { Locks } from '../../server/dist/storage/locks.js';

const locks = new Locks(undefined, () => undefined);

/** Work that is given up at once, and ends when `end` is called. */
function stalled() {
  let end = (): void => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { end, problem: new HttpProblem('broker_unavailable', undefined, { ended }) };
}

const failWith = (problem: Error) => () => Promise.reject(problem);

it('the lock of work that was given up is held until that has ended', async () => {
  const { end, problem } = stalled();
  await expect(locks.user('alice', failWith(problem))).rejects.toBe(problem);
  let isEnded = false;
  const others = ['alice', 'alice'].map((user) => locks.user(user, () => Promise.resolve(isEnded)));
  // Whoever waits is told at once, and is not served later.
  for (const other of others) await expect(other).rejects.toBe(problem);
  expect(await locks.user('bob', () => Promise.resolve('bob'))).toBe('bob');
  await expect(locks.users(['bob', 'alice'], () => Promise.resolve())).rejects.toBe(problem);
  isEnded = true;
  end();
  await problem.ended;
  await expect
    .poll(() => locks.users(['bob', 'alice'], () => Promise.resolve(isEnded)).catch(() => 'held'))
    .toBe(true);
});

it('work that failed for good gives its lock back', async () => {
  const problem = new HttpProblem('broker_unavailable');
  const failing = locks.user('carol', failWith(problem));
  const next = locks.user('carol', () => Promise.resolve('served'));
  await expect(failing).rejects.toBe(problem);
  expect(await next).toBe('served');
});

it('who waits behind work that is given up later is told then', async () => {
  const { end, problem } = stalled();
  let fail = (): void => undefined;
  const first = locks.user(
    'dave',
    () =>
      new Promise<void>((_, reject) => {
        fail = () => {
          reject(problem);
        };
      }),
  );
  const second = locks.user('dave', () => Promise.resolve());
  await Promise.resolve();
  await expect.poll(() => fail.name).toBe('fail');
  fail();
  await expect(first).rejects.toBe(problem);
  await expect(second).rejects.toBe(problem);
  end();
});
