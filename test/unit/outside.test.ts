import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  adminGroupsQuerySchema,
  adminUsersQuerySchema,
  auditQuerySchema,
  consoleBodySchema,
  deadLettersQuerySchema,
  historyQuerySchema,
  logoutQuerySchema,
  membersQuerySchema,
  outcomesQuerySchema,
  receiptsBodySchema,
  recoveryQuerySchema,
  sessionBodySchema,
  timelineQuerySchema,
} from '@warren/protocol';
import { RefusedJob } from '../../server/dist/broker/job.js';
import { startSendQueue } from '../../server/dist/sending/send-queue.js';
import { issuedAt } from '../../server/dist/sessions/identity.js';
import { openStorage } from '../../server/dist/storage/index.js';

describe('a number in a query', () => {
  const numbers = [
    ['limit', timelineQuerySchema, {}],
    ['limit', membersQuerySchema, {}],
    ['limit', outcomesQuerySchema, {}],
    ['limit', adminUsersQuerySchema, {}],
    ['limit', historyQuerySchema, { user: 'ann' }],
    ['limit', recoveryQuerySchema, { deviceId: 'phone' }],
    ['lastAt', recoveryQuerySchema, { deviceId: 'phone' }],
    ['after', auditQuerySchema, {}],
    ['after', deadLettersQuerySchema, {}],
  ] as const;

  it.each(numbers)('%s, is what its digits say, or refused', (name, schema, rest) => {
    const read = (value: unknown) => schema.safeParse({ ...rest, [name]: value });
    expect(read('100').data).toMatchObject({ [name]: 100 });
    expect(schema.safeParse(rest).success).toBe(true);
    for (const text of [
      '',
      ' ',
      '0x10',
      '1e2',
      '+5',
      '5 ',
      '1.5',
      '-1',
      'NaN',
      'Infinity',
      '1e400',
    ]) {
      expect([text, read(text).success]).toEqual([text, false]);
    }
    for (const text of ['9007199254740992', '9'.repeat(40), ['1', '2']]) {
      expect([text, read(text).success]).toEqual([text, false]);
    }
  });
});

describe('a text', () => {
  it('that names a session or an installation has no control character and no lone surrogate', () => {
    for (const text of ['a\0', '\ud800', '\n', '\u0085', 'x'.repeat(65)]) {
      expect(sessionBodySchema.safeParse({ sessionId: text }).success).toBe(false);
      expect(sessionBodySchema.safeParse({ installationId: text }).success).toBe(false);
      expect(logoutQuerySchema.safeParse({ installationId: text }).success).toBe(false);
      expect(consoleBodySchema.safeParse({ sessionId: text }).success).toBe(false);
    }
    const named = { sessionId: 'lx2.5f', installationId: 'Käfer 🐞' };
    expect(sessionBodySchema.parse(named)).toEqual(named);
  });

  it('that names a message, of which a client may know anything, is one that every database takes', () => {
    const { before, after } = historyQuerySchema.parse({
      user: 'a',
      before: 'a\0b',
      after: '\ud800',
    });
    expect([before, after]).toEqual(['a\uFFFDb', '\uFFFD']);
    const known = { last: '\0', oldest: 'x'.repeat(255) };
    const { last, oldest } = recoveryQuerySchema.parse({ deviceId: 'a', ...known });
    expect([last, oldest]).toEqual(['\uFFFD', known.oldest]);
  });

  it('that a page begins after is an id', () => {
    for (const schema of [adminUsersQuerySchema, adminGroupsQuerySchema, outcomesQuerySchema]) {
      expect(schema.parse({ after: 'ann ü' }).after).toBe('ann ü');
      for (const after of ['', '..', 'a\0b', 'x'.repeat(257)]) {
        expect([after, schema.safeParse({ after }).success]).toEqual([after, false]);
      }
    }
  });
});

it('A receipt that is none does not cost the others in its request.', () => {
  const handled = { type: 'note', error: 'handler_failed', tookMs: 1, agoMs: 1 } as const;
  const long = 'x'.repeat(129);
  const { delivered, agoMs, read, ...rest } = receiptsBodySchema.parse({
    delivered: [long, 'a', ''],
    agoMs: [-1, 5, 1e308],
    read: [long, '', 'b\0'],
    handled: [
      { ...handled, id: long, type: 'y'.repeat(300), tookMs: -1 },
      { ...handled, id: 'c\ud800', type: '' },
    ],
  });
  // At the same places as how long ago each was.
  expect(delivered).toEqual(['', 'a', '']);
  expect(agoMs).toEqual([0, 5, 90 * 86_400_000]);
  expect(read).toEqual(['b\uFFFD']);
  expect(rest.handled).toEqual([
    { ...handled, id: undefined, type: 'y'.repeat(255), tookMs: 0 },
    { ...handled, id: 'c\uFFFD', type: '' },
  ]);
});

it('A time of issue that no clock has shown counts as the oldest.', () => {
  expect([-1e308, -1, undefined, 'x', 2].map(issuedAt)).toEqual([0, 0, 0, 0, 2000]);
});

it('The audit log names whom it was done to, NUL or not.', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-audit-'));
  const { audit, close } = await openStorage({ dataDir, url: undefined }, () => undefined);
  onTestFinished(async () => {
    await close();
    await rm(dataDir, { recursive: true, force: true });
  });
  const entry = { at: 1, actor: 'user:o\0p', action: 'user.revoke', target: 'a\0b%00%' };
  await audit.add(entry);
  expect(await audit.list({ limit: 10 })).toMatchObject([entry]);
});

describe('warren.send', () => {
  type Handle = Parameters<
    Parameters<typeof startSendQueue>[0]['workQueues']['consume']
  >[0]['handle'];

  /** Handles one job; what was sent is in `ids`. */
  async function take(body: object, messageId: string | undefined, ids: unknown[]): Promise<void> {
    let handle: Handle | undefined;
    const parts = {
      sender: { sendInTurn: ({ id }: { id?: string }) => Promise.resolve(ids.push(id)) },
      workQueues: { consume: (options: { handle: Handle }) => void (handle = options.handle) },
      events: {},
    };
    startSendQueue(parts as unknown as Parameters<typeof startSendQueue>[0]);
    const none = {
      type: undefined,
      contentType: undefined,
      correlationId: undefined,
      account: undefined,
      dueAt: 0,
    };
    const provenance = { headers: {}, routingKey: '', isForwarded: false };
    const content = Buffer.from(JSON.stringify(body));
    const job = { ...none, ...provenance, content, messageId, attempt: 1 };
    await handle?.(job, new AbortController().signal);
  }

  it('takes the id of the body, else that of the message, and refuses what is none at once', async () => {
    const message = { to: { user: 'ann' }, type: 'note', data: 1 };
    const ids: unknown[] = [];
    await take({ ...message, id: 'own' }, 'other', ids);
    await take(message, 'other', ids);
    await take(message, undefined, ids);
    expect(ids).toEqual(['own', 'other', undefined]);
    for (const id of ['a b', 'a\0', 'a\\c', 'ü', 'x'.repeat(129)]) {
      await expect(take(message, id, ids)).rejects.toThrow(RefusedJob);
    }
    expect(ids).toHaveLength(3);
  });
});
