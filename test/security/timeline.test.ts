import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import type { SessionGrant, TimelineEntry } from '@warren/protocol';
import { RawStomp } from '../support/raw-stomp.js';
import { startStack, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/* What a user can make happen as often as it likes must not fill the database. */

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

async function timelineOf(user: string): Promise<TimelineEntry[]> {
  const { body } = await stack.api('GET', `/v1/users/${user}/timeline?limit=1000`);
  return (body as unknown as { entries: TimelineEntry[] }).entries;
}

const countOf = (entries: TimelineEntry[], ...kinds: string[]): number =>
  entries.filter(({ kind }) => kinds.includes(kind)).length;

/** Connects and goes again, so many times. */
async function comeAndGo({ queue, token }: SessionGrant, times: number): Promise<void> {
  const { stompUrl } = inject('broker').endpoints;
  for (let count = 0; count < times; count++) {
    const client = await RawStomp.open(stompUrl);
    expect(await client.login({ login: queue, passcode: token, host: 'warren' })).toBe(true);
    await client.close();
  }
}

it('connections that come and go without end are written down up to a limit, which is told', async () => {
  const mallory = uniqueUser();
  const times = 150;
  await comeAndGo(await stack.session(mallory, { deviceId: 'phone' }), times);
  // Heard of after the others, and written down though somebody else has used up what is theirs.
  const user = uniqueUser();
  await comeAndGo(await stack.session(user, { deviceId: 'phone' }), 1);
  await until(async () => countOf(await timelineOf(user), 'disconnected') === 1);
  const entries = await timelineOf(mallory);
  expect(countOf(entries, 'connected', 'disconnected')).toBeLessThan(2 * times);
  expect(countOf(entries, 'connected', 'disconnected')).toBeGreaterThanOrEqual(60);
  const omitted = entries.filter(({ kind }) => kind === 'omitted');
  expect(omitted.length).toBeGreaterThanOrEqual(1);
  expect(omitted[0]).toMatchObject({ reason: 'connections' });
});

it('a device that loses its network every ten seconds is written down each time', async () => {
  const user = uniqueUser();
  // What happens to it in a minute.
  await comeAndGo(await stack.session(user, { deviceId: 'phone' }), 6);
  await until(
    async () => countOf(await timelineOf(user), 'connected', 'disconnected') === 12,
    async () => JSON.stringify(await timelineOf(user)),
  );
  expect(countOf(await timelineOf(user), 'omitted')).toBe(0);
});
