import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { connect } from 'amqplib';
import type { TimelineEntry, TimelineKind } from '@warren/protocol';
import { limitMailboxes } from '../support/queue-policy.js';
import {
  request,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

/** The oldest first. */
async function timelineOf(user: string, query = ''): Promise<TimelineEntry[]> {
  const { status, body } = await stack.api(
    'GET',
    `/v1/users/${encodeURIComponent(user)}/timeline${query}`,
  );
  expect(status).toBe(200);
  return (body as unknown as { entries: TimelineEntry[] }).entries.reverse();
}

async function untilIn(
  user: string,
  kind: TimelineKind,
  isWanted: (entry: TimelineEntry) => boolean = () => true,
): Promise<TimelineEntry> {
  let found: TimelineEntry | undefined;
  await until(
    async () => {
      found = (await timelineOf(user)).find((entry) => entry.kind === kind && isWanted(entry));
      return found !== undefined;
    },
    async () => `${kind}: ${JSON.stringify(await timelineOf(user))}`,
  );
  return found!;
}

describe.each(['stomp', 'amqp'] as const)('the timeline of a user (%s)', (transport) => {
  it('tells of sessions and connections, and why the server closed them', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS[transport]());
    client.handle('*', () => undefined);
    client.start();
    await client.ready();
    await untilIn(user, 'session', ({ reason }) => reason === 'new');
    await untilIn(user, 'connected', ({ deviceId }) => deviceId === client.deviceId);
    await stack.api('POST', `/v1/users/${user}/disconnect`, {});
    await untilIn(user, 'disconnected', ({ reason }) => reason === 'disconnected');
    await until(async () => {
      const kinds = (await timelineOf(user)).map(({ kind }) => kind);
      return kinds.filter((kind) => kind === 'connected').length === 2;
    });
    await client.stop();
    const left = await untilIn(user, 'disconnected', ({ reason }) => reason === undefined);
    expect(left.summary).toContain('it went by itself');
  });

  it('names the error of a handler that failed, of whatever message', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS[transport](), { handlerAttempts: 1 });
    client.handle('good', () => undefined);
    client.handle('badOrder', () => {
      throw new RangeError('a secret of the application');
    });
    client.start();
    await client.ready();
    const { body: good } = await stack.send({ user }, 1, { type: 'good' });
    const { body: bad } = await stack.send({ user }, 1, { type: 'badOrder' });
    const { body: unknown } = await stack.send({ user }, 1, { type: 'unknown' });
    const failed = await untilIn(user, 'handler_failed', ({ messageId }) => messageId === bad.id);
    expect(failed).toMatchObject({
      type: 'badOrder',
      deviceId: client.deviceId,
      reason: 'handler_failed RangeError',
    });
    expect(failed.summary).toContain('rejected a message badOrder: its handler failed');
    const unhandled = await untilIn(
      user,
      'handler_failed',
      ({ messageId }) => messageId === unknown.id,
    );
    expect(unhandled.reason).toBe('no_handler');
    const all = await timelineOf(user);
    expect(all.some(({ messageId }) => messageId === good.id)).toBe(false);
    expect(JSON.stringify(all)).not.toContain('secret of the application');
  });
});

describe('the timeline of a user', () => {
  it('tells what became of a tracked message, step by step', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.stomp());
    client.handle('note', () => undefined);
    client.start();
    await client.ready();
    const { body } = await stack.send({ user }, 'x', { track: true });
    await untilIn(user, 'delivered', ({ messageId }) => messageId === body.id);
    client.markRead(body.id);
    await untilIn(user, 'read', ({ messageId }) => messageId === body.id);
    const steps = (await timelineOf(user)).filter(({ messageId }) => messageId === body.id);
    expect(steps.map(({ kind }) => kind)).toEqual(['sent', 'delivered', 'read']);
  });

  it('tells of messages that reached nobody, also when nobody followed them', async () => {
    const user = uniqueUser();
    const { body: queued } = await stack.send({ user }, 1);
    await untilIn(
      user,
      'unreachable',
      ({ messageId, outcome }) => messageId === queued.id && outcome === 'unprovisioned',
    );
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    const { body: live } = await stack.send({ users: [user, uniqueUser()] }, 1, {
      delivery: 'live',
    });
    await untilIn(
      user,
      'unreachable',
      ({ messageId, outcome }) => messageId === live.id && outcome === 'offline',
    );
  });

  it('tells of messages that a mailbox has given up', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    const { body: expired } = await stack.send({ user }, 1, { ttlMs: 1 });
    await untilIn(
      user,
      'dead_letter',
      ({ messageId, reason }) => messageId === expired.id && reason === 'expired',
    );
    const limits = await limitMailboxes(user, { 'max-length': 1, overflow: 'drop-head' });
    try {
      let first = '';
      await until(async () => {
        first = (await stack.send({ user }, 1)).body.id;
        await stack.send({ user }, 2);
        const dead = (await timelineOf(user)).filter(({ reason }) => reason === 'overflowed');
        return dead.length > 0;
      });
      expect(first).not.toBe('');
    } finally {
      await limits.remove();
    }
  });

  it('tells that a mailbox is gone that nobody has asked to go', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    const [device] = (await stack.user(user)).devices;
    const model = await connect(inject('broker').endpoints.amqpUrl);
    const channel = await model.createChannel();
    await channel.deleteQueue(device!.queue);
    await model.close();
    await untilIn(user, 'mailbox_lost', ({ deviceId }) => deviceId === 'phone');
  });

  it('tells of a revocation, and of nothing but the end after a removal', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    await stack.api('POST', `/v1/users/${user}/revoke`, {});
    await untilIn(user, 'session_ended', ({ reason }) => reason === 'revoked');
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    await stack.api('DELETE', `/v1/users/${user}`);
    await untilIn(user, 'session_ended', ({ reason }) => reason === 'user_removed');
    expect((await timelineOf(user)).map(({ reason }) => reason)).toEqual(['user_removed']);
  });

  it('is not filled by a flood of messages that reach nobody', async () => {
    const user = uniqueUser();
    const messages = Array.from({ length: 100 }, () => ({ to: { user }, type: 'note', data: 1 }));
    await stack.api('POST', '/v1/messages/batch', { messages });
    await until(async () => (await timelineOf(user)).length >= 30);
    await stack.api('POST', '/v1/messages/batch', { messages });
    const other = uniqueUser();
    await stack.send({ user: other }, 1);
    // Written after what there is of the flood; twice the limit, should a minute have ended meanwhile, each time
    // with a word of what was left out.
    await untilIn(other, 'unreachable');
    expect((await timelineOf(user)).length).toBeLessThanOrEqual(62);
    const omitted = await untilIn(user, 'omitted');
    expect(omitted).toMatchObject({ reason: 'unprovisioned' });
  });

  it('is read page by page, each entry once, and since a time', async () => {
    const user = uniqueUser();
    for (let number = 0; number < 7; number++) await stack.send({ user }, number);
    await until(async () => (await timelineOf(user)).length === 7);
    const seen: TimelineEntry[] = [];
    let query = '?limit=3';
    for (;;) {
      const { body } = await stack.api('GET', `/v1/users/${user}/timeline${query}`);
      const { entries, next } = body as unknown as { entries: TimelineEntry[]; next?: string };
      seen.push(...entries);
      if (next === undefined) break;
      query = `?limit=3&before=${encodeURIComponent(next)}`;
    }
    expect(new Set(seen.map(({ messageId }) => messageId)).size).toBe(7);
    expect(seen).toHaveLength(7);
    const middle = seen[3]!.at;
    const later = await timelineOf(user, `?since=${encodeURIComponent(middle)}`);
    expect(later.every(({ at }) => at >= middle)).toBe(true);
    const tomorrow = new Date(Date.now() + 86_400_000).toISOString();
    expect(await timelineOf(user, `?since=${encodeURIComponent(tomorrow)}`)).toEqual([]);
  });

  it('takes ids and types that no database would, and refuses what is no time', async () => {
    const user = `${uniqueUser()} %00<b>'"`;
    await stack.send({ user }, 1, { type: 'a/b c' }).then(({ status }) => status);
    const reply = await stack.send({ user }, 1, { type: 'a.b' });
    await untilIn(user, 'unreachable', ({ messageId }) => messageId === reply.body.id);
    const { status, body } = await stack.api('GET', `/v1/users/x/timeline?since=yesterday`);
    expect([status, body.code]).toEqual([400, 'invalid_request']);
  });
});

describe('what a client reports', () => {
  const report = (user: string, handling: object, more: object = {}) =>
    request(`${stack.apiUrl}/v1/me/receipts`, 'POST', userToken(user), {
      ...more,
      handled: [{ type: 'note', error: 'handler_failed', tookMs: 1, agoMs: 0, ...handling }],
    });

  it.each([
    ['a time before all others', { agoMs: 1e308 }],
    ['a duration without end', { tookMs: 1e308 }],
    ['a type that PostgreSQL cannot hold', { type: 'a\0b' }],
    ['an id that is no UTF-8', { id: '\ud800' }],
  ])('holds up nobody’s timeline with %s', async (_what, handling) => {
    const [mallory, user] = [uniqueUser(), uniqueUser()];
    expect((await report(mallory, handling, { watched: true })).status).toBe(204);
    expect((await report(user, {})).status).toBe(204);
    await untilIn(user, 'handler_failed');
  });
});
