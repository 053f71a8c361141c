import type { ConsumeMessage } from 'amqplib';
import { describe, expect, it } from 'vitest';
import { headersOfDead, headersOfNext, toJob } from '../../server/dist/broker/job.js';
import { causeOf } from '../../server/dist/dead-letters/letter.js';

const DEATH = {
  queue: 'user.ann.1',
  reason: 'expired',
  exchange: 'warren.direct',
  'routing-keys': ['user.ann'],
  count: 1,
  time: { '!': 'timestamp', value: 1_700_000_000 },
};
/** By AMQP 1.0 a consumer may write over the one, not over the others. */
const OVERWRITTEN = {
  'x-death': 'none',
  'x-last-death-queue': 'user.ann.1',
  'x-last-death-reason': 'rejected',
  'x-warren-reason': 'failed',
};
const FORGED = {
  CC: ['warren.webhook'],
  BCC: ['warren.history'],
  'x-warren-due': '9999999999999',
  'x-warren-attempt': '50',
  'x-warren-account': 'root',
  'x-warren-reason': 'failed',
  'x-death': [null, 'a', { queue: 'user.bob.1', reason: 'expired' }],
  'x-first-death-queue': 'user.bob.1',
};

const message = (
  exchange: string,
  headers: Record<string, unknown>,
  properties: object = {},
): ConsumeMessage =>
  ({
    content: Buffer.from('{}'),
    fields: { exchange, routingKey: 'warren.send' },
    properties: { headers, ...properties },
  }) as unknown as ConsumeMessage;

describe('a job', () => {
  it.each(['warren.send', 'warren.direct', 'warren.events', ''])(
    'that came by "%s" is what it is about, whatever its headers say of the job',
    (exchange) => {
      const job = toJob(message(exchange, { ...FORGED, 'x-own': 'kept' }, { userId: 'billing' }));
      expect(job).toMatchObject({ attempt: 1, dueAt: 0, account: 'billing' });
      expect(job.headers).toEqual({ 'x-own': 'kept' });
    },
  );

  it('is none that the broker has brought from what a back end reads, whichever way that led here', () => {
    const died = (queue: string) => ({ 'x-death': [{ ...DEATH, queue }, DEATH] });
    for (const [exchange, headers] of [
      ['warren.events', {}],
      ['warren.replies', {}],
      ['warren.events.billing', {}],
      ['warren.send', died('warren.events.billing')],
      ['warren.send', died('warren.replies.billing.1')],
    ] as const) {
      expect(toJob(message(exchange, headers)).isForwarded, exchange).toBe(true);
    }
    for (const [exchange, headers] of [
      ['warren.send', {}],
      ['warren.send', FORGED],
      ['warren.send', { 'x-death': [DEATH] }],
      ['warren.direct', {}],
      ['warren.dead', died('user.ann.1')],
      // Of a job that waits, it was seen before.
      ['warren.retry', died('warren.wait.1000ms')],
      ['warren.retry', died('warren.events.billing')],
    ] as const) {
      expect(toJob(message(exchange, headers)).isForwarded, exchange).toBe(false);
    }
  });

  it('that comes again is the same one, tried once more', () => {
    const first = toJob(message('warren.send', { 'x-own': 'kept' }));
    const next = headersOfNext({ ...first, account: 'billing' }, 1_900_000_000_000, 2);
    const again = toJob(message('warren.retry', next));
    expect(again).toMatchObject({ attempt: 2, dueAt: 1_900_000_000_000, account: 'billing' });
    expect(again.headers['x-own']).toBe('kept');
  });

  it('that is given up takes along nothing that anybody would act on', () => {
    expect(headersOfDead({ ...FORGED, 'x-own': 'kept' }, 'why')).toEqual({
      'x-own': 'kept',
      'x-warren-reason': 'why',
    });
  });

  it('carries no headers that would not fit beside its own, or that nothing can write again', () => {
    const large = headersOfDead({ 'x-own': 'x'.repeat(40_000) }, 'why');
    expect(large).toEqual({ 'x-warren-reason': 'why' });
    let deep: unknown = 'x';
    for (let depth = 0; depth < 50_000; depth++) deep = { deep };
    expect(headersOfDead({ 'x-own': deep }, 'why')).toEqual({ 'x-warren-reason': 'why' });
  });
});

describe('why a letter is one', () => {
  const cause = (headers: Record<string, unknown>) => causeOf(headers, 'warren.history');

  it('is the broker’s word, and a worker’s only without it', () => {
    const job = { reason: 'job', queue: 'warren.history' };
    expect(cause({ 'x-warren-reason': 'forged', 'x-death': [DEATH] })).toMatchObject({
      reason: 'expired',
    });
    expect(cause({ 'x-warren-reason': 'failed' })).toEqual(job);
    expect(cause({ 'x-death': [{ queue: 'user.ann.1', reason: 'constructor' }] })).toBeUndefined();
  });

  it.each([['text'], [1], [null], [[null, 'a', 7, { queue: 1 }]], [{ queue: 'user.ann.1' }]])(
    'is not known from what is no death: %j',
    (deaths) => {
      expect(cause({ 'x-death': deaths })).toBeUndefined();
    },
  );
});

it('a message has died where the broker says that it has, though its consumer has written over one header', () => {
  const { headers } = toJob(message('warren.dead', OVERWRITTEN));
  expect(causeOf(headers, 'user.ann')).toEqual({ reason: 'rejected', queue: 'user.ann.1' });
});
