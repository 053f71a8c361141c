import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { freePorts } from '@warren/rabbitmq';
import type { Config } from '@warren/server';
import { QueueWatch, typeOfQueue } from '../support/queue-watch.js';
import {
  collect,
  startStack,
  TRANSPORTS,
  uniqueUser,
  type Stack,
  type StackOptions,
} from '../support/stack.js';
import { until } from '../support/until.js';

type MailboxType = Config['mailboxType'];

let stack: Stack;
let watch: QueueWatch;
let port: number;
beforeAll(async () => {
  [port = 0] = await freePorts(1);
  watch = await QueueWatch.open();
  stack = await startStack({ config: { mailboxType: 'classic', port } });
});
afterAll(async () => {
  await stack.close();
  await watch.close();
});

/** Another server in the old one's place, with its database, and another opinion about mailboxes. */
async function restart(mailboxType: MailboxType, options: StackOptions = {}): Promise<void> {
  const { dataDir } = stack;
  await stack.server.close();
  stack = await startStack({ ...options, config: { mailboxType, port, dataDir } });
}

const sendAll = async (user: string, data: number[]): Promise<void> => {
  for (const n of data) {
    expect((await stack.send({ user }, n)).body.recipients[0]!.outcome).toBe('queued');
  }
};
const upTo = (end: number, begin = 0): number[] =>
  Array.from({ length: end - begin }, (_, index) => begin + index);

describe('a mailbox', () => {
  it.each(['quorum', 'classic'] as const)('is a %s queue where that is asked for', async (type) => {
    await restart(type);
    const user = uniqueUser();
    const { queue, liveQueue } = await stack.session(user, { deviceId: 'phone' });
    expect(await typeOfQueue(queue)).toBe(type);
    // Nothing in it is to last.
    expect(await typeOfQueue(liveQueue)).toBe('classic');
    const ahead = uniqueUser();
    const { devices } = (await stack.api('PUT', `/v1/users/${ahead}`)).body;
    expect(await typeOfQueue(devices[0]!.queue)).toBe(type);
  });

  it('is a classic queue on a single node when nothing is asked for', async () => {
    await restart('auto');
    const { queue } = await stack.session(uniqueUser(), { deviceId: 'phone' });
    expect(await typeOfQueue(queue)).toBe('classic');
  });
});

describe('a mailbox of another type than a new one', () => {
  it('stays as it is while the broker does not say how many nodes it has', async () => {
    await restart('quorum');
    const user = uniqueUser();
    const { queue } = await stack.session(user, { deviceId: 'phone' });
    const [deadPort = 0] = await freePorts(1);
    const managementUrl = `http://nobody:here@127.0.0.1:${String(deadPort)}`;
    await restart('auto', { endpoints: { ...inject('broker').endpoints, managementUrl } });
    expect((await stack.session(user, { deviceId: 'phone' })).queue).toBe(queue);
    await restart('auto');
    const { queue: next } = await stack.session(user, { deviceId: 'phone' });
    expect(await typeOfQueue(next)).toBe('classic');
  });
});

describe.each([
  ['classic', 'quorum'],
  ['quorum', 'classic'],
] as const)('a %s mailbox that is to be a %s one', (before, after) => {
  it.each(['stomp', 'amqp'] as const)(
    'is handled to its end first, in order and once, by %s',
    async (name) => {
      await restart(before);
      const user = uniqueUser();
      const old = await stack.session(user, { deviceId: name });
      await sendAll(user, upTo(20));
      await restart(after);
      const client = stack.client(user, TRANSPORTS[name](), { deviceId: name });
      const handled: number[] = [];
      let go = (): void => undefined;
      const gate = new Promise<void>((resolve) => (go = resolve));
      client.handle('note', async ({ data }) => {
        if (data === 5) await gate;
        handled.push(data as number);
      });
      const states: string[] = [];
      client.on('state', ({ current }) => states.push(current));
      client.start();
      await until(() => handled.length === 5);
      // It has all of the old one in hand, and is interrupted, so that they go back.
      await until(() => states.filter((state) => state === 'connected').length > 1);
      // The older ones still wait in the old mailbox, these in the new one.
      await sendAll(user, upTo(30, 20));
      const during = await stack.user(user);
      expect(during.devices).toHaveLength(1);
      go();
      await until(() => handled.length >= 30);
      await until(async () => !(await watch.exists(old.queue)));
      await sendAll(user, upTo(35, 30));
      await until(() => handled.length >= 35);
      expect(handled).toEqual(upTo(35));
      const [device] = (await stack.user(user)).devices;
      expect(device!.queue).not.toBe(old.queue);
      expect(await typeOfQueue(device!.queue)).toBe(after);
      expect(client.getSnapshot().state).toBe('connected');
      await client.stop();
    },
  );

  it('is replaced at once when nothing waits in it', async () => {
    await restart(before);
    const user = uniqueUser();
    const old = await stack.session(user, { deviceId: 'phone' });
    await restart(after);
    const next = await stack.session(user, { deviceId: 'phone' });
    expect(next.queue).not.toBe(old.queue);
    expect(next.resumed).toBe(true);
    expect(next.missed).toBeUndefined();
    expect(await typeOfQueue(next.queue)).toBe(after);
    expect(await watch.exists(old.queue)).toBe(false);
    expect((await stack.session(user, { deviceId: 'phone' })).queue).toBe(next.queue);
  });

  it('is reached by whatever reached it before, while the old one is emptied and afterwards', async () => {
    await restart(before);
    const user = uniqueUser();
    const [older, newer] = [`g-${uniqueUser()}`, `g-${uniqueUser()}`];
    const old = await stack.session(user, { deviceId: 'phone' });
    await stack.api('PUT', `/v1/groups/${older}/members/${user}`);
    await sendAll(user, [0]);
    await restart(after);
    // Nobody handles anything: the old one stays.
    expect((await stack.session(user, { deviceId: 'phone' })).queue).toBe(old.queue);
    await stack.api('PUT', `/v1/groups/${newer}/members/${user}`);
    const send = async (round: string): Promise<void> => {
      await stack.send({ user }, `${round} user`);
      await stack.send({ device: { user, device: 'phone' } }, `${round} device`);
      await stack.send({ group: older }, `${round} older group`);
      await stack.send({ group: newer }, `${round} newer group`);
      await stack.send({ broadcast: true }, `${round} broadcast`);
      await watch.publish('warren.direct', old.queue, `"${round} queue"`);
    };
    const kinds = ['user', 'device', 'older group', 'newer group', 'broadcast', 'queue'];
    await send('during');
    expect(await watch.waiting(old.queue)).toBe(1);
    const client = stack.client(user, TRANSPORTS.amqp(), { deviceId: 'phone' });
    const got = collect(client);
    client.start();
    await until(() => got.length >= 7);
    await until(async () => !(await watch.exists(old.queue)));
    await send('after');
    await until(() => got.length >= 13);
    expect(got.map(({ data }) => data)).toEqual([
      0,
      ...kinds.map((kind) => `during ${kind}`),
      ...kinds.map((kind) => `after ${kind}`),
    ]);
    await stack.api('DELETE', `/v1/groups/${older}/members/${user}`);
    expect((await stack.send({ group: older }, 'gone')).body.outcome).toBe('unprovisioned');
    await client.stop();
  });

  it('is cut off as one when it is revoked in the middle', async () => {
    await restart(before);
    const user = uniqueUser();
    const old = await stack.session(user, { deviceId: 'phone' });
    const first = await stack.send({ user }, 1, { track: true });
    await restart(after);
    await stack.session(user, { deviceId: 'phone' });
    const second = await stack.send({ user }, 2, { track: true });
    const outcomeOf = async (id: string) =>
      (await stack.api('GET', `/v1/messages/${id}`)).body.recipients[0]!.outcome;
    expect((await stack.user(user)).devices).toMatchObject([{ queue: old.queue, depth: 2 }]);
    expect((await stack.api('POST', `/v1/users/${user}/revoke`, {})).status).toBe(204);
    expect(await watch.exists(old.queue)).toBe(false);
    expect((await stack.send({ user }, 3)).body.recipients[0]!.outcome).toBe('unprovisioned');
    expect(await outcomeOf(first.body.id)).toBe('revoked');
    expect(await outcomeOf(second.body.id)).toBe('revoked');
  });

  it('tells what it has lost when somebody deletes one of the two', async () => {
    await restart(before);
    const user = uniqueUser();
    const old = await stack.session(user, { deviceId: 'phone' });
    await sendAll(user, [0]);
    await restart(after);
    await stack.session(user, { deviceId: 'phone' });
    await sendAll(user, [1]);
    await watch.remove(old.queue);
    const next = await stack.session(user, { deviceId: 'phone' });
    expect(next.queue).not.toBe(old.queue);
    expect(next.missed).toBe(true);
    expect(await watch.waiting(next.queue)).toBe(1);
  });
});
