import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  collect,
  startStack,
  TRANSPORTS,
  uniqueUser,
  type Stack,
  untilDepths,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

async function provisioned(count: number): Promise<string[]> {
  const users = Array.from({ length: count }, uniqueUser);
  await Promise.all(users.map((user) => stack.api('PUT', `/v1/users/${user}`)));
  return users;
}

const depthOf = async (user: string): Promise<number> =>
  (await stack.user(user)).devices.reduce((sum, { depth }) => sum + (depth ?? 0), 0);

describe('a message to a list', () => {
  it('reaches each once, says who has no mailbox, and hides who else is on it', async () => {
    const users = await provisioned(120);
    const [reader] = users as [string];
    const client = stack.client(reader, TRANSPORTS.stomp());
    const got = collect(client);
    client.start();
    await client.ready();
    const list = [...users, 'nobody-1', users[3]!, 'nobody-2', 'nobody-1'];
    const reply = await stack.send({ users: list }, { text: 'hello' });
    expect(reply.status).toBe(202);
    expect(reply.body.recipients).toEqual(
      [...users, 'nobody-1', 'nobody-2'].map((user) => ({
        user,
        outcome: user.startsWith('nobody') ? 'unprovisioned' : 'queued',
      })),
    );
    await until(() => got.length === 1);
    expect(JSON.stringify(got[0])).not.toContain(users[1]);
    for (const user of users.slice(1, 120)) await untilDepths(stack, user, 1);
  });

  it('that is live reaches those who are connected, and says so of each', async () => {
    const [here, away] = (await provisioned(2)) as [string, string];
    const client = stack.client(here, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    const { body } = await stack.send({ users: [here, away, 'nobody'] }, 1, { delivery: 'live' });
    expect(body.recipients).toEqual([
      { user: here, outcome: 'queued' },
      { user: away, outcome: 'offline' },
      { user: 'nobody', outcome: 'unprovisioned' },
    ]);
    await until(() => got.length === 1);
    expect(got[0]!.delivery).toBe('live');
  });

  it('of nobody who is known sends nothing, and says so', async () => {
    const { status, body } = await stack.send({ users: ['nobody-1', 'nobody-2'] }, 1);
    expect(status).toBe(202);
    expect(body.recipients.map(({ outcome }) => outcome)).toEqual([
      'unprovisioned',
      'unprovisioned',
    ]);
  });

  it.each([
    ['is empty', []],
    [
      'has more than 10,000 entries',
      Array.from({ length: 10_001 }, (_, index) => `u${String(index)}`),
    ],
    ['is no list', 'alice'],
  ])('is refused when it %s', async (_why, users) => {
    const { status, body } = await stack.send({ users }, 1);
    expect([status, body.code]).toEqual([400, 'invalid_request']);
  });

  it('is refused as a whole when one id cannot be', async () => {
    const [user] = (await provisioned(1)) as [string];
    const { body } = await stack.send({ users: [user, ''] }, 1);
    expect(body.code).toBe('invalid_id');
    expect(body.errors[0]!.path).toBe('to.users.1');
    expect(await depthOf(user)).toBe(0);
  });
});

describe('a message', () => {
  it.each([0, -1, 1.5, 7 * 24 * 60 * 60 * 1000 + 1, '1000'])(
    'is refused with a TTL of %s',
    async (ttlMs) => {
      const { body } = await stack.send({ user: 'somebody' }, 1, { ttlMs });
      expect([body.code, body.errors[0]!.path]).toEqual(['invalid_request', 'ttlMs']);
    },
  );

  it.each([
    [{}],
    [{ user: 'a', group: 'b' }],
    [{ broadcast: false }],
    [{ users: ['a'], broadcast: true }],
  ])('is refused when it is for %j', async (to) => {
    expect((await stack.send(to, 1)).body.code).toBe('invalid_request');
  });
});

describe('a broadcast', () => {
  it('reaches every mailbox in one publish; who is connected, when it is live', async () => {
    const users = await provisioned(3);
    const reader = uniqueUser();
    const client = stack.client(reader, TRANSPORTS.stomp());
    const got = collect(client, 'announcement');
    client.handle('*', () => undefined);
    client.start();
    await client.ready();
    const reply = await stack.send({ broadcast: true }, 'all', { type: 'announcement' });
    expect(reply.body).toEqual({ id: reply.body.id, outcome: 'queued' });
    await stack.send({ broadcast: true }, 'now', { type: 'announcement', delivery: 'live' });
    await until(() => got.length === 2);
    for (const user of users) await untilDepths(stack, user, 1);
  });

  it('is limited, and told to the log with the key that asked for it', async () => {
    const lines: string[] = [];
    const limited = await startStack({
      config: {
        dataDir: await mkdtemp(join(tmpdir(), 'warren-broadcast-')),
        rateLimits: { perKey: 0, perUser: 0, broadcasts: 2 },
      },
      log: (line) => lines.push(line),
    });
    try {
      const send = () => limited.send({ broadcast: true }, 'secret', { delivery: 'live' });
      const { id } = (await send()).body;
      await send();
      const third = await send();
      expect([third.status, third.body.code]).toEqual([429, 'rate_limited']);
      expect(Number(third.headers.get('retry-after'))).toBeGreaterThan(0);
      const told = lines.filter((line) => line.includes('a broadcast'));
      expect(told).toHaveLength(2);
      const entry = JSON.parse(told[0]!) as { id: string; actor: string };
      expect(entry.id).toBe(id);
      expect(entry.actor).toMatch(/^key:.{8}$/);
      expect(told.join()).not.toContain('secret');
    } finally {
      await limited.close();
    }
  });
});

describe('a batch', () => {
  const batch = (messages: unknown[]) => stack.api('POST', '/v1/messages/batch', { messages });

  it('gives each message a result of its own; bad ones harm no others', async () => {
    const [user, other] = (await provisioned(2)) as [string, string];
    const message = (to: object, more: object = {}) => ({ to, type: 'note', data: 1, ...more });
    const { status, body } = await batch([
      message({ user }, { id: 'first' }),
      message({ user }, { ttlMs: -1 }),
      message({ user: 'nobody' }),
      message({ group: 'no-such-group' }),
      'rubbish',
      message({ users: [user, other] }),
    ]);
    expect(status).toBe(202);
    expect(body.results.map((result) => result.problem?.code ?? result.recipients)).toEqual([
      [{ user, outcome: 'queued' }],
      'invalid_request',
      [{ user: 'nobody', outcome: 'unprovisioned' }],
      'group_unknown',
      'invalid_request',
      [
        { user, outcome: 'queued' },
        { user: other, outcome: 'queued' },
      ],
    ]);
    expect(body.results.map(({ status: each }) => each)).toEqual([202, 400, 202, 404, 400, 202]);
    expect(body.results[0]!.id).toBe('first');
    await untilDepths(stack, user, 2);
    await untilDepths(stack, other, 1);
  });

  it('keeps the order for each user, also between messages to one and to many', async () => {
    const user = uniqueUser();
    const group = `order-${user}`;
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    const client = stack.client(user, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    const targets = [{ user }, { users: [user] }, { group }, { user }];
    const messages = Array.from({ length: 400 }, (_, index) => ({
      to: targets[Math.floor(index / 3) % targets.length],
      type: 'note',
      data: index,
    }));
    const { body } = await batch(messages);
    expect(body.results.every(({ status }) => status === 202)).toBe(true);
    await until(() => got.length === 400);
    expect(got.map(({ data }) => data)).toEqual(messages.map(({ data }) => data));
  });

  it.each([[[]], [Array.from({ length: 1001 }, () => ({}))]])(
    'of none, or of more than 1,000, is refused',
    async (messages) => {
      expect((await batch(messages)).body.code).toBe('invalid_request');
    },
  );
});
