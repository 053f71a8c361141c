import { generateKeyPairSync } from 'node:crypto';
import type { Request } from 'express';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Consoles, type ConsolesOptions } from '../../server/dist/console/consoles.js';
import { AccessControl } from '../../server/dist/http/access.js';
import { AdminTokens, type Admin } from '../../server/dist/sessions/admin-tokens.js';
import { ClientTokens } from '../../server/dist/sessions/client-tokens.js';
import type { Identity } from '../../server/dist/sessions/identity.js';
import { KeyRing } from '../../server/dist/sessions/key-ring.js';
import { Locks } from '../../server/dist/storage/locks.js';
import type { ConsoleSession } from '../../server/dist/storage/consoles.js';

const HOUR_MS = 3_600_000;
const NOW = Date.UTC(2026, 0, 1, 12);
const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});
const keys = new KeyRing(privateKey);
const tokens = new AdminTokens(keys);

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Asks as the routes do, with an admin key, or with what the application says of a JWT. */
function access(identity: Partial<Identity> = {}) {
  const control = new AccessControl({
    serviceKeys: () => [],
    adminKeys: () => [{ key: 'the-key', role: 'operator' }],
    adminTokens: tokens,
    ownTokens: { verify: () => undefined },
    authenticate: () => ({ userId: 'alice', issuedAt: NOW, role: 'operator', ...identity }),
    refuseRevoked: () => Promise.resolve(),
  });
  const adminOf = async (bearer: string): Promise<Admin> => {
    const headers = { authorization: `Bearer ${bearer}` };
    const request = { headers, get: () => undefined } as unknown as Request;
    return (await control.check('operator', request)).admin!;
  };
  return { adminOf, exchange: async (bearer: string) => tokens.issue(await adminOf(bearer)) };
}

describe('a token of the console', () => {
  it('ends with the JWT, however often it is exchanged', async () => {
    const { adminOf, exchange } = access({ expiresAt: NOW + 15_000 });
    let signed = await exchange('jwt');
    for (let second = 0; second < 14; second++) {
      expect(signed.expiresAt.getTime()).toBe(NOW + 15_000);
      vi.advanceTimersByTime(1000);
      signed = await exchange(signed.token);
    }
    vi.advanceTimersByTime(1000);
    for (const use of [adminOf, exchange]) {
      await expect(use(signed.token)).rejects.toMatchObject({ code: 'token_expired' });
    }
  });

  it('ends twelve hours after the key was used, however often it is exchanged', async () => {
    const { adminOf, exchange } = access();
    const first = await exchange('the-key');
    expect(first.expiresAt.getTime()).toBe(NOW + 12 * HOUR_MS);
    vi.advanceTimersByTime(11 * HOUR_MS);
    const second = await exchange(first.token);
    expect(second.expiresAt).toEqual(first.expiresAt);
    vi.advanceTimersByTime(HOUR_MS);
    await expect(adminOf(second.token)).rejects.toMatchObject({ code: 'token_expired' });
    // The key itself has no end.
    expect((await exchange('the-key')).expiresAt.getTime()).toBe(NOW + 24 * HOUR_MS);
  });

  it('lasts for twelve hours of a login whose end is not told, and no longer', async () => {
    const { exchange } = access();
    const first = await exchange('jwt');
    vi.advanceTimersByTime(HOUR_MS);
    expect((await exchange(first.token)).expiresAt.getTime()).toBe(NOW + 12 * HOUR_MS);
  });

  it('is not made of what has ended, or ends within the second', async () => {
    const over = access({ expiresAt: NOW });
    await expect(over.adminOf('jwt')).rejects.toMatchObject({ code: 'token_expired' });
    const short = access({ expiresAt: NOW + 900 });
    await expect(short.exchange('jwt')).rejects.toMatchObject({ code: 'token_expired' });
  });
});

/** Consoles without a broker: what they ask of it is written down. */
function openConsoles() {
  const rows = new Map<string, ConsoleSession>();
  const done: string[] = [];
  const holds: number[] = [];
  const channel = {
    active: true,
    queueDeclare: () => Promise.resolve(),
    queueBind: () => Promise.resolve(),
    queueUnbind: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const store = {
    add: (row: ConsoleSession) => Promise.resolve(void rows.set(row.sessionId, row)),
    find: (id: string) => Promise.resolve(rows.get(id)),
    extend: (id: string, feed: ConsoleSession['feed'], expiresAt: number) => {
      const row = rows.get(id);
      if (row !== undefined) rows.set(id, { ...row, feed, expiresAt });
      return Promise.resolve();
    },
    listOf: (actor: string) =>
      Promise.resolve([...rows].filter(([, row]) => row.actor === actor).map(([id]) => id)),
    listExpired: (now: number) =>
      Promise.resolve([...rows].filter(([, row]) => row.expiresAt < now).map(([id]) => id)),
    remove: (id: string) => Promise.resolve(void rows.delete(id)),
  };
  const consoles = new Consoles({
    store,
    locks: new Locks(undefined, () => undefined),
    audit: { add: () => Promise.resolve(1), settle: () => Promise.resolve() },
    link: {
      guard: (work: () => Promise<unknown>) => work(),
      openChannel: () => Promise.resolve(channel),
    },
    provisioner: {
      ready: () => Promise.resolve(),
      deleteQueues: (queues: string[]) => Promise.resolve(void done.push(...queues)),
    },
    connections: {
      closeAll: (queue: string, reason: string) =>
        Promise.resolve(void done.push(`${queue} ${reason}`)),
    },
    tokens: new ClientTokens({ keys, vhost: 'warren', ttlSeconds: 600 }),
    publisher: { send: () => Promise.resolve() },
    taps: { hold: (_user: string, until: number) => Promise.resolve(void holds.push(until)) },
    vhost: 'warren',
    endpoints: { stomp: [], amqp: [] },
    logger: { debug: () => undefined },
  } as unknown as ConsolesOptions);
  return { consoles, rows, done, holds };
}

const admin = (expiresAt: number): Admin => ({
  actor: 'user:alice',
  role: 'operator',
  key: undefined,
  issuedAt: NOW,
  expiresAt,
});

describe('a console', () => {
  it('ends with the token: its login, its feed, whom it watches, and its connection', async () => {
    const { consoles, rows, done, holds } = openConsoles();
    const who = admin(NOW + 20_000);
    const grant = await consoles.open(who, {});
    expect(Date.parse(grant.expiresAt)).toBe(NOW + 20_000);
    vi.advanceTimersByTime(10_000);
    const renewed = await consoles.open(who, { sessionId: grant.sessionId });
    expect([renewed.queue, renewed.expiresAt]).toEqual([grant.queue, grant.expiresAt]);
    const feed = { events: ['user.#'], watch: ['bob'] };
    const { expiresAt } = await consoles.feed(who, grant.sessionId, feed);
    expect([expiresAt, ...holds]).toEqual([NOW + 20_000, NOW + 20_000]);
    await vi.advanceTimersByTimeAsync(9000);
    expect(rows.size).toBe(1);
    await vi.advanceTimersByTimeAsync(3000);
    expect(rows.size).toBe(0);
    expect(done).toContain(grant.queue);
    expect(done).toContain(`${grant.queue} console_ended`);
    await expect(consoles.open(who, {})).rejects.toMatchObject({ code: 'token_expired' });
    await consoles.close();
  });

  it('of a key that stays lasts for a minute after each word of it', async () => {
    const { consoles, rows } = openConsoles();
    const who = admin(Infinity);
    const grant = await consoles.open(who, {});
    expect(Date.parse(grant.expiresAt)).toBe(NOW + 600_000);
    await vi.advanceTimersByTimeAsync(50_000);
    const { expiresAt } = await consoles.feed(who, grant.sessionId, { events: [], watch: [] });
    expect(expiresAt).toBe(NOW + 110_000);
    await vi.advanceTimersByTimeAsync(50_000);
    expect(rows.size).toBe(1);
    await vi.advanceTimersByTimeAsync(15_000);
    expect(rows.size).toBe(0);
    await consoles.close();
  });

  it('that is to be renewed as it ends is made anew, and what has queues is known', async () => {
    const { consoles, rows, done } = openConsoles();
    const who = admin(NOW + 20_000);
    const { sessionId, queue } = await consoles.open(who, {});
    const [, renewed] = await Promise.all([
      consoles.end(who, sessionId),
      consoles.open(who, { sessionId }),
    ]);
    expect(done).toContain(queue);
    expect(renewed.queue).not.toBe(queue);
    expect([...rows.values()].map((row) => row.queue)).toEqual([renewed.queue]);
    await Promise.all([
      consoles.open(who, { sessionId: renewed.sessionId }),
      consoles.end(who, renewed.sessionId),
    ]);
    expect(rows.size).toBe(0);
    expect(done).toContain(renewed.queue);
    await consoles.close();
  });
});
