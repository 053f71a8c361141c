import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { openStorage } from '../../server/dist/storage/index.js';

/*
 * A message to a group has as many rows as the group has members. In SQLite, whose statements hold up the process, they
 * are written some at a time. How many turns others get in between does not show outside.
 */

const USERS = Array.from({ length: 3000 }, (_, index) => `user-${String(index)}`);
const PORTIONS = 6;
const NOW = 1_000_000;

async function open() {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-portions-'));
  const storage = await openStorage({ dataDir, url: undefined }, () => undefined);
  onTestFinished(async () => {
    await storage.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  return storage;
}

const messageOf = (id: string) => ({
  id,
  fingerprint: 'f',
  type: 'note',
  target: { group: 'all' },
  queue: null,
  createdAt: NOW,
  expiresAt: NOW + 1000,
  deadline: NOW + 2000,
  from: undefined,
  push: undefined,
});

const of = (users: string[], outcome: 'queued' | 'unprovisioned') =>
  users.map((user) => ({ user, outcome }));

/** How many turns of the event loop others had meanwhile. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let isOver = false;
  const count = (): void => {
    turns++;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  await work();
  isOver = true;
  return turns;
}

it.each(['queued', 'unprovisioned'] as const)(
  'lets others have their turn while a message to thousands is written down as %s, settled, and forgotten',
  async (outcome) => {
    const { messages, outcomes, pushDecisions } = await open();
    const message = messageOf('m');
    const steps = {
      begin: () => messages.begin(message, of(USERS, outcome)),
      hasten: () => pushDecisions.hasten('m', NOW),
      settle: () => outcomes.settle('m', 'unprovisioned', NOW),
      removeOld: () => messages.removeOld(NOW + 5000),
    };
    for (const [name, step] of Object.entries(steps)) {
      // What has ended is not settled.
      if (name === 'settle' && outcome === 'unprovisioned') continue;
      expect(await turnsDuring(step), name).toBeGreaterThanOrEqual(PORTIONS - 2);
      const counts = await messages.counts('m');
      expect(Object.values(counts), name).toEqual(name === 'removeOld' ? [] : [USERS.length]);
    }
    expect(await messages.find('m')).toBeUndefined();
  },
);

it('gives a message to thousands up in portions, and all of it', async () => {
  const { messages } = await open();
  await messages.begin(messageOf('m'), of(USERS, 'queued'));
  expect(await turnsDuring(() => messages.remove('m'))).toBeGreaterThanOrEqual(PORTIONS - 1);
  expect(await messages.counts('m')).toEqual({});
});

it('ends no more of those of whom there was no word than one portion at once', async () => {
  const { messages, outcomes } = await open();
  await messages.begin(messageOf('m'), of(USERS, 'queued'));
  let left = USERS.length;
  while (left > 0) {
    const ended = await outcomes.expire(NOW + 3000);
    expect(ended).toBe(USERS.length / PORTIONS);
    left -= ended;
    const { queued = 0, unconfirmed = 0 } = await messages.counts('m');
    expect([queued, unconfirmed]).toEqual([left, USERS.length - left]);
  }
  expect(await outcomes.expire(NOW + 3000)).toBe(0);
});

it('ends what waited in a mailbox that is gone in portions', async () => {
  const { messages, outcomes } = await open();
  const ids = USERS.slice(0, USERS.length / 2).map((_, index) => `m${String(index)}`);
  for (const id of ids) await messages.begin(messageOf(id), of(['ann'], 'queued'));
  const fail = () => outcomes.failMailbox('ann', 'user.ann.x', 'dropped', NOW);
  expect(await turnsDuring(fail)).toBeGreaterThanOrEqual(PORTIONS / 2 - 1);
  for (const id of ids) expect(await messages.counts(id)).toEqual({ dropped: 1 });
});

it('writes what is stored for a list of thousands in portions', async () => {
  const { history } = await open();
  const record = {
    ...{ messageId: 'm', type: 'note', at: NOW, expiresAt: null, from: null },
    ...{ target: '{"users":3000}', body: '1', isBase64: false, properties: null, deviceId: null },
    timelines: USERS.map((user) => `u.${user}`),
  };
  const write = () => history.write([record], ['mark'], NOW);
  expect(await turnsDuring(write)).toBeGreaterThanOrEqual(PORTIONS - 1);
  for (const timeline of [record.timelines[0]!, record.timelines.at(-1)!]) {
    const { rows } = await history.page({ ranges: [{ timeline }], order: 'asc', limit: 10 });
    expect(rows).toHaveLength(1);
  }
});

it('goes on where it was broken off when the same message comes again, and tells nobody twice', async () => {
  const { messages, outbox } = await open();
  const message = messageOf('m');
  expect(await messages.begin(message, of(USERS.slice(0, 700), 'unprovisioned'))).toBeUndefined();
  const known = await messages.begin(message, of(USERS, 'unprovisioned'));
  expect(known).toMatchObject({ id: 'm', isConfirmed: false });
  expect(await messages.counts('m')).toEqual({ unprovisioned: USERS.length });
  const told = await outbox.claim(2 * USERS.length, NOW);
  expect(told).toHaveLength(USERS.length);
  // Another message under its id adds nothing; nor does the same one once it was sent.
  const more = of([...USERS, 'more'], 'unprovisioned');
  await messages.begin({ ...message, fingerprint: 'other' }, more);
  await messages.confirm('m');
  await messages.begin(message, more);
  expect(await messages.counts('m')).toEqual({ unprovisioned: USERS.length });
});
