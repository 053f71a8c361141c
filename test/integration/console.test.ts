import { connect, type ChannelModel } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { ConsoleClient } from '../support/console.js';
import { EventLog } from '../support/events.js';
import {
  collect,
  startStack,
  TRANSPORTS,
  uniqueUser,
  VIEWER_KEY,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let console: ConsoleClient;
let model: ChannelModel;
beforeAll(async () => {
  stack = await startStack();
  console = await ConsoleClient.open(stack);
  model = await connect(inject('broker').endpoints.amqpUrl);
});
afterAll(async () => {
  await model.close();
  await console.close();
  await stack.close();
});

/** How many messages a queue holds; undefined when there is none. */
async function depth(queue: string): Promise<number | undefined> {
  const channel = await model.createChannel();
  channel.on('error', () => undefined);
  try {
    return (await channel.checkQueue(queue)).messageCount;
  } catch {
    return undefined;
  }
}

async function online(transport: 'stomp' | 'amqp' = 'stomp') {
  const user = uniqueUser();
  const client = stack.client(user, TRANSPORTS[transport](), { handlerAttempts: 1 });
  const messages = collect(client, 'note');
  client.handle('bad', () => {
    throw new TypeError('no');
  });
  client.start();
  await client.ready();
  return { user, client, messages };
}

describe('the figures', () => {
  it('come once a second by RabbitMQ itself, with what only a broker knows', async () => {
    const { user } = await online();
    await until(() => console.stats.some(({ broker }) => broker?.published != null));
    await stack.send({ user }, 1, { track: true });
    await until(() => console.stats.some(({ sent }) => sent > 0));
    await until(() => console.stats.some(({ acks }) => acks.counts.some((count) => count > 0)));
    const last = console.stats.at(-1)!;
    expect(last).toMatchObject({ role: 'server', broker: { hasAlarm: false } });
    expect(last.online!.users).toBeGreaterThan(0);
    expect(last.broker!.nodes.every(({ isRunning }) => isRunning)).toBe(true);
    expect(last.broker!.waiting).not.toBeNull();
    expect(last.confirms.counts).toHaveLength(last.confirms.bounds.length + 1);
  });
});

describe('events', () => {
  it('arrive as long as the console says that it shows them', async () => {
    expect(await console.feed({ events: ['session.#'] })).toBe(200);
    const { user } = await online();
    await until(() =>
      console.events.some((event) => event.event === 'session.created' && event.user === user),
    );
    await console.feed({ events: [] });
    const other = await online();
    await console.feed({ events: ['user.offline.*'] });
    await other.client.stop();
    await until(() =>
      console.events.some((event) => event.event === 'user.offline' && event.user === other.user),
    );
    const ofOther = console.events.filter((event) => 'user' in event && event.user === other.user);
    expect(ofOther.map(({ event }) => event)).toEqual(['user.offline']);
  });
});

describe('watching a user', () => {
  it('shows what is sent to it, whoever sends it and however, and what its devices do with it', async () => {
    const { user, messages } = await online('amqp');
    const group = `room-${user}`;
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`, {});
    await console.feed({ watch: [user] });
    const to = [
      { user },
      { device: { user, device: 'amqp' } },
      { users: [user, uniqueUser()] },
      { group },
      { broadcast: true },
    ];
    for (const recipient of to) {
      const { body } = await stack.send(recipient, { text: 'hello' });
      const sent = await console.untilTraced(user, 'sent', body.id);
      expect(sent).toMatchObject({ type: 'note', preview: '{"text":"hello"}', size: 16 });
      await console.untilTraced(user, 'handled', body.id);
    }
    const live = await stack.send({ user }, 1, { delivery: 'live' });
    await console.untilTraced(user, 'sent', live.body.id);
    const channel = await model.createConfirmChannel();
    channel.publish('warren.direct', `user.${user}`, Buffer.from('bare'), {
      messageId: `bare-${user}`,
      type: 'note',
    });
    await channel.waitForConfirms();
    await console.untilTraced(user, 'sent', `bare-${user}`);
    const bad = await stack.send({ user }, 1, { type: 'bad' });
    const rejected = await console.untilTraced(user, 'rejected', bad.body.id);
    expect(rejected).toMatchObject({ deviceId: 'amqp', error: 'handler_failed TypeError' });
    await until(() => messages.length === to.length + 2);
  });

  it('changes nothing of what senders are told', async () => {
    const user = uniqueUser();
    await console.feed({ watch: [user] });
    const outcomeOf = async (more: object = {}) =>
      (await stack.send({ user }, 1, more)).body.recipients[0]!.outcome;
    expect(await outcomeOf()).toBe('unprovisioned');
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    await console.feed({ watch: [user] });
    expect(await outcomeOf()).toBe('queued');
    expect(await outcomeOf({ delivery: 'live' })).toBe('offline');
    await stack.api('POST', `/v1/users/${user}/revoke`, {});
    expect(await outcomeOf()).toBe('unprovisioned');
  });

  it('shows a group as long as the user is in it, and is never who it is sent to alone', async () => {
    const { user } = await online();
    const [left, kept] = [`left-${user}`, `kept-${user}`];
    for (const group of [left, kept]) {
      await stack.api('PUT', `/v1/groups/${group}/members/${user}`, {});
    }
    await console.feed({ watch: [user] });
    const first = await stack.send({ group: left }, 1);
    expect(first.body.outcome).toBe('queued');
    await console.untilTraced(user, 'sent', first.body.id);
    await stack.api('DELETE', `/v1/groups/${left}/members/${user}`);
    const nobody = await stack.send({ group: left }, 2);
    expect(nobody.body.outcome).toBe('unprovisioned');
    expect((await stack.send({ group: left }, 3, { delivery: 'live' })).body.outcome).toBe(
      'offline',
    );
    // Without the console's saying anew that it watches.
    const ids: string[] = [];
    const traced = () => console.traces(user, 'sent').map(({ messageId }) => messageId);
    await until(async () => {
      ids.push((await stack.send({ group: kept }, 4)).body.id);
      return ids.some((id) => traced().includes(id));
    });
    expect(traced()).not.toContain(nobody.body.id);
  });

  it('leaves nothing behind when nobody watches any more', async () => {
    const { user } = await online();
    const log = await EventLog.open(`trace.${user}`);
    try {
      await stack.send({ user }, 1);
      expect(await depth(`warren.trace.${user}`)).toBeUndefined();
      await console.feed({ watch: [user] });
      expect(await depth(`warren.trace.${user}`)).toBe(0);
      const { body } = await stack.send({ user }, 2);
      await console.untilTraced(user, 'sent', body.id);
      const heard = log.events as unknown as { messageId: string }[];
      await until(() => heard.length > 0);
      expect(heard[0]!.messageId).toBe(body.id);
    } finally {
      await log.close();
    }
  });

  it('is written into the audit log once', async () => {
    const user = uniqueUser();
    await console.feed({ watch: [user] });
    await console.feed({ watch: [user] });
    const { entries } = (await stack.admin('GET', 'audit?limit=50')).body;
    const watched = entries.filter(
      ({ action, target }) => action === 'user.watch' && target === user,
    );
    expect(watched).toHaveLength(1);
  });
});

describe('a console', () => {
  it('is its own: nobody else can change or end what it shows', async () => {
    expect(await console.feed({ events: ['session.#'] }, VIEWER_KEY)).toBe(404);
    await stack.admin('DELETE', `sessions/${console.grant!.sessionId}`, undefined, VIEWER_KEY);
    expect(await depth(console.grant!.queue)).toBe(0);
  });

  it('may be opened by a viewer, and is gone when it is closed', async () => {
    const other = await ConsoleClient.open(stack, VIEWER_KEY);
    await until(() => other.stats.length > 1);
    const { queue, liveQueue, sessionId } = other.grant!;
    await other.close();
    await stack.admin('DELETE', `sessions/${sessionId}`, undefined, VIEWER_KEY);
    expect([await depth(queue), await depth(liveQueue)]).toEqual([undefined, undefined]);
    expect(await other.feed({}, VIEWER_KEY)).toBe(404);
  });

  it('refuses to show what is no pattern of events', async () => {
    expect(await console.feed({ events: ['a b'] })).toBe(400);
    expect(await console.feed({ watch: [''] })).toBe(400);
  });
});
