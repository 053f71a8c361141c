import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { Cutoffs } from '../../server/dist/sessions/cutoffs.js';
import { openStorage, type Storage } from '../../server/dist/storage/index.js';

/* What a user may have written down as often as it likes: the oldest of it is forgotten. */

const MOST = 200;
const names = Array.from({ length: MOST + 100 }, (_, index) => `device-${String(index)}`);

let storage: Storage;
beforeEach(async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-forgotten-'));
  storage = await openStorage({ dataDir, url: undefined }, () => undefined);
  onTestFinished(async () => {
    await storage.close();
    await rm(dataDir, { recursive: true, force: true });
  });
});

describe('of the devices that one user has logged out', () => {
  const at = 1_000_000;
  const logOut = async (): Promise<void> => {
    for (const [index, deviceId] of names.entries()) {
      const cutoff = { deviceId, sessionsBefore: at + index, tokensBefore: 0 };
      await storage.cutoffs.raise('ann', { ...cutoff, installationId: undefined });
    }
  };
  const known = async (userId: string) =>
    (await storage.cutoffs.listOf(userId)).map(({ deviceId }) => deviceId).sort();

  it('the newest are remembered', async () => {
    await logOut();
    expect(await known('ann')).toEqual(names.slice(-MOST).sort());
  });

  it('as many as there are, none takes the place of what was revoked, or of other users', async () => {
    const cutoffs = new Cutoffs(storage.cutoffs);
    await cutoffs.raise('ann', 'stolen', [], { tokens: true });
    await cutoffs.raise('ann', undefined, [], { tokens: true });
    await cutoffs.raise('bob', 'phone', [], { tokens: false });
    await logOut();
    expect(await known('ann')).toEqual(expect.arrayContaining(['stolen', undefined]));
    expect(await known('bob')).toEqual(['phone']);
    const before = { userId: 'ann', issuedAt: Date.now() - 5000 };
    await expect(cutoffs.refuseRevoked(before)).rejects.toMatchObject({ code: 'token_revoked' });
  });
});

it('of the devices of one user that were revoked, the oldest end the older tokens of all', async () => {
  const cutoffs = new Cutoffs(storage.cutoffs);
  const at = Date.now();
  for (const [index, deviceId] of names.entries()) {
    const times = { sessionsBefore: at, tokensBefore: at + index * 1000 };
    await storage.cutoffs.raise('ann', { deviceId, ...times, installationId: undefined });
  }
  await cutoffs.raise('bob', 'phone', [], { tokens: true });
  expect(await storage.cutoffs.listOf('ann')).toHaveLength(MOST + 1);
  const admit = (userId: string, deviceId: string, issuedAt: number) =>
    cutoffs.admit({
      ...{ identity: { userId, issuedAt }, deviceId, sessionId: undefined },
      device: { device_id: deviceId } as never,
    });
  const refused = { code: 'token_revoked' };
  const gathered = names.length - MOST - 1;
  await expect(admit('ann', names[0]!, at - 1)).rejects.toMatchObject(refused);
  await expect(admit('ann', 'other', at + gathered * 1000 - 1)).rejects.toMatchObject(refused);
  await admit('ann', 'other', at + gathered * 1000);
  // The newest are still of one device each.
  const last = at + (names.length - 1) * 1000;
  await expect(admit('ann', names.at(-1)!, last - 1)).rejects.toMatchObject(refused);
  await admit('ann', names.at(-1)!, last);
  await admit('bob', 'tablet', at - 100_000);
});

it('of the devices of one user whose mailbox is gone, the newest are remembered', async () => {
  const { devices, expiredDevices } = storage;
  const queuesOf = (name: string) => ({
    mail: `user.${name}`,
    live: `live.${name}`,
    type: 'classic' as const,
  });
  for (const [index, name] of names.entries()) {
    const device = await devices.add('ann', name, queuesOf(name), index);
    await devices.remove([device]);
    await expiredDevices.remember(device, index);
  }
  const isRemembered = async (name: string): Promise<boolean> =>
    (await devices.add('ann', name, queuesOf(`again-${name}`), 1000)).missed_at !== null;
  expect(await isRemembered(names[0]!)).toBe(false);
  expect(await isRemembered(names.at(-MOST - 1)!)).toBe(false);
  expect(await isRemembered(names.at(-MOST)!)).toBe(true);
  expect(await isRemembered(names.at(-1)!)).toBe(true);
});
