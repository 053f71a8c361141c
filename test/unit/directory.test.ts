import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { openStorage } from '../../server/dist/storage/index.js';

// How long a group that was deleted stays in the database hangs on the broker, and shows nowhere outside.

async function open() {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-directory-'));
  const storage = await openStorage({ dataDir, url: undefined }, () => undefined);
  onTestFinished(async () => {
    await storage.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  return storage;
}

it('fills its pages with groups that there still are, past those that are being deleted', async () => {
  const { groups, directory } = await open();
  for (const id of ['a', 'b', 'c', 'd', 'e']) await groups.add(id, 'all', 1);
  for (const id of ['a', 'c']) await groups.setEnded((await groups.find(id))!, 2);
  const page = async (after?: string) => {
    const found = await directory.listGroups({ search: '', after, limit: 2 });
    return found.map(({ groupId }) => groupId);
  };
  expect(await page()).toEqual(['b', 'd']);
  expect(await page('d')).toEqual(['e']);
});

it('counts a thousand members of each group at most, and says whether there are more', async () => {
  const { groups, directory } = await open();
  for (const [id, size] of Object.entries({ full: 1000, larger: 1001 })) {
    const group = await groups.add(id, 'all', 1);
    const users = Array.from({ length: size }, (_, index) => `user-${String(index)}`);
    await groups.addMembers(group, users, 1);
  }
  expect(await directory.listGroups({ search: '', limit: 2 })).toMatchObject([
    { groupId: 'full', members: 1000, hasMoreMembers: false },
    { groupId: 'larger', members: 1000, hasMoreMembers: true },
  ]);
});
