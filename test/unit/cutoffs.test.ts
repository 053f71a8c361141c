import { expect, it } from 'vitest';
import { Cutoffs } from '../../server/dist/sessions/cutoffs.js';
import type { Cutoff, CutoffStore } from '../../server/dist/storage/cutoffs.js';

it('writes whole milliseconds down, however far ahead the clock is that tokens come from', async () => {
  const raised: Cutoff[] = [];
  const store = {
    listOf: () => Promise.resolve([]),
    raise: (_userId: string, cutoff: Cutoff) => {
      raised.push(cutoff);
      return Promise.resolve();
    },
  };
  const cutoffs = new Cutoffs(store as unknown as CutoffStore);
  for (const aheadMs of [0.4, 377.0625, 1000.5, 86_399_999.75]) {
    await cutoffs.refuseRevoked({ userId: 'alice', issuedAt: Date.now(), aheadMs });
    await cutoffs.raise('alice', undefined, [], { tokens: true });
  }
  expect(raised.map(({ tokensBefore }) => Number.isSafeInteger(tokensBefore))).toEqual([
    true,
    true,
    true,
    true,
  ]);
});
