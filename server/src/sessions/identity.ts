/** Who calls a route for users, and since when that is known. */
export interface Identity {
  userId: string;
  /**
   * When the application vouched for it, in milliseconds since 1970: its token's `iat`, 0 when it has
   * none. What was vouched for before the user was revoked is refused.
   */
  issuedAt: number;
}

/** A token without a time of issue counts as the oldest. @param iat seconds since 1970 */
export const issuedAt = (iat: unknown): number => (typeof iat === 'number' ? iat * 1000 : 0);
