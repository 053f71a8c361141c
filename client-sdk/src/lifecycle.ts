import type { PauseCode } from './errors.js';
import type { Platform } from './platform/platform.js';

/**
 * What becomes of the connection while the app is in the background.
 * - `'disconnect'`: closed at once; the mailbox collects. - `'keep'`: stays, as long as the system lets
 *   it. - `{ graceMs }`: closed after so many milliseconds, which spares a connection when somebody
 *   only looks at another app; at once where timers stop in the background (React Native).
 */
export type Background = 'disconnect' | 'keep' | { graceMs: number };

export interface LifecycleOptions {
  platform: Platform;
  background: Background;
  /** The obstacle may have changed, or the app has just been woken. */
  onChange: () => void;
  /** The process is to end, when what this returns has resolved. */
  onTerminate: () => Promise<void>;
}

/** Whether the app's life allows for a connection now. */
export class Lifecycle {
  readonly #options: LifecycleOptions;
  #unwatch: (() => void) | undefined;
  #hiddenAt: number | undefined;
  #timer: unknown;

  constructor(options: LifecycleOptions) {
    this.#options = options;
  }

  /** What stands in the way at this moment. */
  get obstacle(): Extract<PauseCode, 'frozen' | 'background'> | undefined {
    const { platform, background } = this.#options;
    const phase = platform.phase();
    if (phase === 'frozen') return 'frozen';
    if (phase === 'active' || background === 'keep') return undefined;
    if (background === 'disconnect' || !platform.backgroundTimers) return 'background';
    const hiddenAt = this.#hiddenAt ?? platform.now();
    return platform.now() - hiddenAt >= background.graceMs ? 'background' : undefined;
  }

  /** Whether the app may stop running before anything that takes time has ended. */
  get isUrgent(): boolean {
    const { platform } = this.#options;
    const phase = platform.phase();
    return phase === 'frozen' || (phase === 'background' && !platform.backgroundTimers);
  }

  watch(): void {
    if (this.#unwatch !== undefined) return;
    const { platform, onChange, onTerminate } = this.#options;
    this.#note();
    this.#unwatch = platform.watch((signal) => {
      if (signal === 'terminate') return onTerminate();
      this.#note();
      onChange();
      return undefined;
    });
  }

  unwatch(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    this.#hiddenAt = undefined;
    this.#options.platform.clearTimer(this.#timer);
  }

  /** Remembers since when the app is in the background, and looks again when its grace is over. */
  #note(): void {
    const { platform, background, onChange } = this.#options;
    if (platform.phase() === 'active') {
      this.#hiddenAt = undefined;
      platform.clearTimer(this.#timer);
    } else if (this.#hiddenAt === undefined) {
      this.#hiddenAt = platform.now();
      if (typeof background === 'object') {
        this.#timer = platform.setTimer(onChange, background.graceMs);
      }
    }
  }
}
