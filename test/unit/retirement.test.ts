import { expect, it } from 'vitest';
import { HttpProblem } from '../../server/dist/problem.js';
import {
  leastMissed,
  Retirement,
  type RetirementOptions,
} from '../../server/dist/sessions/retirement.js';
import type { Device } from '../../server/dist/storage/devices.js';

const HOUR_MS = 3600_000;
const now = 100 * 24 * HOUR_MS;
const hasMail = (one: { hasMail: boolean }): Promise<boolean> => Promise.resolve(one.hasMail);
const device = (hoursAgo: number, hasMail: boolean) => ({
  seenAt: now - hoursAgo * HOUR_MS,
  hasMail,
});

it('the device that is missed least was not seen for a day, has no mail, and was not seen for longest', async () => {
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
  const chosen: ReturnType<typeof device>[] = [];
  while (left.length > 0) {
    const next = (await leastMissed(left, now, hasMail))!;
    left = left.filter((other) => other !== next);
    chosen.push(next);
  }
  expect(chosen).toEqual(inOrder);
  expect(await leastMissed<ReturnType<typeof device>>([], now, hasMail)).toBeUndefined();
});

it('no more queues are asked whether they have mail than it takes', async () => {
  const asked: number[] = [];
  const all = Array.from({ length: 50 }, (_, index) => device(1 + index / 100, index > 47));
  const chosen = await leastMissed(all, now, (one) => {
    asked.push(all.indexOf(one));
    return hasMail(one);
  });
  expect(asked).toEqual([49, 48, 47]);
  expect(chosen).toBe(all[47]);
});

it('a mailbox that cannot say whether it has mail is taken for one that has', async () => {
  const ended: string[] = [];
  const retirement = new Retirement({
    expired: { remember: () => Promise.resolve() } as unknown as RetirementOptions['expired'],
    connections: { areKnown: () => Promise.resolve(true), isOnline: () => Promise.resolve(false) },
    provisioner: {
      stat: (queue) =>
        queue === 'unreachable'
          ? Promise.reject(new HttpProblem('broker_unavailable'))
          : Promise.resolve({ ready: 0, consumers: 0 }),
    },
    endings: {
      finish: (devices: Device[]) => {
        ended.push(...devices.map(({ queue }) => queue));
        return Promise.resolve();
      },
    } as unknown as RetirementOptions['endings'],
  });
  const row = (queue: string, seenAt: number) =>
    ({
      device_id: queue,
      queue,
      next_queue: null,
      retired_queue: null,
      last_seen_at: seenAt,
    }) as unknown as Device;
  expect(await retirement.makeRoom([row('unreachable', 1), row('empty', 2)])).toBe(true);
  expect(await retirement.makeRoom([row('unreachable', 1)])).toBe(true);
  expect(ended).toEqual(['empty', 'unreachable']);
});
