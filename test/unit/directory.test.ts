import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { openStorage } from '../../server/dist/storage/index.js';

// How long a group that was deleted stays in the database hangs on the broker, and shows nowhere outside.

it('fills its pages with groups that there still are, past those that are being deleted', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-directory-'));
  const { groups, directory, close } = await openStorage(
    { dataDir, url: undefined },
    () => undefined,
  );
  onTestFinished(async () => {
    await close();
    await rm(dataDir, { recursive: true, force: true });
  });
  for (const id of ['a', 'b', 'c', 'd', 'e']) await groups.add(id, 'all', 1);
  for (const id of ['a', 'c']) await groups.setEnded((await groups.find(id))!, 2);
  const page = async (after?: string) => {
    const found = await directory.listGroups({ search: '', after, limit: 2 });
    return found.map(({ groupId }) => groupId);
  };
  expect(await page()).toEqual(['b', 'd']);
  expect(await page('d')).toEqual(['e']);
});
