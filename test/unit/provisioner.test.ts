import { AMQPChannelError } from 'rabbitmq-client';
import { describe, expect, it } from 'vitest';
import { DEFAULT_NAMES } from '@warren/rabbitmq';
import type { ControlLink } from '../../server/dist/broker/control-link.js';
import type { DeadQueues } from '../../server/dist/broker/dead-queues.js';
import { Provisioner } from '../../server/dist/broker/provisioner.js';

const LIVING = 'user.a.phone.1';
const SILENT = 'user.b.phone.1';
const CHANNELS = 4;

/** A broker on which one queue is silent until it is let go; the channel that has asked is silent with it. */
function setUp(answers: Record<string, () => unknown> = {}) {
  const dead = new Set<string>();
  let looks = 0;
  let isFound = false;
  const silent: (() => void)[] = [];
  const counts = { opened: 0, retired: 0 };
  const openChannel = () => {
    counts.opened++;
    let isBusy = false;
    const channel = { active: true };
    const assertOpen = () => {
      if (!channel.active) throw refused('CH_CLOSE', 'channel is closed');
    };
    const answer = async ({ queue }: { queue: string }) => {
      assertOpen();
      if (isBusy) await new Promise<never>(() => undefined);
      if (queue === SILENT) {
        isBusy = true;
        await new Promise<void>((resolve) => silent.push(resolve));
      }
      return answers[queue]?.() ?? { messageCount: 7, consumerCount: 1 };
    };
    return Promise.resolve(
      Object.assign(channel, {
        queueDeclare: answer,
        queueDelete: answer,
        queueBind: async () => {
          assertOpen();
          await Promise.resolve();
        },
        exchangeDeclare: () => Promise.resolve(),
        exchangeBind: () => Promise.resolve(),
      }),
    );
  };
  const link = {
    isConnected: true,
    onConnected: () => undefined,
    openChannel,
    // As soon as nothing is under way on it.
    retire: (channel: { active: boolean }) => {
      counts.retired++;
      silent.push(() => (channel.active = false));
    },
    guard: (work: () => Promise<unknown>) => work(),
  };
  const deadQueues = {
    has: (queue: string) => dead.has(queue),
    look: () => {
      looks++;
      if (isFound) dead.add(SILENT);
      return Promise.resolve();
    },
  };
  const provisioner = new Provisioner({
    link: link as unknown as ControlLink,
    names: DEFAULT_NAMES,
    deadQueues: deadQueues as unknown as DeadQueues,
    onError: () => undefined,
  });
  return {
    provisioner,
    dead,
    counts,
    looks: () => looks,
    /** From now on it is found when it is looked for. */
    find: () => (isFound = true),
    answer: () => {
      for (const resolve of silent.splice(0)) resolve();
    },
  };
}

// Its constructor is the library's own affair.
const refused = (code: string, message: string): Error =>
  Reflect.construct(AMQPChannelError, [code, message]) as Error;

const refusal = (code: string, message: string) => (): never => {
  throw refused(code, message);
};

describe('a queue that does not answer', () => {
  it('holds up no question about another one', async () => {
    const { provisioner, answer } = setUp();
    const silent = Array.from({ length: CHANNELS * 2 }, () => provisioner.stat(SILENT));
    expect(await provisioner.stat(LIVING)).toEqual({ ready: 7, consumers: 1 });
    answer();
    // Those that were asked in its turn have yet to be answered.
    expect(await silent[0]).toEqual({ ready: 7, consumers: 1 });
  });

  it('is waited for when it is slow, and not dead', async () => {
    const { provisioner, looks, answer } = setUp();
    const asked = provisioner.stat(SILENT);
    await expect.poll(looks, { timeout: 5000 }).toBe(1);
    answer();
    expect(await asked).toEqual({ ready: 7, consumers: 1 });
  });

  it('is bound when it was only slow, on a channel that is not given up for its sake', async () => {
    const { provisioner, counts, answer } = setUp();
    await provisioner.ready();
    const spec = { type: 'classic' as const, keys: ['user.b'], fanout: 'warren.broadcast' };
    const made = provisioner.ensureQueue({ queue: SILENT, ...spec });
    await expect.poll(() => counts.retired, { timeout: 5000 }).toBe(1);
    answer();
    expect(await made).toBe(7);
  });

  it('is given up when it is dead, and then asked for no more', async () => {
    const { provisioner, find, counts } = setUp();
    find();
    await expect(provisioner.stat(SILENT)).rejects.toMatchObject({ code: 'broker_unavailable' });
    const { opened } = counts;
    expect(await provisioner.stat(SILENT)).toBeUndefined();
    expect(counts.opened).toBe(opened);
  });

  it('is deleted by nobody who waits, and keeps no channel from others', async () => {
    const { provisioner, find, dead } = setUp();
    find();
    await expect(provisioner.deleteQueues([SILENT])).rejects.toMatchObject({
      code: 'broker_unavailable',
    });
    // Each of the channels is used in turn.
    for (let turn = 0; turn < CHANNELS; turn++) await provisioner.deleteQueues([LIVING]);
    expect(dead.has(SILENT)).toBe(true);
    await provisioner.deleteQueues([SILENT, LIVING]);
  });
});

describe('a queue that the broker says is not there', () => {
  it('is gone', async () => {
    const text = "NOT_FOUND - no queue 'user.a.phone.1' in vhost 'warren'";
    const { provisioner } = setUp({ [LIVING]: refusal('NOT_FOUND', text) });
    expect(await provisioner.exists(LIVING)).toBe(false);
  });

  it.each([
    "NOT_FOUND - home node 'rabbit@b' of durable queue 'user.a.phone.1' in vhost 'warren' is down or inaccessible",
    "NOT_FOUND - queue 'user.a.phone.1' in vhost 'warren' has crashed and failed to restart",
    "NOT_FOUND - failed to perform operation on queue 'user.a.phone.1' in vhost 'warren' due to timeout",
  ])('is not gone for being out of reach: %s', async (text) => {
    const { provisioner, looks } = setUp({ [LIVING]: refusal('NOT_FOUND', text) });
    await expect(provisioner.exists(LIVING)).rejects.toThrow('NOT_FOUND');
    expect(looks()).toBe(1);
  });
});
