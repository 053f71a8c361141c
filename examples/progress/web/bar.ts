import type { Progress } from '../src/events.js';

/** The bar of one job. */
export class Bar {
  readonly root = document.createElement('li');
  readonly #bar = document.createElement('progress');
  readonly #text = document.createElement('span');
  #done = 0;

  constructor() {
    this.#bar.max = 1;
    this.root.append(this.#bar, this.#text);
  }

  /** What is older than what it shows is left out: live and waiting messages have no order between them. */
  show({ done, total, found }: Progress): void {
    if (done < this.#done) return;
    this.#done = done;
    this.#bar.value = done / total;
    const percent = Math.floor((100 * done) / total);
    this.#bar.setAttribute('aria-label', `${String(percent)} percent`);
    const state = done === total ? 'Done' : `${String(percent)} %`;
    this.#text.textContent = `${state}: ${found.toLocaleString('en')} primes`;
  }
}
