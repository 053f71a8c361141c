import type { AdminRole } from '@warren/protocol';

/** Who calls a route for users, and since when that is known. */
export interface Identity {
  userId: string;
  /**
   * When the application vouched for it, in milliseconds since 1970: its token's `iat`, 0 when it has
   * none. What was vouched for before the user was revoked is refused.
   */
  issuedAt: number;
  /** How far ahead of this server's clock that was when the token was shown, in milliseconds. Default 0. */
  aheadMs?: number;
  /** How far ahead it may be, in milliseconds. Default: as far as it likes. */
  mostAheadMs?: number;
  /** What the user may do in the admin console. Default: it may not enter it. */
  role?: AdminRole | undefined;
  /**
   * When the token ends that says so, in milliseconds since 1970; the console's end with it. Default: they last for
   * half a day.
   */
  expiresAt?: number | undefined;
}

/** A token without a time of issue counts as the oldest. @param iat seconds since 1970 */
export const issuedAt = (iat: unknown): number =>
  typeof iat === 'number' ? Math.max(0, iat * 1000) : 0;
