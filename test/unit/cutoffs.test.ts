import { expect, it, onTestFinished, vi } from 'vitest';
import { Cutoffs } from '../../server/dist/sessions/cutoffs.js';
import type { Identity } from '../../server/dist/sessions/identity.js';
import type { Cutoff, CutoffStore } from '../../server/dist/storage/cutoffs.js';

/** What is ended, in memory. */
function setup() {
  const raised: Cutoff[] = [];
  const store: Pick<CutoffStore, 'listOf' | 'findWhole' | 'raise'> = {
    listOf: () => Promise.resolve(raised),
    findWhole: () => Promise.resolve(raised.find(({ deviceId }) => deviceId === undefined)),
    raise: (_userId, cutoff) => {
      raised.push(cutoff);
      return Promise.resolve();
    },
  };
  const cutoffs = new Cutoffs(store as CutoffStore);
  /** @returns from when on a token is good again, by the server's clock. */
  const revoke = () => cutoffs.raise('alice', undefined, [], { tokens: true });
  const tryAs = (issuedAt: number, more: Partial<Identity> = {}) =>
    cutoffs.refuseRevoked({ userId: 'alice', issuedAt, ...more });
  return { raised, revoke, tryAs };
}

it('writes whole milliseconds down, however far ahead the clock is that tokens come from', async () => {
  const { raised, revoke, tryAs } = setup();
  for (const aheadMs of [0.4, 377.0625, 1000.5, 86_399_999.75]) {
    await tryAs(Date.now() + aheadMs).catch(() => undefined);
    await revoke();
  }
  expect(raised.map(({ tokensBefore }) => Number.isSafeInteger(tokensBefore))).toEqual([
    true,
    true,
    true,
    true,
  ]);
});

it('takes a token that is to be good only later for no sign of a clock that is ahead', async () => {
  const { revoke, tryAs } = setup();
  const isEarly = { aheadMs: 3_600_000, mostAheadMs: 30_000 };
  await expect(tryAs(Date.now() - 1000, isEarly)).rejects.toMatchObject({
    code: 'token_not_yet_valid',
  });
  const goodFrom = await revoke();
  vi.useFakeTimers({ toFake: ['Date'], now: goodFrom });
  onTestFinished(() => void vi.useRealTimers());
  await expect(tryAs(goodFrom)).resolves.toBeUndefined();
});

it('ends what an application has vouched for by a clock that is ahead', async () => {
  const { revoke, tryAs } = setup();
  const issuedAt = Date.now() + 5000;
  await tryAs(issuedAt);
  await revoke();
  await expect(tryAs(issuedAt)).rejects.toMatchObject({ code: 'token_revoked' });
});
