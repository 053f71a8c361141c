import type { ConsumeMessage } from 'amqplib';
import { expect, it } from 'vitest';
import { readMessage } from '../../server/dist/history/record.js';

// What a publisher's clock says shows outside only after a year, when what it has sent is removed.

const NOW = 1_800_000_000_000;
const MINUTE_MS = 60_000;
const LAST_DATE = 8.64e15;

function readAt(headers: object, properties: object = {}): number {
  const all = { 'x-warren-to': 'broadcast', ...headers };
  return readMessage(
    {
      content: Buffer.from('1'),
      fields: {},
      properties: { messageId: 'm', headers: all, ...properties },
    } as unknown as ConsumeMessage,
    NOW,
  ).at;
}

it('no stored message was sent later than a clock may be ahead', () => {
  for (const at of [NOW + MINUTE_MS + 1, NOW + 10 * 365 * 24 * 60 * MINUTE_MS, LAST_DATE]) {
    expect(readAt({ 'x-warren-at': String(at) }), String(at)).toBe(NOW);
  }
  expect(readAt({}, { timestamp: LAST_DATE / 1000 })).toBe(NOW);
});

it('a stored message was sent when its publisher says, also by a clock that is a little ahead', () => {
  for (const at of [1, NOW - MINUTE_MS, NOW, NOW + MINUTE_MS]) {
    expect(readAt({ 'x-warren-at': String(at) }), String(at)).toBe(at);
  }
  expect(readAt({}, { timestamp: 1 })).toBe(1000);
});
