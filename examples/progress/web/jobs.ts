import type { Progress } from '../src/events.js';
import { Bar } from './bar.js';

const MOST_KEPT = 5;

/** The jobs of this user, each with its bar. They are kept in the browser, so that a reload shows them again. */
export class Jobs {
  readonly #prefix: string;
  readonly #list: HTMLElement;
  readonly #bars = new Map<string, Bar>();

  constructor(prefix: string, list: HTMLElement) {
    this.#prefix = prefix;
    this.#list = list;
    for (const { progress } of this.#kept()) this.show(progress);
  }

  show(progress: Progress): void {
    let bar = this.#bars.get(progress.job);
    if (bar === undefined) {
      bar = new Bar();
      this.#bars.set(progress.job, bar);
      this.#list.prepend(bar.root);
    }
    bar.show(progress);
  }

  /** Before the message is acked. Of the jobs before this one, only some are kept. */
  save(progress: Progress): void {
    const others = this.#kept().filter((entry) => entry.progress.job !== progress.job);
    for (const { key } of others.slice(0, 1 - MOST_KEPT)) localStorage.removeItem(key);
    const key = this.#prefix + progress.job;
    const known = JSON.parse(localStorage.getItem(key) ?? 'null') as Kept | null;
    if ((known?.progress.done ?? 0) > progress.done) return;
    const startedAt = known?.startedAt ?? Date.now();
    localStorage.setItem(key, JSON.stringify({ startedAt, progress } satisfies Kept));
  }

  /** The oldest first. */
  #kept(): (Kept & { key: string })[] {
    return Object.keys(localStorage)
      .filter((key) => key.startsWith(this.#prefix))
      .map((key) => ({ key, ...(JSON.parse(localStorage.getItem(key) ?? '') as Kept) }))
      .sort((one, other) => one.startedAt - other.startedAt);
  }
}

interface Kept {
  startedAt: number;
  progress: Progress;
}
