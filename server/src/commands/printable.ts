/**
 * Control characters, which a terminal would obey, U+0080 to U+009F among them, and those that turn the direction of
 * what is read; but for the end of a line.
 */
const UNPRINTABLE = /[^\n\P{Cc}]|[\u2028-\u202e\u2066-\u2069]/gu;

/**
 * What a terminal shows as it is, whoever has chosen the ids, types and names in it. Written as JSON escapes them, so
 * that JSON stays the same JSON.
 */
export const printable = (text: string): string => text.replaceAll(UNPRINTABLE, escaped);

/** The same, in one line. */
export const printableLine = (text: string): string =>
  printable(text).replaceAll('\n', escaped('\n'));

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
