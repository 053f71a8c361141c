import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { NewDeadLetter } from '../../server/dist/storage/dead-letters.js';
import { openStorage } from '../../server/dist/storage/index.js';

const CONTENT = {
  content: Buffer.from([0, 255, 10]),
  contentType: 'application/octet-stream',
  correlationId: 'c\0d',
  headers: { 'x-own': Buffer.from([1, 2]), list: [1, { at: null }], type: 'Buffer' },
};

async function open() {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-letters-'));
  const { deadLetters, close } = await openStorage({ dataDir, url: undefined }, () => undefined);
  onTestFinished(async () => {
    await close();
    await rm(dataDir, { recursive: true, force: true });
  });
  let number = 0;
  const letterOf = (
    userId: string | undefined,
    { size = 3, queue = 'user.x', fingerprint = String(++number), isRedelivered = false } = {},
  ): NewDeadLetter => ({
    entry: {
      at: Date.now(),
      reason: 'rejected',
      queue,
      userId,
      deviceId: 'phone',
      messageId: `m-${fingerprint}`,
      type: 'note',
      size,
      detail: undefined,
      fingerprint,
    },
    content: CONTENT,
    isRedelivered,
  });
  return { deadLetters, letterOf };
}

it('gives back what each dead letter says as it came', async () => {
  const { deadLetters, letterOf } = await open();
  const users = Array.from({ length: 120 }, (_, index) => `ann-${String(index)}`);
  await deadLetters.add(
    users.map((user) => ({
      ...letterOf(user),
      content: { ...CONTENT, content: Buffer.from(`for ${user}`) },
    })),
  );
  const ids = await deadLetters.listIds({}, 1000);
  const letters = await deadLetters.read(ids);
  expect(letters.map(({ userId, content }) => [userId, content.toString()])).toEqual(
    users.map((user) => [user, `for ${user}`]),
  );
  const { content: _, ...rest } = CONTENT;
  expect(letters[0]).toMatchObject(rest);
});

it('keeps one that is handed over twice once, and two that are alike twice', async () => {
  const { deadLetters, letterOf } = await open();
  const first = letterOf('ann', { fingerprint: 'same' });
  const again = letterOf('ann', { fingerprint: 'same', isRedelivered: true });
  const other = letterOf('ann', { isRedelivered: true });
  expect(await deadLetters.add([first])).toEqual([first.entry]);
  expect(await deadLetters.add([again, other])).toEqual([other.entry]);
  expect(await deadLetters.add([first, first])).toHaveLength(2);
  expect(await deadLetters.count({})).toBe(4);
});

it('lets nobody push out the dead letters of others, by their number or by their size', async () => {
  const { deadLetters, letterOf } = await open();
  await deadLetters.add([letterOf('bob')]);
  for (let count = 0; count < 2200; count += 20) {
    await deadLetters.add(Array.from({ length: 20 }, () => letterOf('ann')));
  }
  for (let count = 0; count < 100; count++) {
    await deadLetters.add([letterOf('eve', { size: 1024 * 1024 })]);
  }
  await deadLetters.removeOld(0);
  expect(await deadLetters.count({ user: 'bob' })).toBe(1);
  const ofAnn = await deadLetters.count({ user: 'ann' });
  expect(ofAnn).toBeGreaterThanOrEqual(2000);
  expect(ofAnn).toBeLessThan(2100);
  expect(await deadLetters.count({ user: 'eve' })).toBeLessThan(66);
  const [newest] = await deadLetters.list({ user: 'ann' }, { limit: 1 });
  expect(newest!.messageId).toBe('m-2201');
});
