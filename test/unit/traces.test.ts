import { describe, expect, it } from 'vitest';
import { receiptsBodySchema, type Trace } from '@warren/protocol';
import { Receipts, type ReceiptsOptions } from '../../server/dist/tracking/receipts.js';

/* That somebody watches is the client's word: what it tells must not become a flood of events. */

const ignored = { inc: () => undefined, observe: () => undefined };

/** @param listeners how many of the events somebody hears, from the first on. */
function setUp(listeners: number) {
  const told: Trace[] = [];
  let underWay = 0;
  let most = 0;
  const receipts = new Receipts({
    tracker: { receive: () => Promise.resolve([]) },
    events: {
      trace: async (trace: Trace) => {
        told.push(trace);
        most = Math.max(most, ++underWay);
        await Promise.resolve();
        underWay--;
        return told.length <= listeners;
      },
    },
    timeline: { noteSome: () => undefined },
    metrics: { receipts: ignored, deliverySeconds: ignored },
  } as unknown as ReceiptsOptions);
  const handled = Array.from({ length: 500 }, (_, index) => ({
    id: String(index),
    type: 'note',
    tookMs: 1,
    agoMs: 0,
  }));
  const body = receiptsBodySchema.parse({ handled, watched: true });
  return { told, most: () => most, take: () => receipts.take('ann', body) };
}

const settled = () => new Promise((resolve) => setTimeout(resolve));

describe('what a client tells of messages that it has handled', () => {
  it('goes on to whoever watches, in its order, one after the other', async () => {
    const { told, most, take } = setUp(Infinity);
    await take();
    await settled();
    expect(told.map(({ messageId }) => messageId)).toEqual(
      Array.from({ length: 500 }, (_, index) => String(index)),
    );
    expect(most()).toBe(1);
  });

  it('goes no further where nobody does', async () => {
    const { told, take } = setUp(0);
    await take();
    await settled();
    expect(told).toHaveLength(1);
  });
});
