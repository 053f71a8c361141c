import type { Platform } from './platform.js';

/** What {@link node} needs of Node's `process`. */
interface Process {
  pid: number;
  on: (event: string, listener: () => void) => unknown;
  off: (event: string, listener: () => void) => unknown;
  listenerCount: (event: string) => number;
  kill: (pid: number, signal: string) => unknown;
}

export interface NodeOptions {
  /** Signals that end the process. Default `['SIGTERM', 'SIGINT']`. */
  signals?: string[];
}

/**
 * For Node: ends with the process. On a signal the client stops, which lets a running handler end
 * (`drainMs` at the longest) and gives back what was not begun; then the signal takes its course,
 * unless the application listens to it too and so decides itself.
 *
 * Not the default, since a library that is only imported must not change how a process ends.
 * @example getClient({ ...options, transport: amqp(), platform: node() });
 */
export function node({ signals = ['SIGTERM', 'SIGINT'] }: NodeOptions = {}): Partial<Platform> {
  const { process } = globalThis as unknown as { process: Process };
  return {
    watch: (listener) => {
      const removers = signals.map((signal) => {
        const end = (): void => {
          void Promise.resolve(listener('terminate')).then(() => {
            process.off(signal, end);
            // With nobody left who listens, Node's own way to end has been switched on again.
            if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
          });
        };
        process.on(signal, end);
        return () => process.off(signal, end);
      });
      return () => {
        for (const remove of removers) remove();
      };
    },
  };
}
