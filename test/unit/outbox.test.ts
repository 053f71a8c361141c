import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { openStorage } from '../../server/dist/storage/index.js';
import type { News } from '../../server/dist/storage/outbox.js';

const NOW = 1_000_000;
const CLAIM = 200;

async function open() {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-outbox-'));
  const storage = await openStorage({ dataDir, url: undefined }, () => undefined);
  onTestFinished(async () => {
    await storage.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  return storage.outbox;
}

const failed = (messageId: string, count: number): News[] =>
  Array.from({ length: count }, (_, index) => ({
    ...{ event: 'message.failed', at: NOW, user: `user-${String(index)}`, messageId },
    ...{ type: 'note', outcome: 'expired' },
  }));
const online = (count: number): News[] =>
  Array.from({ length: count }, (_, index) => ({
    ...{ event: 'user.online', at: NOW, user: `user-${String(index)}` },
  }));

const messagesOf = (entries: { body: string }[]): (string | undefined)[] => [
  ...new Set(entries.map(({ body }) => (JSON.parse(body) as { messageId?: string }).messageId)),
];

it('events of a message to thousands do not stand before those of others', async () => {
  const outbox = await open();
  await outbox.add(failed('to-all', 5000));
  await outbox.add(failed('to-one', 1));
  const entries = await outbox.claim(CLAIM, NOW);
  expect(entries).toHaveLength(CLAIM);
  expect(messagesOf(entries)).toEqual(['to-one', 'to-all']);
});

it('and are told all the same while there are others without end', async () => {
  const outbox = await open();
  await outbox.add(failed('to-all', 100));
  await outbox.add(online(5000));
  const told: { id: number; body: string }[] = [];
  for (let claim = 0; claim < 2; claim++) told.push(...(await outbox.claim(CLAIM, NOW)));
  const many = told.filter(({ body }) => body.includes('"to-all"'));
  expect([told.length, many.length]).toEqual([2 * CLAIM, 100]);
  expect(many.map(({ id }) => id)).toEqual([...many.map(({ id }) => id)].sort((a, b) => a - b));
});

it('events that others may follow are told in the order in which they came', async () => {
  const outbox = await open();
  await outbox.add(online(100));
  await outbox.add([{ event: 'user.offline', at: NOW, user: 'user-99' }]);
  const entries = await outbox.claim(CLAIM, NOW);
  const events = entries.map(({ body }) => (JSON.parse(body) as { event: string }).event);
  expect(events.indexOf('user.offline')).toBe(100);
});
