import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { openStorage } from '../../server/dist/storage/index.js';

const DAY_MS = 24 * 60 * 60 * 1000;

async function open() {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-trail-'));
  const storage = await openStorage({ dataDir, url: undefined }, () => undefined);
  onTestFinished(async () => {
    await storage.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  return storage;
}

// What is written of a user half a minute after the erasure shows nowhere outside before that.

it('erases what was written of a user in the moments after the erasure, and nothing of a new life', async () => {
  const { userTrail, timeline, presence, messages } = await open();
  const kinds = async (userId: string) =>
    (await timeline.list(userId, { since: 0, limit: 100 })).map(({ kind }) => kind).sort();
  const at = 1_000_000;
  await timeline.add([{ userId: 'ann', at: at - 5, kind: 'session' }]);
  await presence.set(['ann'], true, at - 5);
  expect(await userTrail.erase('ann', at, true)).toBe(true);
  expect(await kinds('ann')).toEqual([]);
  await presence.set(['ann'], false, at + 10);
  await timeline.add(
    ['ann', 'bob'].flatMap((userId) => [
      { userId, at: at - 1, kind: 'connected' as const },
      { userId, at: at + 20, kind: 'disconnected' as const },
      { userId, at: at + 25, kind: 'session' as const },
      { userId, at: at + 40_000, kind: 'disconnected' as const },
    ]),
  );
  await userTrail.eraseLate(at + 29_000);
  expect(await kinds('ann')).toHaveLength(4);
  await userTrail.eraseLate(at + 31_000);
  expect(await kinds('ann')).toEqual(['disconnected', 'session']);
  expect(await kinds('bob')).toHaveLength(4);
  expect((await presence.lastSeen(['ann'])).size).toBe(0);
  // A day later, what became of messages to her alone, and of hers on a list.
  const tracked = async (id: string, createdAt: number, users: string[]) => {
    const message = {
      id,
      type: 'note',
      fingerprint: id,
      target: { users: users.length },
      queue: null,
    };
    const times = { createdAt, expiresAt: createdAt + DAY_MS, deadline: createdAt + DAY_MS };
    const none = { from: 'ann', push: undefined };
    await messages.begin(
      { ...message, ...times, ...none },
      users.map((user) => ({ user, outcome: 'queued' as const })),
    );
  };
  await tracked('alone', at - 100, ['ann']);
  await tracked('shared', at - 100, ['ann', 'bob']);
  await tracked('new', at + 100, ['ann']);
  const idsOf = async (user: string) =>
    (await userTrail.listMessages(user, '', 10)).map(({ id }) => id);
  await userTrail.eraseLate(at + DAY_MS - 1000);
  expect(await idsOf('ann')).toEqual(['alone', 'new', 'shared']);
  await userTrail.eraseLate(at + DAY_MS + 1000);
  expect(await idsOf('ann')).toEqual(['new']);
  expect(await idsOf('bob')).toEqual(['shared']);
  expect(await messages.find('alone')).toBeUndefined();
  // That she was seen in a new life stays.
  await userTrail.erase('ann', at, true);
  await presence.set(['ann'], true, at + 50_000);
  await presence.set(['ann'], false, at + 60_000);
  await userTrail.eraseLate(at + 90_000);
  expect([...(await presence.lastSeen(['ann'])).values()]).toEqual([at + 60_000]);
  await userTrail.eraseLate(at + 2 * DAY_MS);
  // Once.
  await timeline.add([{ userId: 'ann', at: at + 21, kind: 'disconnected' }]);
  await userTrail.eraseLate(at + 3 * DAY_MS);
  expect(await kinds('ann')).toEqual(['disconnected']);
  expect(await userTrail.erase('nobody', at, false)).toBe(false);
});

it('writes nothing down of those who never were, however many are removed', async () => {
  const { userTrail, timeline } = await open();
  const at = 1_000_000;
  expect(await userTrail.erase('nobody', at, false)).toBe(false);
  // Were it written down, this would be taken for something of the life that was erased.
  await timeline.add([{ userId: 'nobody', at: at - 1, kind: 'session' }]);
  await userTrail.eraseLate(at + 31_000);
  expect(await timeline.list('nobody', { since: 0, limit: 10 })).toHaveLength(1);
});
