import { expect, it } from 'vitest';
import { PushBed } from '../support/push-bed.js';
import { NO_RATES, uniqueUser } from '../support/stack.js';
import { until } from '../support/until.js';

// In a file of its own: a worker with another database would take its jobs.
it('a provider gets no more pushes a second than the limit says', async () => {
  const bed = await PushBed.start({ rates: { ...NO_RATES, webhook: 100 } });
  try {
    const users = Array.from({ length: 300 }, () => uniqueUser());
    await Promise.all(users.map((user) => bed.register(user)));
    const startedAt = performance.now();
    const id = await bed.push({ users }, { afterMs: 0 });
    await until(async () => (await bed.stateOf(id)).counts.pushed === 300, 'all pushes');
    // One hundred in each of three seconds, of which the first may begin in the middle.
    expect(performance.now() - startedAt).toBeGreaterThan(1000);
    expect(bed.proxy.sizes).toEqual([100, 100, 100]);
  } finally {
    await bed.close();
  }
});
