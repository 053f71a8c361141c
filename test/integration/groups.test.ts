import { connect, type Channel } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { collect, startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

let groups = 0;
const uniqueGroup = (): string => `g${String(process.pid)}-${String(++groups)}`;

async function provisioned(count: number): Promise<string[]> {
  const users = Array.from({ length: count }, uniqueUser);
  await Promise.all(users.map((user) => stack.api('PUT', `/v1/users/${user}`)));
  return users;
}

const depthOf = async (user: string): Promise<number> =>
  (await stack.user(user)).devices.reduce((sum, { depth }) => sum + (depth ?? 0), 0);

async function withChannel(work: (channel: Channel) => Promise<unknown>): Promise<void> {
  const model = await connect(inject('broker').endpoints.amqpUrl);
  const channel = await model.createChannel();
  // What fails is told to who asked for it, too.
  for (const emitter of [model, channel]) emitter.on('error', () => undefined);
  try {
    await work(channel);
  } finally {
    await model.close().catch(() => undefined);
  }
}

describe('a group', () => {
  it('is made once, tells how many are in it, and is gone when it is removed', async () => {
    const group = uniqueGroup();
    expect((await stack.api('GET', `/v1/groups/${group}`)).body.code).toBe('group_unknown');
    expect((await stack.api('PUT', `/v1/groups/${group}`)).status).toBe(201);
    expect((await stack.api('PUT', `/v1/groups/${group}`)).status).toBe(200);
    const changed = await stack.api('POST', `/v1/groups/${group}/members`, {
      add: ['a', 'b', 'a'],
    });
    expect(changed.body).toEqual({ added: 2, removed: 0 });
    expect((await stack.api('GET', `/v1/groups/${group}`)).body).toMatchObject({
      groupId: group,
      members: 2,
    });
    const member = await stack.api('GET', `/v1/groups/${group}/members/a`);
    expect(member.body).toEqual({ user: 'a', joinedAt: member.body.joinedAt });
    const nobody = await stack.api('GET', `/v1/groups/${group}/members/c`);
    expect([nobody.status, nobody.body.code]).toEqual([404, 'member_unknown']);
    const misspelt = await stack.api('PUT', `/v1/groups/${group}`, { member: ['c'] });
    expect(misspelt.body.code).toBe('unknown_field');
    expect((await stack.api('DELETE', `/v1/groups/${group}`)).status).toBe(204);
    expect((await stack.api('DELETE', `/v1/groups/${group}`)).body.code).toBe('group_unknown');
    expect((await stack.send({ group }, 1)).body.code).toBe('group_unknown');
  });

  it('hands one message to all members, on all their devices, and to nobody else', async () => {
    const group = uniqueGroup();
    const users = await provisioned(3);
    const [first, second, outsider] = users as [string, string, string];
    await stack.session(first, { deviceId: 'phone' });
    await stack.session(first, { deviceId: 'tablet' });
    await stack.api('POST', `/v1/groups/${group}/members`, { add: [first, second] });
    const reply = await stack.send({ group }, { text: 'hello' });
    expect(reply.status).toBe(202);
    expect(reply.body).toMatchObject({ outcome: 'queued' });
    await until(async () => (await depthOf(first)) === 2);
    await until(async () => (await depthOf(second)) === 1);
    expect(await depthOf(outsider)).toBe(0);
  });

  it('reaches devices that appear later, and users who were not known when they joined', async () => {
    const group = uniqueGroup();
    const user = uniqueUser();
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    expect((await stack.send({ group }, 1)).body.outcome).toBe('unprovisioned');
    const client = stack.client(user, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    expect((await stack.send({ group }, 'mail')).body.outcome).toBe('queued');
    await stack.send({ group }, 'live', { delivery: 'live' });
    await until(() => got.length === 2);
    expect(new Map(got.map(({ data, delivery }) => [data, delivery]))).toEqual(
      new Map([
        ['mail', 'queued'],
        ['live', 'live'],
      ]),
    );
  });

  it('does not reach who was taken out, neither by mail nor live, nor on devices of later', async () => {
    const group = uniqueGroup();
    const [leaver, stayer] = (await provisioned(2)) as [string, string];
    const clients = [leaver, stayer].map((user) => stack.client(user, TRANSPORTS.stomp()));
    const got = clients.map((client) => collect(client));
    for (const client of clients) client.start();
    await Promise.all(clients.map((client) => client.ready()));
    await stack.api('POST', `/v1/groups/${group}/members`, { add: [leaver, stayer] });
    await stack.send({ group }, 1, { delivery: 'live' });
    await stack.send({ group }, 2);
    await until(() => got.every((messages) => messages.length === 2));
    await stack.api('DELETE', `/v1/groups/${group}/members/${leaver}`);
    await stack.api('DELETE', `/v1/groups/${group}/members/${leaver}`);
    await stack.session(leaver, { deviceId: 'later' });
    await stack.send({ group }, 3, { delivery: 'live' });
    await stack.send({ group }, 4);
    // Behind the group's messages on both queues of the one who left, if they came there.
    await stack.send({ users: [leaver] }, 5, { delivery: 'live' });
    await stack.send({ users: [leaver] }, 6);
    await until(() => got[1]!.length === 4 && got[0]!.length === 4);
    expect(got[0]!.map(({ data }) => data).sort()).toEqual([1, 2, 5, 6]);
    expect(got[1]!.map(({ data }) => data).sort()).toEqual([1, 2, 3, 4]);
  });

  it('outlives the revocation of a member: what it opens next is in the group again', async () => {
    const group = uniqueGroup();
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    await stack.api('POST', `/v1/users/${user}/revoke`, {});
    await stack.session(user, { deviceId: 'phone' });
    expect((await stack.send({ group }, 1)).body.outcome).toBe('queued');
    await until(async () => (await depthOf(user)) === 1);
  });

  it('is left by a user who is removed', async () => {
    const group = uniqueGroup();
    const [user] = (await provisioned(1)) as [string];
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    await stack.api('DELETE', `/v1/users/${user}`);
    expect((await stack.api('GET', `/v1/groups/${group}`)).body.members).toBe(0);
    await stack.api('PUT', `/v1/users/${user}`);
    expect((await stack.send({ group }, 1)).body.outcome).toBe('unprovisioned');
  });

  it('takes thousands in and lets them go in one request, and pages through them', async () => {
    const group = uniqueGroup();
    const known = await provisioned(20);
    const many = [...Array.from({ length: 4980 }, (_, index) => `many-${String(index)}`), ...known];
    const added = await stack.api('POST', `/v1/groups/${group}/members`, { add: many });
    expect(added.body).toEqual({ added: 5000, removed: 0 });
    expect((await stack.send({ group }, 1)).body.outcome).toBe('queued');
    const seen: string[] = [];
    let after: string | undefined;
    do {
      const query = after === undefined ? '' : `?after=${encodeURIComponent(after)}`;
      const page = await stack.api('GET', `/v1/groups/${group}/members${query}`);
      seen.push(...page.body.members.map(({ user }) => user));
      after = page.body.next;
    } while (after !== undefined);
    expect(seen).toHaveLength(5000);
    expect(new Set(seen)).toEqual(new Set(many));
    const removed = await stack.api('POST', `/v1/groups/${group}/members`, {
      remove: [...many, 'nobody'],
    });
    expect(removed.body).toEqual({ added: 0, removed: 5000 });
    expect((await stack.send({ group }, 2)).body.outcome).toBe('unprovisioned');
  });

  it('takes in and lets go of devices whose live queues have expired', async () => {
    const group = uniqueGroup();
    const users = Array.from({ length: 60 }, uniqueUser);
    const grants = await Promise.all(
      users.map((user) => stack.session(user, { deviceId: 'phone' })),
    );
    await withChannel(async (channel) => {
      for (const { liveQueue } of grants) await channel.deleteQueue(liveQueue);
    });
    const add = await stack.api('POST', `/v1/groups/${group}/members`, { add: users });
    expect([add.status, add.body]).toEqual([200, { added: 60, removed: 0 }]);
    await stack.send({ group }, 1);
    const remove = await stack.api('POST', `/v1/groups/${group}/members`, { remove: users });
    expect([remove.status, remove.body]).toEqual([200, { added: 0, removed: 60 }]);
    await stack.send({ group }, 2);
    const depths = () => Promise.all(users.map(depthOf));
    await until(async () => (await depths()).every((depth) => depth === 1));
  });

  it('that is removed and made anew while users join and come has those members that it tells of', async () => {
    for (let round = 0; round < 40; round++) {
      const group = uniqueGroup();
      const [joiner] = (await provisioned(1)) as [string];
      const comer = uniqueUser();
      await stack.session(comer, { deviceId: 'phone' });
      await stack.api('PUT', `/v1/groups/${group}/members/${comer}`);
      const remake = async () => {
        expect((await stack.api('DELETE', `/v1/groups/${group}`)).status).toBe(204);
        return stack.api('PUT', `/v1/groups/${group}`);
      };
      const [made, joined] = await Promise.all([
        remake(),
        stack.api('PUT', `/v1/groups/${group}/members/${joiner}`),
        stack.session(comer, { deviceId: 'tablet' }),
      ]);
      // The one may have made it before the other, or have found it removed.
      expect([200, 201]).toContain(made.status);
      expect([204, 404]).toContain(joined.status);
      const { members } = (await stack.api('GET', `/v1/groups/${group}/members`)).body;
      const isMember = (user: string): boolean => members.some((member) => member.user === user);
      await stack.send({ group }, 1);
      const got = [await depthOf(joiner), await depthOf(comer)];
      expect(got).toEqual([isMember(joiner) ? 1 : 0, isMember(comer) ? 2 : 0]);
    }
  });

  it('heals when somebody has deleted its exchanges on the broker', async () => {
    const group = uniqueGroup();
    const [user] = (await provisioned(1)) as [string];
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    await withChannel(async (channel) => {
      await channel.deleteExchange(`warren.group.${group}`);
      await channel.deleteExchange(`warren.group.${group}.live`);
    });
    expect((await stack.send({ group }, 1)).body.outcome).toBe('queued');
    expect(await depthOf(user)).toBe(1);
  });

  it('heals when somebody deletes its exchanges while a queue is being bound to them', async () => {
    const group = uniqueGroup();
    const user = uniqueUser();
    const { queue } = await stack.session(user, { deviceId: 'phone' });
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    const exchange = `warren.group.${group}`;
    const rounds = 10;
    for (let round = 0; round < rounds; round++) {
      // RabbitMQ 4.3 keeps some of these bindings without the exchange: listed, and deaf in the next one.
      const bindUntilItIsGone = () =>
        withChannel(async (channel) => {
          for (;;) await channel.bindQueue(queue, exchange, '');
        });
      const bindings = Promise.allSettled(Array.from({ length: 4 }, bindUntilItIsGone));
      await withChannel((channel) => channel.deleteExchange(exchange));
      await bindings;
      expect((await stack.send({ group }, round)).body.outcome).toBe('queued');
    }
    expect(await depthOf(user)).toBe(rounds);
    expect((await stack.api('DELETE', `/v1/groups/${group}`)).status).toBe(204);
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    expect((await stack.send({ group }, rounds)).body.outcome).toBe('queued');
    expect(await depthOf(user)).toBe(rounds + 1);
  });
});
