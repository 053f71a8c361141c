import { EventEmitter } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { Taps } from '../../server/dist/console/tap.js';
import { createLogger } from '../../server/dist/logger.js';

/*
 * What is bound for whoever watches a user is bound under the user's lock, in one line with the user's own sessions. How
 * many stand in that line does not show outside.
 */

it('of any number who ask to watch one user, two at most stand in the way of its sessions', async () => {
  let asked = 0;
  let looked = 0;
  const turns: (() => void)[] = [];
  const answers: (() => void)[] = [];
  const options = {
    amqpUrl: 'amqp://127.0.0.1:1/warren',
    watch: new EventEmitter(),
    devices: {
      listOf: () => {
        looked++;
        return new Promise((_, reject) => {
          answers.push(() => {
            reject(new Error('away'));
          });
        });
      },
    },
    /** As that of a user whose sessions take their time. */
    locks: {
      user: async (_userId: string, work: () => Promise<void>): Promise<void> => {
        asked++;
        await new Promise<void>((resolve) => turns.push(resolve));
        await work();
      },
    },
    logger: createLogger('silent'),
  };
  const taps = new Taps(options as unknown as ConstructorParameters<typeof Taps>[0]);
  onTestFinished(() => taps.close());
  const watchBy = (count: number) =>
    Array.from({ length: count }, () => taps.hold('ann', Date.now() + 60_000).catch(String));
  const first = watchBy(50);
  expect(asked).toBe(1);
  turns.shift()!();
  await expect.poll(() => looked).toBe(1);
  // What that has seen may be old by now: one more, for all of these.
  const second = watchBy(50);
  expect(asked).toBe(2);
  answers.shift()!();
  turns.shift()!();
  await expect.poll(() => looked).toBe(2);
  answers.shift()!();
  expect(new Set(await Promise.all([...first, ...second]))).toEqual(new Set(['Error: away']));
  // What has failed stands in nobody's way.
  const third = watchBy(1);
  expect(asked).toBe(3);
  turns.shift()!();
  await expect.poll(() => looked).toBe(3);
  answers.shift()!();
  await Promise.all(third);
});

it('who comes when the lock could not be had asks for it anew', async () => {
  let asked = 0;
  const options = {
    amqpUrl: 'amqp://127.0.0.1:1/warren',
    watch: new EventEmitter(),
    locks: {
      user: (): Promise<void> => {
        asked++;
        return Promise.reject(new Error('busy'));
      },
    },
    logger: createLogger('silent'),
  };
  const taps = new Taps(options as unknown as ConstructorParameters<typeof Taps>[0]);
  onTestFinished(() => taps.close());
  for (const expected of [1, 2]) {
    await expect(taps.hold('ann', Date.now() + 60_000)).rejects.toThrow('busy');
    expect(asked).toBe(expected);
  }
});
