type Listener<Event> = (event: Event) => void;

/** Tells listeners of events. One that throws is reported like any uncaught error and stops nobody. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** @returns an idempotent function that removes the listener. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    // Wrapped, so that the same function added twice is told twice and removed one by one.
    const own: Listener<Events[Name]> = (event) => {
      listener(event);
    };
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    listeners.add(own);
    return () => {
      listeners.delete(own);
    };
  }

  /** @returns whether anybody listens. */
  emit<Name extends keyof Events>(name: Name, event: Events[Name]): boolean {
    const listeners = [...(this.#listeners.get(name) ?? [])] as Listener<Events[Name]>[];
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        throwLater(error);
      }
    }
    return listeners.length > 0;
  }
}

/**
 * Tells a page's error trackers as of an uncaught error; elsewhere the console: in Node an uncaught error ends the
 * process, and with it the work of all other messages.
 */
export function report(error: unknown): void {
  const { reportError = console.error } = globalThis as Partial<typeof globalThis>;
  reportError(error);
}

/** Reports what a function of the application threw like any uncaught error, and lets the rest go on. */
export function throwLater(error: unknown): void {
  setTimeout(() => {
    throw error;
  }, 0);
}
