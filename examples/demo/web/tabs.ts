const FIRST = 'delivery';

/** Shows what belongs to the tab that the address names (`#chat`), and hides the others. */
export function startTabs(): void {
  const show = (): void => {
    const links = [...document.querySelectorAll<HTMLAnchorElement>('header nav a')];
    const named = location.hash.slice(1);
    const isKnown = links.some(({ hash }) => hash === location.hash);
    const tab = isKnown ? named : FIRST;
    for (const link of links) {
      if (link.hash === `#${tab}`) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    for (const part of document.querySelectorAll<HTMLElement>('[data-tab]')) {
      part.hidden = !part.dataset['tab']?.split(' ').includes(tab);
      // An example begins when somebody looks at it, and goes on behind the others.
      if (!part.hidden && part instanceof HTMLIFrameElement && part.src === '')
        part.src = part.dataset['src'] ?? '';
    }
  };
  addEventListener('hashchange', show);
  show();
}
