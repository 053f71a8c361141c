import { expect, it } from 'vitest';
import { leastMissed } from '../../server/dist/sessions/retirement.js';

const HOUR_MS = 3600_000;
const now = 100 * 24 * HOUR_MS;
const device = (hoursAgo: number, hasMail: boolean) => ({
  seenAt: now - hoursAgo * HOUR_MS,
  hasMail,
});

it('the device that is missed least was not seen for a day, has no mail, and was not seen for longest', () => {
  const inOrder = [
    device(900, false),
    device(25, false),
    device(900, true),
    device(25, true),
    device(23, false),
    device(1, false),
    device(23, true),
    device(1, true),
  ];
  let left = [...inOrder].reverse();
  const chosen = inOrder.map(() => {
    const next = leastMissed(left, now)!;
    left = left.filter((other) => other !== next);
    return next;
  });
  expect(chosen).toEqual(inOrder);
  expect(leastMissed<ReturnType<typeof device>>([], now)).toBeUndefined();
});
