import type { LifecycleSignal, Phase, Platform } from '../platform/platform.js';

/** An app that a test puts to sleep and wakes. It begins active and online. */
export class FakeApp {
  #phase: Phase = 'active';
  #online = true;
  readonly #listeners = new Set<(signal: LifecycleSignal) => unknown>();

  /** The parts of a platform that tell of the app's life. */
  readonly platform: Pick<
    Platform,
    'phase' | 'isOnline' | 'watch' | 'background' | 'backgroundTimers' | 'hasTabs'
  > = {
    phase: () => this.#phase,
    isOnline: () => this.#online,
    watch: (listener) => {
      this.#listeners.add(listener);
      return () => {
        this.#listeners.delete(listener);
      };
    },
    background: 'keep',
    backgroundTimers: true,
    hasTabs: false,
  };

  /** How many clients watch the app's life. */
  get watchers(): number {
    return this.#listeners.size;
  }

  /** The user looks at something else. */
  hide(): void {
    this.#go('background');
  }

  /** The system suspends the app: its socket must be closed at once. */
  freeze(): void {
    this.#go('frozen');
  }

  /** The user is back; ends {@link hide} and {@link freeze}. */
  show(): void {
    this.#go('active');
  }

  /** What the device says of its network: {@link FakeBroker.reachable} says what is true. */
  setOnline(online: boolean): void {
    this.#online = online;
    this.nudge();
  }

  /** An event that says nothing new, as `focus` is. */
  nudge(): void {
    for (const listener of [...this.#listeners]) listener('change');
  }

  /** As SIGTERM does. Resolves when every client has ended. */
  async terminate(): Promise<void> {
    await Promise.all([...this.#listeners].map((listener) => listener('terminate')));
  }

  #go(phase: Phase): void {
    this.#phase = phase;
    this.nudge();
  }
}
