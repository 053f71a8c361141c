import type { TimelineEntry } from '@warren/protocol';

type Told = Omit<TimelineEntry, 'summary'>;

const CLOSED: Record<string, string> = {
  session_replaced: 'a newer session has taken the device over',
  device_removed: 'the device was logged out',
  device_retired: 'it made room for another device of the user',
  device_left: 'its page is gone, which could not remember it',
  user_removed: 'the user was removed',
  revoked: 'access was revoked',
  disconnected: 'the server was asked to disconnect it',
  token_expired: 'its token had ended and was not renewed',
  no_session: 'it had no session',
  too_many_connections: 'the device had newer ones, more than a client needs',
  unknown_identity: 'it was not known whose it was',
};

const FAILED: Record<string, string> = {
  unprovisioned: 'the user had no mailbox',
  offline: 'nobody was connected, and a live message does not wait',
  expired: 'its time was over before it was handled',
  overflowed: 'the mailbox was full, and it was the oldest',
  rejected: 'the application would not have it',
  revoked: 'access was revoked',
  dropped: 'the mailbox was gone, and it with it',
  superseded: 'a newer one with its collapse key took its place',
  push_failed: 'no provider has taken the push',
  no_push_device: 'there was no device to push to',
  unconfirmed: 'no device has said that it handled it',
};

const UNPUSHED: Record<string, string> = { no_device: 'there is no device to push to' };

const REJECTED: Record<string, string> = {
  no_handler: 'there was no handler for it',
  tab_hung: 'the browser tab that handles it hangs',
  handler_timeout: 'the handler took too long',
  undecodable: 'it was not what its content type or schema says',
};

const DEAD: Record<string, string> = {
  expired: 'its time was over before it was handled',
  overflowed: 'the mailbox was full, and it was the oldest',
  rejected: 'a device has rejected it',
};

const OMITTED: Record<string, string> = {
  connections: 'connections that were opened or ended',
  sessions: 'sessions that were opened',
  handler_failed: 'messages that a device has rejected',
  unprovisioned: 'messages to a user without a mailbox',
  offline: 'live messages to nobody',
};

const because = (known: Record<string, string>, reason = ''): string => known[reason] ?? reason;

/** An entry of a timeline in words: what happened, to what, and why. */
export function summaryOf({ kind, deviceId, type, outcome, reason }: Told): string {
  const device = deviceId === undefined ? 'A device' : `The device ${deviceId}`;
  const named = type === undefined ? 'message' : `message ${type}`;
  const message = `A ${named}`;
  switch (kind) {
    case 'connected':
      return `${device} connected.`;
    case 'disconnected':
      return reason === undefined
        ? `${device} disconnected: it went by itself, or the network failed.`
        : `${device} was disconnected: ${because(CLOSED, reason)}.`;
    case 'too_many_connections':
      return `${device} had more connections at once than a client needs: the older ones were closed.`;
    case 'session':
      return reason === 'takeover'
        ? `${device} opened a session in place of an older one.`
        : `${device} opened its first session.`;
    case 'session_ended':
      return `${device} is no more: ${because(CLOSED, reason)}. What waited for it is gone.`;
    case 'mailbox_lost':
      return `The mailbox of ${deviceId === undefined ? 'a device' : `the device ${deviceId}`} has expired or was deleted, with what waited in it.`;
    case 'sent':
      return `${message} was sent.`;
    case 'delivered':
      return `${message} was handled by a device.`;
    case 'read':
      return `${message} was read.`;
    case 'pushed':
      return `${message} was not handled in time, and was pushed.`;
    case 'failed':
      return `${message} failed: ${because(FAILED, outcome)}${outcome?.includes('push') === true && reason !== undefined ? ` (${reason})` : ''}.`;
    case 'unreachable':
      return `${message} reached nobody: ${because(FAILED, outcome)}.`;
    case 'handler_failed':
      return `${device} rejected a ${named}: ${rejection(reason)}.`;
    case 'dead_letter':
      return `${message} became a dead letter: ${because(DEAD, reason)}.`;
    case 'resent':
      return `${message} was sent again by an operator.`;
    case 'discarded':
      return `${message} was discarded by an operator.`;
    case 'omitted':
      return `There was more in this minute than is written down: ${because(OMITTED, reason)}.`;
    case 'push_failed':
      return deviceId === undefined
        ? `${message} was not handled in time and could not be pushed (${because(UNPUSHED, reason)}); it went on waiting for a device.`
        : `A push to the device ${deviceId} failed: ${reason ?? 'no reason given'}.`;
  }
}

/** `handler_failed TypeError`, for one. */
function rejection(reason = 'handler_failed'): string {
  const [code = '', name] = reason.split(' ');
  if (code === 'handler_failed') {
    return name === undefined ? 'its handler failed' : `its handler failed with ${name}`;
  }
  return because(REJECTED, code);
}
