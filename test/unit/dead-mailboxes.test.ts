import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { createLogger } from '@warren/server';
import { DeadQueues } from '../../server/dist/broker/dead-queues.js';
import { DeadMailboxes } from '../../server/dist/mailboxes/dead-mailboxes.js';
import {
  MailboxReplacement,
  type ReplacementOptions,
} from '../../server/dist/mailboxes/replacement.js';
import { openStorage } from '../../server/dist/storage/index.js';

const logger = createLogger('silent');

/** A database and a broker of which some queues are dead: whoever asks one of these waits for ever. */
async function setUp() {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-dead-'));
  const storage = await openStorage({ dataDir, url: undefined }, () => undefined);
  const { devices, locks, mailboxes: store } = storage;
  const dead = new Set<string>();
  const deadQueues = new DeadQueues({
    management: { queuesWithoutProcess: () => Promise.resolve(new Set(dead)) },
    prefix: 'user.',
    logger,
  });
  const living = async (queue: string): Promise<void> => {
    if (dead.has(queue)) await new Promise<never>(() => undefined);
  };
  const made: string[] = [];
  const deleted: string[] = [];
  const unbound = new Map<string, string[]>();
  const provisioner = {
    exists: (queue: string) => living(queue).then(() => true),
    stat: (queue: string) =>
      deadQueues.has(queue)
        ? Promise.resolve(undefined)
        : living(queue).then(() => ({ ready: 0, consumers: 0 })),
    isDrained: (queue: string) => living(queue).then(() => true),
    ensureQueue: ({ queue }: { queue: string }) => living(queue).then(() => made.push(queue)),
    unbind: (queue: string, bindings: { routingKey: string }[]) => {
      unbound.set(
        queue,
        bindings.map(({ routingKey }) => routingKey),
      );
      return Promise.resolve();
    },
    deleteQueues: (queues: string[]) => Promise.resolve(deleted.push(...queues)),
  };
  const lost: unknown[] = [];
  const counter = { inc: vi.fn() };
  const closeAll = vi.fn(() => Promise.resolve());
  const replacement = new MailboxReplacement({
    store,
    devices,
    locks,
    wantedType: () => Promise.resolve(undefined),
    provisioner,
    deadQueues,
    connections: { closeAll, isOnline: () => Promise.resolve(false) },
    groups: { bindDevice: () => Promise.resolve(), unbindMailbox: () => Promise.resolve() },
    tracker: { mailboxGone: (_: unknown, queue: string) => Promise.resolve(lost.push(queue)) },
    timeline: { note: ({ kind }: { kind: string }) => lost.push(kind) },
    counter,
    exchange: 'warren.direct',
    prefixes: { user: 'user', live: 'live' },
    logger,
  } as unknown as ReplacementOptions);
  const deadMailboxes = new DeadMailboxes({ deadQueues, devices, locks, replacement, logger });
  onTestFinished(async () => {
    await deadMailboxes.close();
    await replacement.close();
    await storage.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  const add = (deviceId: string) =>
    devices.add(
      'ann',
      deviceId,
      { mail: `user.ann.${deviceId}.1`, type: 'classic', live: `live.ann.${deviceId}.1` },
      Date.now(),
    );
  return { store, devices, deadQueues, dead, add, made, deleted, unbound, lost, counter, closeAll };
}

describe('the mailbox of a device that is dead', () => {
  it('is replaced when that is found, by one to which all leads that led to it', async () => {
    const { devices, deadQueues, dead, add, made, deleted, unbound, lost, counter, closeAll } =
      await setUp();
    const { queue } = await add('phone');
    const { queue: other } = await add('tablet');
    dead.add(queue);
    await deadQueues.look();
    await expect.poll(() => deadQueues.count).toBe(0);
    const device = (await devices.find('ann', 'phone'))!;
    expect(device.queue).not.toBe(queue);
    expect([device.next_queue, device.retired_queue]).toEqual([null, null]);
    expect(device.missed_at).not.toBeNull();
    expect(made).toEqual([device.queue]);
    expect(unbound.get(queue)).toEqual(
      expect.arrayContaining([queue, 'user.ann', 'user.ann.phone', '']),
    );
    // Whoever is still connected to it is told; what was in it ends.
    expect(closeAll).toHaveBeenCalledWith(queue, 'mailbox_replaced');
    expect(lost).toEqual([queue, 'mailbox_lost']);
    expect(deleted).toEqual([queue]);
    expect(counter.inc).toHaveBeenCalledTimes(1);
    expect((await devices.find('ann', 'tablet'))!.queue).toBe(other);
  });

  it('is not waited for when it was to take the place of another one', async () => {
    const { store, devices, deadQueues, dead, add, deleted, lost } = await setUp();
    const device = await add('phone');
    const next = 'user.ann.phone.2';
    await store.plan(device, { queue: next, type: 'classic', now: Date.now() });
    await store.setNextAlone(device, Date.now());
    dead.add(next);
    await deadQueues.look();
    await expect.poll(async () => (await devices.find('ann', 'phone'))!.next_queue).toBeNull();
    const { queue } = (await devices.find('ann', 'phone'))!;
    expect([device.queue, next]).not.toContain(queue);
    expect(lost).toContain(next);
    expect(deleted).toEqual(expect.arrayContaining([next, device.queue]));
  });

  it('is left alone when it is nobody’s', async () => {
    const { deadQueues, dead, made } = await setUp();
    dead.add('user.bob.phone.1');
    await deadQueues.look();
    await expect.poll(() => deadQueues.count).toBe(0);
    expect(made).toEqual([]);
  });
});
