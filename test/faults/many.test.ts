import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Broker } from '@warren/rabbitmq';
import { Application } from '../support/application.js';
import { createBroker } from '../support/broker.js';
import { QueueWatch } from '../support/queue-watch.js';
import { collect, startStack, TRANSPORTS, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let broker: Broker;
let remove: () => Promise<void>;
let dataDir: string;
let application: Application;
let stack: Stack;
beforeAll(async () => {
  application = await Application.start();
  ({ broker, remove } = await createBroker());
  await broker.start();
  dataDir = await mkdtemp(join(tmpdir(), 'warren-groups-'));
  stack = await start();
});
afterAll(async () => {
  await stack.close();
  await remove();
  await application.close();
});

const start = () =>
  startStack({
    endpoints: broker.endpoints,
    signingKey: broker.signingKey.privateKey,
    config: {
      dataDir,
      webhooks: { url: application.url, secret: application.secret, patterns: ['message.#'] },
    },
  });
const isReady = async (): Promise<boolean> =>
  (await stack.api('GET', '/health/ready')).status === 200;
const depthOf = async (user: string): Promise<number> =>
  (await stack.user(user)).devices.reduce((sum, { depth }) => sum + (depth ?? 0), 0);
/** Of a user with one device. */
const mailboxOf = async (user: string): Promise<string> =>
  (await stack.user(user)).devices[0]?.queue ?? '';

describe('a change of a group that the broker dies in', () => {
  it('is whole when both are back: those who are in it get its messages, and nobody else', async () => {
    const group = 'broken-off';
    const users = Array.from({ length: 60 }, (_, index) => `member-${String(index)}`);
    for (const user of users) await stack.api('PUT', `/v1/users/${user}`);
    // Enough of them that the broker dies in the middle.
    const crowd = Array.from({ length: 4000 }, (_, index) => `crowd-${String(index)}`);
    await stack.api('POST', `/v1/groups/${group}/members`, { add: users.slice(0, 30) });
    const changing = stack.api('POST', `/v1/groups/${group}/members`, {
      add: [...users.slice(30), ...crowd],
      remove: users.slice(0, 15),
    });
    await broker.kill();
    const { status } = await changing;
    expect([200, 503]).toContain(status);
    expect((await stack.api('PUT', '/v1/groups/another')).body.code).toBe('broker_unavailable');
    expect((await stack.api('GET', '/v1/groups/another')).body.code).toBe('group_unknown');
    await broker.start();
    await until(isReady);
    // As a back end does that got a 503.
    const again = await stack.api('POST', `/v1/groups/${group}/members`, {
      add: [...users.slice(30), ...crowd],
      remove: users.slice(0, 15),
    });
    expect(again.status).toBe(200);
    expect((await stack.send({ group }, 1)).body.outcome).toBe('queued');
    // Of the broker itself: its management API has figures that are seconds old.
    const watch = await QueueWatch.open(broker.endpoints.amqpUrl);
    onTestFinished(() => watch.close());
    const waiting = async () => {
      const mailboxes = await Promise.all(users.map(mailboxOf));
      return Promise.all(mailboxes.map((queue) => watch.waiting(queue)));
    };
    const right = users.map((_, index) => (index < 15 ? 0 : 1));
    await until(
      async () => (await waiting()).join() === right.join(),
      async () => (await waiting()).join(),
    );
  });

  it('is gone on with by itself, when nobody asks again, and after a restart of the server', async () => {
    const group = 'left-alone';
    const users = Array.from({ length: 200 }, (_, index) => `alone-${String(index)}`);
    for (const user of users) await stack.api('PUT', `/v1/users/${user}`);
    const changing = stack.api('POST', `/v1/groups/${group}/members`, { add: users });
    await broker.kill();
    await changing;
    await stack.server.close();
    await broker.start();
    stack = await start();
    await until(isReady);
    const page = await stack.api('GET', `/v1/groups/${group}/members`);
    // It died before there was a group.
    if (page.status === 404) return;
    const { members } = page.body;
    await until(async () => {
      await stack.send({ group }, 1);
      const depths = await Promise.all(members.map(({ user }) => depthOf(user)));
      return depths.every((depth) => depth > 0);
    });
  });
});

describe('events', () => {
  it('that the broker died before are told to the application when it is back', async () => {
    const user = 'told-later';
    const client = stack.client(user, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await client.ready();
    const { id } = (await stack.send({ user }, 1, { track: true })).body;
    await until(() => got.length === 1);
    await broker.kill();
    // The receipt is in the database by now, or comes to it; its event could not be published.
    await until(
      async () => (await stack.api('GET', `/v1/messages/${id}`)).body.counts.delivered === 1,
    );
    await broker.start();
    await until(() =>
      application.received.some(({ body }) => {
        const { event, messageId } = body as { event: string; messageId?: string };
        return event === 'message.delivered' && messageId === id;
      }),
    );
    expect(application.forged).toBe(0);
  });
});
