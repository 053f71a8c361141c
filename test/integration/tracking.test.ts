import { isDeepStrictEqual } from 'node:util';
import { connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { MessageOutcome } from '@warren/protocol';
import { EventLog } from '../support/events.js';
import { seeded } from '../support/seeded.js';
import {
  collect,
  request,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let log: EventLog;
beforeAll(async () => {
  stack = await startStack({ extras: { timing: { unconfirmedAfterMs: 3000 } } });
  log = await EventLog.open('message.#');
});
afterAll(async () => {
  await log.close();
  await stack.close();
});

async function provisioned(): Promise<string> {
  const user = uniqueUser();
  await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
  return user;
}

async function track(to: object, more: object = {}): Promise<string> {
  const reply = await stack.send(to, 'tracked', { track: true, ...more });
  expect(reply.status).toBe(202);
  return reply.body.id;
}

const outcomesOf = async (id: string): Promise<Record<string, MessageOutcome>> => {
  const { body } = await stack.api('GET', `/v1/messages/${id}`);
  return Object.fromEntries(
    (body.recipients as unknown as { user: string; outcome: MessageOutcome }[]).map(
      ({ user, outcome }) => [user, outcome],
    ),
  );
};

/** Waits for an outcome, and for the event that tells it. */
async function expectOutcome(id: string, user: string, outcome: MessageOutcome): Promise<void> {
  await until(
    async () => (await outcomesOf(id))[user] === outcome,
    async () => `${outcome}: ${JSON.stringify(await outcomesOf(id))}`,
  );
  if (outcome === 'queued') return;
  const name = ['delivered', 'read'].includes(outcome) ? outcome : 'failed';
  const told = { event: `message.${name}`, messageId: id, user, outcome };
  await until(
    () => log.events.some((event) => isDeepStrictEqual({ ...event, ...told }, event)),
    `the event of ${outcome}`,
  );
}

describe('a tracked message', () => {
  it('is queued until a device has handled it, then delivered, then read', async () => {
    const user = await provisioned();
    const id = await track({ user });
    expect(await outcomesOf(id)).toEqual({ [user]: 'queued' });
    const client = stack.client(user, TRANSPORTS.stomp(), { deviceId: 'phone' });
    const got = collect(client);
    client.start();
    await expectOutcome(id, user, 'delivered');
    expect(got.map((message) => message.id)).toEqual([id]);
    client.markRead(id);
    await expectOutcome(id, user, 'read');
  });

  it('that was read on one device is told to the others, tracked or not', async () => {
    const user = await provisioned();
    const devices = ['phone', 'tablet'].map((deviceId) =>
      stack.client(user, TRANSPORTS.amqp(), { deviceId }),
    );
    const read: string[][] = devices.map(() => []);
    devices.forEach((client, index) => {
      client.handle('*', () => undefined);
      client.on('read', ({ ids }) => read[index]!.push(...ids));
      client.start();
    });
    await Promise.all(devices.map((client) => client.ready()));
    const tracked = await track({ user });
    const { id: plain } = (await stack.send({ user }, 1)).body;
    await expectOutcome(tracked, user, 'delivered');
    devices[0]!.markRead(tracked, plain);
    await until(() => read.every((ids) => ids.includes(tracked) && ids.includes(plain)));
    await expectOutcome(tracked, user, 'read');
  });

  it('tells of each of many recipients', async () => {
    const [reader, waiting] = [await provisioned(), await provisioned()];
    const group = `tracked-${reader}`;
    await stack.api('POST', `/v1/groups/${group}/members`, { add: [reader, waiting, 'nobody'] });
    const client = stack.client(reader, TRANSPORTS.stomp(), { deviceId: 'phone' });
    collect(client);
    client.start();
    await client.ready();
    for (const to of [{ group }, { users: [reader, waiting, 'nobody'] }]) {
      const id = await track(to);
      await expectOutcome(id, reader, 'delivered');
      await expectOutcome(id, 'nobody', 'unprovisioned');
      expect((await outcomesOf(id))[waiting]).toBe('queued');
      const { body } = await stack.api('GET', `/v1/messages/${id}`);
      expect(body.counts).toEqual({ delivered: 1, unprovisioned: 1, queued: 1 });
      const page = (await stack.api('GET', `/v1/messages/${id}?limit=2`)).body;
      const rest = (await stack.api('GET', `/v1/messages/${id}?after=${page.next ?? ''}`)).body;
      expect([...page.recipients, ...rest.recipients]).toEqual(body.recipients);
    }
  });

  it('ends as rejected when no handler would have it, on the only device that has it', async () => {
    const user = await provisioned();
    const client = stack.client(user, TRANSPORTS.stomp(), { deviceId: 'phone' });
    client.handle('note', () => Promise.reject(new Error('a bug')));
    client.start();
    await client.ready();
    await expectOutcome(await track({ user }), user, 'rejected');
    await expectOutcome(await track({ user }, { type: 'unheard-of' }), user, 'rejected');
  });

  it('stays open while another device may still have it, and is delivered then', async () => {
    const user = await provisioned();
    await stack.session(user, { deviceId: 'tablet' });
    const id = await track({ user });
    const failing = stack.client(user, TRANSPORTS.amqp(), { deviceId: 'phone' });
    let failures = 0;
    failing.on('error', () => failures++);
    failing.handle('*', () => Promise.reject(new Error('a bug')));
    failing.start();
    await until(() => failures === 1);
    expect(await outcomesOf(id)).toEqual({ [user]: 'queued' });
    const other = stack.client(user, TRANSPORTS.stomp(), { deviceId: 'tablet' });
    collect(other);
    other.start();
    await expectOutcome(id, user, 'delivered');
  });

  it('has nothing to hope for from a device that came later, or that it was not for', async () => {
    const user = await provisioned();
    const early = await track({ user });
    await stack.session(user, { deviceId: 'tablet' });
    const forPhone = await track({ device: { user, device: 'phone' } });
    const forBoth = await track({ user });
    await request(`${stack.apiUrl}/v1/sessions/phone`, 'DELETE', userToken(user));
    await expectOutcome(early, user, 'dropped');
    await expectOutcome(forPhone, user, 'dropped');
    expect(await outcomesOf(forBoth)).toEqual({ [user]: 'queued' });
  });

  it('ends as expired, overflowed, revoked, dropped, unprovisioned, offline or unconfirmed', async () => {
    const user = await provisioned();
    await expectOutcome(await track({ user }, { ttlMs: 1 }), user, 'expired');

    const crowded = await provisioned();
    const first = await track({ user: crowded });
    const fill = Array.from({ length: 1000 }, () => ({
      to: { user: crowded },
      type: 'note',
      data: 1,
    }));
    for (let round = 0; round < 10; round++) {
      await stack.api('POST', '/v1/messages/batch', { messages: fill });
    }
    await expectOutcome(first, crowded, 'overflowed');

    const revoked = await provisioned();
    const lost = await track({ user: revoked });
    await stack.api('POST', `/v1/users/${revoked}/revoke`, {});
    await expectOutcome(lost, revoked, 'revoked');

    const gone = await provisioned();
    const dropped = await track({ user: gone });
    await request(`${stack.apiUrl}/v1/sessions/phone`, 'DELETE', userToken(gone));
    await expectOutcome(dropped, gone, 'dropped');

    const nobody = uniqueUser();
    await expectOutcome(await track({ user: nobody }), nobody, 'unprovisioned');
    const device = { user, device: 'unheard-of' };
    await expectOutcome(await track({ device }), user, 'unprovisioned');
    await expectOutcome(await track({ user }, { delivery: 'live' }), user, 'offline');

    // Expired behind one that is not, where the broker does not notice.
    await stack.send({ user }, 'in front');
    await expectOutcome(await track({ user }, { ttlMs: 1 }), user, 'unconfirmed');
  });

  it('is superseded by a newer one of its sender, type and collapse key, once no device can handle it', async () => {
    const user = await provisioned();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['laptop'] });
    const score = { collapseKey: 'score' };
    const first = await track({ user }, score);
    const forged = await track({ user }, { ...score, from: uniqueUser() });
    const last = await track({ user }, score);
    const connect = async (deviceId: string): Promise<void> => {
      const client = stack.client(user, TRANSPORTS.stomp(), { deviceId });
      collect(client);
      client.start();
      await client.ready();
    };
    await connect('phone');
    await expectOutcome(last, user, 'delivered');
    await expectOutcome(forged, user, 'delivered');
    // The laptop may have it in hand alone, for all that the phone can say.
    expect(await outcomesOf(first)).toEqual({ [user]: 'queued' });
    await connect('laptop');
    await expectOutcome(first, user, 'superseded');
  });

  it('that could not be pushed ends by its deadline when nobody is heard of', async () => {
    const user = await provisioned();
    // Expired behind one that is not, where the broker does not notice.
    await stack.send({ user }, 'in front');
    const push = { title: 'A', body: 'b', afterMs: 0, ttlMs: 1 };
    const id = await track({ user }, { ttlMs: 1, push });
    const told = () => log.events.filter((event) => 'messageId' in event && event.messageId === id);
    await until(() => told().length > 0, 'that there is no push');
    await expectOutcome(id, user, 'unconfirmed');
    const names = told().map(({ event }) => event);
    expect(names).toEqual(['message.push_failed', 'message.failed']);
    const { recipients } = (await stack.api('GET', `/v1/messages/${id}`)).body;
    expect(recipients[0]).not.toHaveProperty('reason');
  });

  it('keeps its final outcome when word of it comes too late, and says when it came', async () => {
    const user = await provisioned();
    await stack.send({ user }, 'in front');
    const id = await track({ user }, { ttlMs: 1 });
    await expectOutcome(id, user, 'unconfirmed');
    const receipts = { delivered: [id, 'unheard-of'], read: [id] };
    const reply = await request(
      `${stack.apiUrl}/v1/me/receipts`,
      'POST',
      userToken(user),
      receipts,
    );
    expect(reply.status).toBe(204);
    const { recipients } = (await stack.api('GET', `/v1/messages/${id}`)).body;
    expect(recipients[0]).toMatchObject({ outcome: 'unconfirmed' });
    expect(recipients[0]).toHaveProperty('deliveredAt');
    expect(recipients[0]).toHaveProperty('readAt');
  });

  it('is right for each of 1,000 to users of all kinds, whose clients come and fail', async () => {
    const random = seeded(5);
    const kinds = ['online', 'away', 'revoked', 'never', 'failing', 'removed'] as const;
    const expected: Record<(typeof kinds)[number], MessageOutcome> = {
      online: 'delivered',
      away: 'queued',
      revoked: 'revoked',
      never: 'unprovisioned',
      failing: 'rejected',
      removed: 'dropped',
    };
    const users = kinds.flatMap((kind) =>
      Array.from({ length: 5 }, () => ({ kind, id: uniqueUser() })),
    );
    for (const { kind, id } of users) {
      // A mailbox that no device has taken yet outlives a revocation.
      const devices = kind === 'revoked' ? ['phone'] : [];
      if (kind !== 'never') await stack.api('PUT', `/v1/users/${id}`, { devices });
    }
    for (const { kind, id } of users) {
      if (kind !== 'online' && kind !== 'failing') continue;
      const client = stack.client(id, TRANSPORTS[random() < 0.5 ? 'stomp' : 'amqp'](), {
        handlerAttempts: 1,
      });
      client.handle('note', () => (kind === 'failing' ? Promise.reject(new Error()) : undefined));
      // Some come before, some after.
      if (random() < 0.5) client.start();
      else
        setTimeout(() => {
          client.start();
        }, 300);
    }
    const messages = Array.from({ length: 1000 }, (_, index) => {
      const { kind, id } = users[Math.floor(random() * users.length)]!;
      return { kind, user: id, body: { to: { user: id }, type: 'note', data: index, track: true } };
    });
    const ids: string[] = [];
    for (let start = 0; start < messages.length; start += 250) {
      const chunk = messages.slice(start, start + 250).map(({ body }) => body);
      const { results } = (await stack.api('POST', '/v1/messages/batch', { messages: chunk })).body;
      ids.push(...results.map(({ id }) => id));
    }
    for (const { kind, id } of users) {
      if (kind === 'revoked') await stack.api('POST', `/v1/users/${id}/revoke`, {});
      if (kind === 'removed') await stack.api('DELETE', `/v1/users/${id}`);
    }
    const wrong = async (): Promise<string[]> => {
      const outcomes = await Promise.all(ids.map(outcomesOf));
      return messages.flatMap(({ kind, user }, index) => {
        const outcome = outcomes[index]![user];
        return outcome === expected[kind] ? [] : [`${kind}: ${String(outcome)}`];
      });
    };
    await until(
      async () => (await wrong()).length === 0,
      async () => [...new Set(await wrong())].join(', '),
    );
  });

  it('is nobody else’s to confirm', async () => {
    const user = await provisioned();
    const id = await track({ user });
    const receipts = { delivered: [id], read: [id] };
    await request(`${stack.apiUrl}/v1/me/receipts`, 'POST', userToken('mallory'), receipts);
    expect(await outcomesOf(id)).toEqual({ [user]: 'queued' });
  });

  it('is sent once for an id, and the id is not taken for another message', async () => {
    const user = await provisioned();
    const id = `once-${user}`;
    const replies = await Promise.all([1, 2, 3].map(() => track({ user }, { id })));
    expect(replies).toEqual([id, id, id]);
    expect(await track({ user }, { id })).toBe(id);
    const other = await stack.send({ user }, 'something else', { track: true, id });
    expect([other.status, other.body.code]).toEqual([409, 'id_reused']);
    const client = stack.client(user, TRANSPORTS.stomp(), { deviceId: 'phone' });
    const got = collect(client);
    client.start();
    await expectOutcome(id, user, 'delivered');
    await stack.send({ user }, 'last');
    await until(() => got.at(-1)?.data === 'last');
    expect(got).toHaveLength(2);
    // The repetition after the confirm was not published at all.
    expect(await track({ user }, { id })).toBe(id);
  });

  it('is not told of when it is not known', async () => {
    const { status, body } = await stack.api('GET', '/v1/messages/unheard-of');
    expect([status, body.code]).toEqual([404, 'message_unknown']);
    const nul = await stack.api('GET', '/v1/messages/%00');
    expect([nul.status, nul.body.code]).toEqual([404, 'message_unknown']);
    const { id } = (await stack.send({ user: 'somebody' }, 1)).body;
    expect((await stack.api('GET', `/v1/messages/${id}`)).body.code).toBe('message_unknown');
  });

  it('is dropped when its mailbox was lost and is made anew', async () => {
    const user = await provisioned();
    const id = await track({ user });
    const [device] = (await stack.user(user)).devices;
    const model = await connect(inject('broker').endpoints.amqpUrl);
    await (await model.createChannel()).deleteQueue(device!.queue);
    await model.close();
    await stack.session(user, { deviceId: 'phone' });
    await expectOutcome(id, user, 'dropped');
  });
});
