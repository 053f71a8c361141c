import { describe, expect, it } from 'vitest';
import { printable, printableLine } from '../../server/dist/commands/printable.js';

describe('what a command prints', () => {
  it.each([
    ['an escape sequence', '\u001b[2Jgone', '\\u001b[2Jgone'],
    ['one in a single character', '\u009b2Jgone', '\\u009b2Jgone'],
    ['a return over what was there', 'false\rtrue', 'false\\u000dtrue'],
    ['a turned direction', 'a\u202etxt.exe', 'a\\u202etxt.exe'],
    ['another end of a line', 'a\u2028b', 'a\\u2028b'],
  ])('shows %s and does not obey it', (_what, text, shown) => {
    expect(printable(text)).toBe(shown);
    expect(printableLine(text)).toBe(shown);
  });

  it('is left as it is where a terminal would only show it', () => {
    const text = 'Ünïcode 😀 → "quoted" \\ 2\n\nnext\n';
    expect(printable(text)).toBe(text);
  });

  it('is still the same JSON', () => {
    const value = { type: 'a\u009b\u2029b', id: 'c\u001b' };
    const text = printable(JSON.stringify(value));
    expect(text).not.toMatch(/[\u0080-\u009f\u2029]/);
    expect(JSON.parse(text)).toEqual(value);
  });

  it('forges no line of its own', () => {
    expect(printableLine('x\nNo trouble is known.')).toBe('x\\u000aNo trouble is known.');
  });
});
