/** Makes an element with a class, text and children. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  { className = '', text }: { className?: string; text?: string } = {},
  ...children: Node[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  if (className !== '') made.className = className;
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

/** Finds an element that the page is known to have. */
export function find<Type extends HTMLElement>(selector: string, type: new () => Type): Type {
  const found = document.querySelector(selector);
  if (!(found instanceof type)) throw new Error(`The page has no ${selector}.`);
  return found;
}
