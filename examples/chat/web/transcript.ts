import type { Message } from '@warren/client';
import type { ChatEvents } from '../src/events.js';

/** A chat line. */
export interface Line {
  id: string;
  from: string;
  text: string;
  /** Its place. Of one that the server has not confirmed yet: the end. */
  at: number;
  state: 'sent' | 'sending' | 'failed';
}

export function toLine({ id, from, data }: Message<ChatEvents['chat.message']>): Line {
  return {
    id: id ?? String(data.at),
    from: from ?? 'unknown',
    text: data.text,
    at: data.at,
    state: 'sent',
  };
}

const MOST_SAVED = 50;
/** Older ones are in the history. */
const MOST_SHOWN = 400;

/** What was written in one conversation, each line once and in its place, from wherever it comes. */
export class Transcript {
  readonly #key: string;
  #lines: readonly Line[];
  /** Whether nothing is missing between {@link older} and the newest. */
  #isWhole = false;
  /** Where older lines begin in the history; undefined: there are none. */
  older: string | undefined;

  /** @param key under which the newest lines are kept, so that they are there at once, and without a network. */
  constructor(key: string) {
    this.#key = key;
    this.#lines = this.#saved();
  }

  get lines(): readonly Line[] {
    return this.#lines;
  }

  add(...lines: readonly Line[]): void {
    const byId = new Map(this.#lines.map((line) => [line.id, line]));
    for (const line of lines) byId.set(line.id, line);
    this.#lines = [...byId.values()].sort((one, other) => one.at - other.at);
  }

  /** The newest of the history, the newest first. What was loaded before it stays where it goes on. */
  addNewestPage(lines: readonly Line[], next: string | undefined): void {
    const oldest = lines.at(-1)?.id;
    const goesOn = this.#isWhole && this.#lines.some(({ id }) => id === oldest);
    this.add(...lines);
    if (!goesOn) this.older = next;
    this.#isWhole = true;
  }

  addOlderPage(lines: readonly Line[], next: string | undefined): void {
    this.add(...lines);
    this.older = next;
  }

  /** Some may not have come. */
  noteGap(): void {
    this.#isWhole = false;
  }

  /** As {@link add}, when the view is at the end: only the newest stay. */
  addNewest(line: Line): void {
    const last = this.#lines.at(-1);
    const isAtEnd = last !== undefined && line.at > last.at;
    if (isAtEnd && !this.#lines.some(({ id }) => id === line.id)) {
      const kept = this.#lines.slice(1 - MOST_SHOWN);
      const hasLeftOut = kept.length < this.#lines.length;
      // What is left out is loaded again from here, unless the history begins further on.
      if (hasLeftOut && !kept.some(({ id }) => id === this.older)) this.older = kept[0]?.id;
      this.#lines = [...kept, line];
    } else {
      this.add(line);
    }
  }

  /** For the next start of the page: before the message is acked. */
  save(line: Line): void {
    const saved = [...this.#saved().filter(({ id }) => id !== line.id), line].slice(-MOST_SAVED);
    try {
      localStorage.setItem(this.#key, JSON.stringify(saved));
    } catch {
      // The browser has no room left. The history has it, so that the message is not refused for that.
    }
  }

  #saved(): Line[] {
    return JSON.parse(localStorage.getItem(this.#key) ?? '[]') as Line[];
  }
}
