import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from '@warren/server';
import { DeadQueues } from '../../server/dist/broker/dead-queues.js';

beforeEach(() => vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => vi.useRealTimers());

/** Listings, each used once, the last one from then on; an error fails. */
function setUp(...listings: (string[] | Error)[]) {
  let asked = 0;
  const queuesWithoutProcess = (prefix: string): Promise<Set<string>> => {
    expect(prefix).toBe('user.');
    const listing = listings[Math.min(asked++, listings.length - 1)]!;
    return listing instanceof Error ? Promise.reject(listing) : Promise.resolve(new Set(listing));
  };
  const dead = new DeadQueues({
    management: { queuesWithoutProcess },
    prefix: 'user.',
    logger: createLogger('silent'),
  });
  const found: string[][] = [];
  dead.onFound((queues) => found.push(queues));
  return {
    dead,
    found,
    asked: () => asked,
    /** When it may be looked again. */
    later: async () => {
      vi.advanceTimersByTime(60_000);
      await dead.look();
    },
  };
}

describe('dead queues', () => {
  it('are those that two listings have without a process', async () => {
    const { dead, found } = setUp(['user.a', 'user.b', 'user.c'], ['user.a', 'user.b', 'user.d']);
    await dead.look();
    expect(dead.names()).toEqual(['user.a', 'user.b']);
    expect(dead.has('user.c')).toBe(false);
    expect(found).toEqual([['user.a', 'user.b']]);
  });

  it('are looked for once for all who ask meanwhile, and not twice when there are none', async () => {
    const { dead, asked } = setUp([]);
    await Promise.all([dead.look(), dead.look(), dead.look()]);
    expect([asked(), dead.count]).toEqual([1, 0]);
  });

  it('are told once, and not counted when nobody depends on them any more', async () => {
    const { dead, found, later } = setUp(['user.a', 'user.b']);
    await dead.look();
    dead.leave('user.a');
    expect([dead.count, dead.has('user.a')]).toEqual([1, true]);
    await later();
    expect([dead.count, dead.has('user.a'), found.length]).toEqual([1, true, 1]);
  });

  it('are none any more when the broker has brought them back', async () => {
    const { dead, later } = setUp(['user.a', 'user.b'], ['user.a', 'user.b'], []);
    await dead.look();
    dead.leave('user.a');
    await later();
    expect([dead.count, dead.has('user.a'), dead.has('user.b')]).toEqual([0, false, false]);
  });

  it('stay as they are known while the broker does not say', async () => {
    const { dead, later } = setUp(['user.a'], ['user.a'], new Error('away'));
    await dead.look();
    await later();
    expect(dead.names()).toEqual(['user.a']);
  });
});
