import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deviceKeys, deviceQueues, encodeId, isValidId, userKeys } from '@warren/protocol';
import vectors from '../../protocol/vectors.json' with { type: 'json' };

const anyId = fc.string({ unit: 'binary', minLength: 1, maxLength: 120 }).filter(isValidId);
/** Ids made of what means something to exchanges, scopes, URLs and this encoding itself. */
const spitefulId = fc
  .array(fc.constantFrom('*', '#', '.', '%', '/', '_', '_2A', '_h', '%2A', 'a', ' ', 'ü'), {
    minLength: 1,
    maxLength: 40,
  })
  .map((parts) => parts.join(''))
  .filter(isValidId);

describe('names of queues and keys', () => {
  it.each(vectors.ids)('encodes $id as the vectors say', ({ id, encoded }) => {
    expect(encodeId(id)).toBe(encoded);
  });

  it.each(vectors.names)('names what belongs to $user as the vectors say', (vector) => {
    const { user, device, nonce } = vector;
    expect(userKeys(user)).toEqual({ mail: vector.userKey, live: vector.userLiveKey });
    expect(deviceKeys(user, device).mail).toBe(vector.deviceKey);
    expect(deviceQueues(user, device, nonce)).toEqual({
      mail: vector.queue,
      live: vector.liveQueue,
    });
  });

  it('never gives two ids one name', () => {
    fc.assert(
      fc.property(fc.oneof(anyId, spitefulId), fc.oneof(anyId, spitefulId), (one, other) => {
        expect(encodeId(one) === encodeId(other)).toBe(one === other);
      }),
      { numRuns: 5000 },
    );
  });

  it('uses only characters that mean nothing to the broker, at most 80 of them', () => {
    fc.assert(
      fc.property(fc.oneof(anyId, spitefulId), (id) => {
        expect(encodeId(id)).toMatch(/^[A-Za-z0-9_-]{1,80}$/);
      }),
      { numRuns: 5000 },
    );
  });

  it('keeps every name within the 255 bytes of AMQP', () => {
    const longest = '*'.repeat(26) + 'aa';
    expect(encodeId(longest)).toHaveLength(80);
    const { mail } = deviceQueues(longest, longest, 'f'.repeat(32));
    expect(mail.length).toBeLessThanOrEqual(255);
  });

  it.each([
    ['an empty id', ''],
    ['257 bytes', 'a'.repeat(257)],
    ['257 bytes of UTF-8 in fewer characters', 'ü'.repeat(129)],
    ['a lone surrogate', 'a\ud800'],
    ['a control character', 'a\u001b[2J'],
    ['one of the upper ones', 'a\u009b2J'],
    ['what a URL parser takes out of a path', '.'],
    ['what a URL parser takes with its parent out of a path', '..'],
  ])('refuses %s', (_what, id) => {
    expect(isValidId(id)).toBe(false);
    expect(() => encodeId(id)).toThrow(RangeError);
  });
});
