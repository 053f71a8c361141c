import { expect, it } from 'vitest';
import { DEFAULT_RATE_LIMITS, RateLimiter } from '../../server/dist/http/rate-limits.js';
import {
  ClientMessages,
  type ClientMessagesOptions,
} from '../../server/dist/sending/client-messages.js';

/* Each device of a recipient keeps a copy of what a user sends, and the history one. */

const KIB = 1024;

function setUp() {
  const sent: number[] = [];
  const messages = new ClientMessages({
    sender: {
      send: ({ data }: { data: string }) => Promise.resolve(sent.push(data.length)),
    },
    policy: () => true,
    rates: new RateLimiter(DEFAULT_RATE_LIMITS),
  } as unknown as ClientMessagesOptions);
  const send = (from: string, length: number) =>
    messages.send(from, {
      to: { user: 'bob' },
      type: 'note',
      data: 'x'.repeat(length),
      delivery: 'stored',
    });
  return { sent, send };
}

it('what a user sends to others in a minute is bounded by its size, and all else by how often', async () => {
  const { sent, send } = setUp();
  for (let count = 0; count < DEFAULT_RATE_LIMITS.perUser; count++) {
    await send('ann', 240 * KIB).catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'rate_limited' });
    });
  }
  const total = sent.reduce((sum, length) => sum + length, 0);
  // Twice, should a minute have ended meanwhile.
  expect(total).toBeLessThanOrEqual(2 * 16 * DEFAULT_RATE_LIMITS.perUser * KIB);
  expect(total).toBeGreaterThan(KIB * KIB);
  // Whoever writes as often as it may, and no novels, is not held up.
  for (let count = 0; count < DEFAULT_RATE_LIMITS.perUser; count++) await send('eve', 15 * KIB);
});
