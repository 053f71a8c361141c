import { expect, it } from 'vitest';
import { flawIn, flawInParsed } from '../../server/dist/foreign-json.js';

it.each([
  ['a string that does not end, full of quotes', '\\"'],
  ['a string that does not end, full of broken lines', '\\\n"'],
  ['a string that does not end, full of backslashes', '\\\\'],
  ['a string that does not end, full of minus signs', '-'],
])(
  'looks through the largest body once, also when it is %s',
  // Milliseconds; looked through anew at each place, it takes most of a minute.
  { timeout: 10_000 },
  (_, part) => {
    const hostile = part.repeat((256 * 1024) / part.length);
    expect(flawIn(`[1234567890123456,"${hostile}`)).toBeUndefined();
  },
);

it('passes over what looks like a number in a string', () => {
  expect(flawIn('{"12345678901234567890":"\\"1e400","x":"\\\\","y":1}')).toBeUndefined();
  expect(flawIn('{"x":"\\\\","y":12345678901234567890}')).toContain('number');
});

it('counts how deep arrays and objects stand in each other, and not what looks like it in a string', () => {
  const nested = (depth: number): string =>
    '[{"a":'.repeat(depth / 2) + '1' + '}]'.repeat(depth / 2);
  expect(flawIn(nested(128))).toBeUndefined();
  expect(flawIn(nested(130))).toContain('128 deep');
  expect(flawIn(`[${'[],'.repeat(1000)}[]]`)).toBeUndefined();
  expect(flawIn(`["${'[{'.repeat(1000)}\\"${'['.repeat(1000)}"]`)).toBeUndefined();
});

it('looks also at what somebody else has parsed', () => {
  const nested = (depth: number): unknown => JSON.parse('['.repeat(depth) + ']'.repeat(depth));
  for (const good of [undefined, null, 'x', 1e300, { a: [{ b: [] }] }, nested(128)]) {
    expect(flawInParsed(good)).toBeUndefined();
  }
  expect(flawInParsed(nested(129))).toContain('128 deep');
  expect(flawInParsed(nested(100_000))).toContain('128 deep');
  expect(flawInParsed({ a: [JSON.parse('-1e400')] })).toContain('number');
});
