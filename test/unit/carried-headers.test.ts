import { describe, expect, it } from 'vitest';
import { carriedHeaders } from '../../server/dist/broker/carried-headers.js';

const DEATH = { queue: 'user.a.b.c', reason: 'expired', count: 1, exchange: 'warren.direct' };

describe('the headers of a job that is published again', () => {
  it('are Warren’s own', () => {
    expect(carriedHeaders({ 'x-warren-due': '1', 'x-warren-track': '1', other: 2 })).toEqual({
      'x-warren-due': '1',
      'x-warren-track': '1',
    });
  });

  it.each(['CC', 'BCC', 'x-delay', 'x-match', 'x-first-death-queue', 'x-opt-deaths'])(
    'are not %s, which a broker could act on',
    (name) => {
      expect(carriedHeaders({ [name]: ['warren.push'] })).toEqual({});
    },
  );

  it('say how it died, as the broker does', () => {
    expect(carriedHeaders({ 'x-death': [DEATH, 'a'] })).toEqual({ 'x-death': [DEATH] });
  });

  it.each([
    'a',
    5,
    null,
    true,
    {},
    DEATH,
    ['a'],
    [null],
    [[DEATH]],
    [{ ...DEATH, count: 'x' }],
    [{ ...DEATH, queue: 5 }],
    [{ count: 1 }],
  ])('have no x-death that no broker has written: %j', (said) => {
    expect(carriedHeaders({ 'x-death': said })).toEqual({});
  });
});
