import { join } from 'node:path';

/** In the data directory. */
export const DATABASE_FILE = 'warren.sqlite';

/**
 * SQLSTATE classes of a server that is away, full, starting or going down, and errors within it; SQLite's
 * codes of a file that is locked, on a full or broken disk, or damaged; and Node's own codes.
 */
const UNAVAILABLE =
  /^(08...|53...|57P0.|58...|XX...|25006|SQLITE_(BUSY|LOCKED|FULL|IOERR|READONLY|CANTOPEN|CORRUPT|NOTADB|PERM)|ECONN|EPIPE|ENOTFOUND|EAI_AGAIN|ETIMEDOUT)/;

/** SQLSTATE classes and SQLite's codes of data that no attempt would write. */
const UNFIT = /^(22...|23...|54...|SQLITE_(TOOBIG|MISMATCH|CONSTRAINT))/;

/** Whether what was to be written is the reason, rather than the database. */
export const isUnfitForDatabase = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  typeof error.code === 'string' &&
  UNFIT.test(error.code);

/** Whether a text or a number is the reason that no column could hold: NUL, a number that is too large. */
export const isMalformedForDatabase = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  typeof error.code === 'string' &&
  /^(22(001|003|021|P02|P05)|SQLITE_TOOBIG)$/.test(error.code);

/** Whether the database could not be asked; anything else that it throws is a bug. */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && typeof error.code === 'string') return UNAVAILABLE.test(error.code);
  // node-postgres throws these without a code.
  return /^(Connection terminated|Query read timeout|timeout exceeded when trying to connect)/.test(
    error.message,
  );
}

/** What to do about a file, by the beginning of SQLite's code. */
const REMEDIES: [code: string, what: string, remedy: string][] = [
  [
    'SQLITE_NOTADB',
    'is damaged, or no database',
    'Put a backup of it in its place. Stored messages that it did not have yet wait on the broker.',
  ],
  [
    'SQLITE_CORRUPT',
    'is damaged',
    'Put a backup of it in its place. Stored messages that it did not have yet wait on the broker.',
  ],
  ['SQLITE_FULL', 'cannot grow: the disk is full', 'Make room on the disk.'],
  ['SQLITE_BUSY', 'is locked by another program', 'End the program that has it open.'],
  ['SQLITE_CANTOPEN', 'cannot be opened', 'Let this account read and write it and its directory.'],
  ['SQLITE_READONLY', 'cannot be written', 'Let this account write it and its directory.'],
];

/** The database cannot be used at all. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';
  readonly code = 'database_unusable';
  readonly remedy: string;

  /** @param dataDir where the file lies; undefined for PostgreSQL. */
  constructor(dataDir: string | undefined, cause: unknown) {
    const code = codeOf(cause) ?? '';
    const known = REMEDIES.find(([start]) => code.startsWith(start));
    const { what, remedy } =
      dataDir === undefined
        ? {
            what: 'The database of WARREN_DATABASE_URL cannot be used',
            remedy: 'See that it runs and may be reached, and that the account may make tables.',
          }
        : {
            what: `The database ${join(dataDir, DATABASE_FILE)} ${known?.[1] ?? 'cannot be used'}`,
            remedy: known?.[2] ?? 'See the cause, and the log.',
          };
    super(`${what}${code === '' ? '' : ` (${code})`}.`, { cause });
    this.remedy = remedy;
  }
}

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined;
