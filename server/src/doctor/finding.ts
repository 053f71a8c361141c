/** - `warning`: it works, and should be better. - `problem`: it does not work, or is not safe. */
export type Level = 'ok' | 'warning' | 'problem';

/** One thing that was looked at. */
export interface Finding {
  level: Level;
  /** What was found. */
  what: string;
  /** How to mend it; undefined when there is nothing to mend. */
  remedy?: string;
}

export const ok = (what: string): Finding => ({ level: 'ok', what });
export const warning = (what: string, remedy: string): Finding => ({
  level: 'warning',
  what,
  remedy,
});
export const problem = (what: string, remedy: string): Finding => ({
  level: 'problem',
  what,
  remedy,
});
