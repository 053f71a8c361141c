import { connect } from 'amqplib';
import { expect, inject, it } from 'vitest';
import { PushBed } from '../support/push-bed.js';
import { NO_RATES, uniqueUser } from '../support/stack.js';
import { until } from '../support/until.js';

// One server at a time: a worker with another database would take its jobs.
it('a provider gets no more pushes a second than the limit says', async () => {
  const bed = await PushBed.start({ limits: { rates: { ...NO_RATES, webhook: 100 } } });
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

it('a push whose job was lost on the broker is decided all the same', async () => {
  const bed = await PushBed.start({ limits: { overdueMs: 1000 } });
  const model = await connect(inject('broker').endpoints.amqpUrl);
  try {
    const channel = await model.createChannel();
    const user = await bed.provisioned();
    await bed.register(user);
    const id = await bed.push({ user }, { afterMs: 3500 });
    const { messageCount } = await channel.purgeQueue('warren.wait.3000ms');
    expect(messageCount).toBe(1);
    await bed.expectOutcome(id, user, 'pushed');
    expect(bed.pushesOf(id)).toHaveLength(1);
  } finally {
    await model.close();
    await bed.close();
  }
});
