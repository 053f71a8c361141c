import type { Platform } from './platform.js';

/** What {@link electron} needs of Electron's `powerMonitor`. */
export interface PowerMonitor {
  on: (event: 'suspend' | 'resume', listener: () => void) => unknown;
  off: (event: 'suspend' | 'resume', listener: () => void) => unknown;
}

/**
 * For Electron's main process: lets go when the machine falls asleep, and dials once when it wakes.
 * A window's own process needs nothing: it is a page.
 * @example getClient({ ...options, platform: electron({ powerMonitor }) }); // import { powerMonitor } from 'electron'
 */
export function electron({ powerMonitor }: { powerMonitor: PowerMonitor }): Partial<Platform> {
  let asleep = false;
  return {
    phase: () => (asleep ? 'frozen' : 'active'),
    watch: (listener) => {
      const sleep = (): void => {
        asleep = true;
        listener('change');
      };
      const wake = (): void => {
        asleep = false;
        listener('change');
      };
      powerMonitor.on('suspend', sleep);
      powerMonitor.on('resume', wake);
      return () => {
        powerMonitor.off('suspend', sleep);
        powerMonitor.off('resume', wake);
      };
    },
  };
}
