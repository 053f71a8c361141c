/** Major, minor, patch. */
export type Version = readonly [major: number, minor: number, patch: number];

/** Undefined for what is no version. What follows the patch (`-rc.1`) is left aside. */
export function parseVersion(text: string): Version | undefined {
  const found = /^(\d+)\.(\d+)\.(\d+)/.exec(text);
  if (found === null) return undefined;
  return [Number(found[1]), Number(found[2]), Number(found[3])];
}

/** An unknown version is older than any other, so that nothing is asked of it which it may not know. */
export function isAtLeast(version: Version | undefined, other: Version): boolean {
  if (version === undefined) return false;
  for (const [index, part] of other.entries()) {
    const difference = (version[index] ?? 0) - part;
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** The first that looks at the Origin of a WebSocket (CVE-2026-67405), if it is told to. */
export const CHECKS_ORIGINS: Version = [4, 2, 6];

/** The first whose Web-STOMP goes by `stomp.max_frame_size` after the login, whatever `ws_opts` says. */
export const RAISES_FRAMES: Version = [4, 2, 6];

/**
 * The first whose queues survive whatever headers a message has. Older ones read `x-death` when a message expires, is
 * dropped or rejected, and in a form that RabbitMQ itself never writes it crashes the process of the queue
 * (rabbit_dead_letter.erl): of a classic one again and again; a quorum queue comes back without the message, if it was
 * not one of several. 3.13 is mended, too, but only with its feature flag
 * `message_containers`, which a node that was updated need not have.
 */
export const SURVIVES_HEADERS: Version = [4, 0, 0];

/** The first whose quorum queues give a message up that was returned 20 times, and can be told not to. */
export const LIMITS_DELIVERIES: Version = [4, 0, 0];
