/** How long somebody counts as writing after the last word of it. */
const TYPING_MS = 4000;

/** Who writes at this moment, in which conversation. */
export class Typing {
  readonly #onChange: () => void;
  readonly #timers = new Map<string, Map<string, ReturnType<typeof setTimeout>>>();

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  in(conversation: string): string[] {
    return [...(this.#timers.get(conversation)?.keys() ?? [])];
  }

  begin(conversation: string, user: string): void {
    this.end(conversation, user);
    const timers =
      this.#timers.get(conversation) ?? new Map<string, ReturnType<typeof setTimeout>>();
    this.#timers.set(conversation, timers);
    const timer = setTimeout(() => {
      this.end(conversation, user);
    }, TYPING_MS);
    timers.set(user, timer);
    this.#onChange();
  }

  end(conversation: string, user: string): void {
    const timers = this.#timers.get(conversation);
    clearTimeout(timers?.get(user));
    if (timers?.delete(user) === true) this.#onChange();
  }
}
