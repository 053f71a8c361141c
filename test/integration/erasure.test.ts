import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  collect,
  SERVICE_KEY,
  startStack,
  TRANSPORTS,
  uniqueUser,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

type Line = Record<string, unknown> & { kind: string };

async function exported(user: string): Promise<Line[]> {
  const response = await fetch(`${stack.apiUrl}/v1/users/${user}/export`, {
    headers: { authorization: `Bearer ${SERVICE_KEY}` },
  });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch('application/x-ndjson');
  const text = await response.text();
  expect(text.endsWith('\n')).toBe(true);
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

const ofKind = (lines: Line[], kind: string) => lines.filter((line) => line.kind === kind);

it('a user’s export has a line for each thing that is known, and the erasure leaves none of them', async () => {
  const [user, other] = [uniqueUser(), uniqueUser()];
  const named = { deviceId: 'phone', name: 'Ann’s phone', platform: 'Android' };
  await stack.session(user, named);
  await stack.session(other, {});
  await stack.api('PUT', `/v1/groups/g-${user}/members/${user}`);
  const alone = await stack.send({ user }, 'to one', { delivery: 'stored', track: true });
  const both = await stack.send({ users: [user, other] }, 'to both', { track: true });
  await stack.send({ user: other }, 'from the user', { from: user, delivery: 'stored' });
  await stack.send({ user: other }, 'of no concern', { delivery: 'stored' });
  const bad = await stack.send({ user }, 'rejected', { type: 'bad', track: true });
  const client = stack.client(user, TRANSPORTS.amqp(), { deviceId: 'phone' });
  client.on('error', () => undefined);
  const handled = collect(client, 'note');
  client.start();
  await until(() => handled.length === 2);
  const isDelivered = ({ id, outcome }: Line) => id === alone.body.id && outcome === 'delivered';
  let lines: Line[] = [];
  await until(
    async () => {
      lines = await exported(user);
      const count = (kind: string) => ofKind(lines, kind).length;
      return (
        count('stored') === 2 &&
        count('dead_letter') === 1 &&
        count('message') === 3 &&
        lines.some(isDelivered) &&
        // The broker tells of its connections when it gets to it.
        lines.some(({ what }) => what === 'connected')
      );
    },
    () => JSON.stringify(lines),
  );
  expect(lines[0]).toMatchObject({ kind: 'user', user });
  expect(ofKind(lines, 'device')).toMatchObject([named]);
  expect(ofKind(lines, 'group')).toEqual([{ kind: 'group', group: `g-${user}` }]);
  expect(ofKind(lines, 'stored').map(({ data }) => data)).toEqual(['to one', 'from the user']);
  expect(
    ofKind(lines, 'message')
      .map(({ id }) => id)
      .sort(),
  ).toEqual([alone.body.id, both.body.id, bad.body.id].sort());
  expect(ofKind(lines, 'timeline').map(({ what }) => what)).toContain('session');
  expect(JSON.stringify(lines)).not.toContain('of no concern');

  expect((await stack.api('DELETE', `/v1/users/${user}`)).status).toBe(204);
  await client.stop();
  await until(async () => ofKind(await exported(user), 'stored').length === 0);
  // But for what its last connection has written as it went, and what became of its messages, which is for
  // their senders, for a day.
  const late = ['disconnected', 'session_ended', 'sent', 'delivered', 'failed'];
  const left = (await exported(user)).filter(
    ({ kind, what }) => kind !== 'message' && !late.includes(String(what)),
  );
  expect(left).toMatchObject([{ kind: 'user', knownSince: null }]);
  const { recipients } = (await stack.api('GET', `/v1/messages/${alone.body.id}`)).body;
  expect(recipients).toMatchObject([{ user, outcome: 'delivered' }]);
  expect(ofKind(await exported(other), 'stored')).toHaveLength(2);
});
