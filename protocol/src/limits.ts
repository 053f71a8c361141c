/** As long as a mailbox keeps a message when nothing else is said: 7 days. */
export const MAX_TTL_MS = 7 * 24 * 60 * 60 * 1000;
