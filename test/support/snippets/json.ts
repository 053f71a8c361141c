/**
 * JSON as the pages write it, with what `…` has left out:
 * - within a string it stands for characters (`"0199…"`, `"wss://…/ws"`): one that is good in any id;
 * - behind a comma for more of the same (`["bob", …]`): nothing;
 * - alone in a list (`[…]`) for its entries: one string.
 *
 * Lines stay where they are.
 */
export function fillIn(text: string): string {
  return text.replaceAll(/"(?:[^"\\]|\\.)*"|,\s*…|…/g, (part) => {
    if (part.startsWith('"')) return part.replaceAll('…', 'x');
    return part === '…' ? '"x"' : part.replaceAll(/[^\n]/g, '');
  });
}
