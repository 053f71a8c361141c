import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SessionGrant, TimelineEntry } from '@warren/protocol';
import { CONSUMERS, type RawConsumer } from '../support/liar.js';
import { startStack, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/* One token opens as many connections as it likes: the broker itself does not count them. */

const MOST = 4;

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

async function closedBy(reason: string): Promise<number> {
  const text = await (await fetch(`${stack.apiUrl}/metrics`)).text();
  const line = text
    .split('\n')
    .find((each) => each.startsWith(`warren_connections_closed_total{reason="${reason}"}`));
  return Number(line?.split(' ').at(-1) ?? 0);
}

async function noticesOf(user: string): Promise<TimelineEntry[]> {
  const { body } = await stack.api('GET', `/v1/users/${user}/timeline?limit=1000`);
  const { entries } = body as unknown as { entries: TimelineEntry[] };
  return entries.filter(({ kind }) => kind === 'too_many_connections');
}

describe.each(['stomp', 'amqp'] as const)('the connections of one device (%s)', (transport) => {
  async function open(grant: SessionGrant, count: number): Promise<RawConsumer[]> {
    const all: RawConsumer[] = [];
    for (let index = 0; index < count; index++) all.push(await CONSUMERS[transport](grant));
    return all;
  }
  const aliveIn = (all: RawConsumer[]): boolean[] => all.map(({ isGone }) => !isGone());

  it('are closed but for the newest, whose user is told once', async () => {
    const user = uniqueUser();
    const grant = await stack.session(user, { deviceId: 'phone' });
    const before = await closedBy('too_many_connections');
    const all = await open(grant, 30);
    const wanted = all.map((_, index) => index >= all.length - MOST);
    await until(
      () => aliveIn(all).join() === wanted.join(),
      () => aliveIn(all).join(),
    );
    expect(await closedBy('too_many_connections')).toBeGreaterThan(before);
    await stack.send({ user }, 'for one of them');
    await until(() => all.slice(-MOST).some(({ bodies }) => bodies.length === 1));
    await until(async () => (await noticesOf(user)).length > 0);
    const notices = await noticesOf(user);
    // Once more, should a minute have ended meanwhile.
    expect(notices.length).toBeLessThanOrEqual(2);
    expect(notices[0]).toMatchObject({ deviceId: 'phone' });
    await Promise.all(all.map((each) => each.close()));
  });

  it('may be as many as a page that reloads and a tab that takes over have', async () => {
    const user = uniqueUser();
    const grant = await stack.session(user, { deviceId: 'phone' });
    const few = await open(grant, MOST);
    // Of another device: when it has lost its oldest, those before have been looked at.
    const others = await open(await stack.session(user, { deviceId: 'tablet' }), MOST + 1);
    await until(() => others[0]!.isGone());
    expect(aliveIn(few)).toEqual(few.map(() => true));
    expect(aliveIn(others.slice(1))).toEqual(few.map(() => true));
    await Promise.all([...few, ...others].map((each) => each.close()));
  });
});

describe('the connections of a console', () => {
  it('are closed but for the newest, as those of a device', async () => {
    const { status, body } = await stack.admin('POST', 'sessions', {});
    expect(status).toBe(201);
    const grant = body as unknown as SessionGrant;
    const all: RawConsumer[] = [];
    for (let index = 0; index < 3 * MOST; index++) all.push(await CONSUMERS.stomp(grant));
    const alive = () => all.map(({ isGone }) => !isGone());
    const wanted = all.map((_, index) => index >= all.length - MOST);
    await until(
      () => alive().join() === wanted.join(),
      () => alive().join(),
    );
    await Promise.all(all.map((each) => each.close()));
  });
});
