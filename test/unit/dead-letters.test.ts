import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
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
  const add = (userId: string | undefined, { size = 3, queue = 'user.x' } = {}) =>
    deadLetters.add(
      {
        at: Date.now(),
        reason: 'rejected',
        queue,
        userId,
        deviceId: 'phone',
        messageId: `m-${String(++number)}`,
        type: 'note',
        size,
        detail: undefined,
        fingerprint: String(number),
      },
      CONTENT,
      false,
    );
  return { deadLetters, add };
}

it('gives back what a dead letter says as it came', async () => {
  const { deadLetters, add } = await open();
  await add('ann');
  const [id = 0] = await deadLetters.listIds({}, 10);
  expect(await deadLetters.read([id])).toMatchObject([{ ...CONTENT, userId: 'ann' }]);
});

it('keeps one that is handed over twice once, and two that are alike twice', async () => {
  const { deadLetters } = await open();
  const entry = {
    at: 1,
    reason: 'expired' as const,
    queue: 'user.x',
    userId: 'ann',
    deviceId: undefined,
    messageId: undefined,
    type: undefined,
    size: 3,
    detail: undefined,
    fingerprint: 'same',
  };
  expect(await deadLetters.add(entry, CONTENT, false)).toBe(true);
  expect(await deadLetters.add(entry, CONTENT, true)).toBe(false);
  expect(await deadLetters.add(entry, CONTENT, false)).toBe(true);
  expect(await deadLetters.count({})).toBe(2);
});

it('lets nobody push out the dead letters of others, by their number or by their size', async () => {
  const { deadLetters, add } = await open();
  await add('bob');
  for (let count = 0; count < 2200; count++) await add('ann');
  for (let count = 0; count < 100; count++) await add('eve', { size: 1024 * 1024 });
  await deadLetters.removeOld(0);
  expect(await deadLetters.count({ user: 'bob' })).toBe(1);
  const ofAnn = await deadLetters.count({ user: 'ann' });
  expect(ofAnn).toBeGreaterThanOrEqual(2000);
  expect(ofAnn).toBeLessThan(2050);
  expect(await deadLetters.count({ user: 'eve' })).toBeLessThan(66);
  const [newest] = await deadLetters.list({ user: 'ann' }, { limit: 1 });
  expect(newest!.messageId).toBe('m-2201');
});
