import { expect, it } from 'vitest';
import { keepsNumbers } from '../../server/dist/http/json-numbers.js';

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
    expect(keepsNumbers(`[1234567890123456,"${hostile}`)).toBe(true);
  },
);

it('passes over what looks like a number in a string', () => {
  expect(keepsNumbers('{"12345678901234567890":"\\"1e400","x":"\\\\","y":1}')).toBe(true);
  expect(keepsNumbers('{"x":"\\\\","y":12345678901234567890}')).toBe(false);
});
