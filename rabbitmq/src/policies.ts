import { isAtLeast, LIMITS_DELIVERIES, type Version } from './version.js';
import { DEAD_LETTERS, escapeRegExp, EVENTS, REPLIES, type TopologyNames } from './names.js';

export interface Policy {
  name: string;
  vhost: string;
  pattern: string;
  'apply-to': 'queues' | 'quorum_queues';
  priority: number;
  definition: Record<string, string | number>;
}

/** The policy of all mailboxes, and the one that stands over it where they are quorum queues. */
export const USER_POLICY = 'warren-user';
export const QUORUM_POLICY = 'warren-user-quorum';

const DAY_MS = 24 * 60 * 60 * 1000;
const MIB = 1024 * 1024;

const MAILBOX = {
  'message-ttl': 7 * DAY_MS,
  expires: 30 * DAY_MS,
  'max-length': 10_000,
  // So many of the largest would be 2.5 GB on the broker's disk.
  'max-length-bytes': 64 * MIB,
  overflow: 'drop-head',
  'dead-letter-exchange': DEAD_LETTERS,
};

/**
 * The limits of queues, which stand in policies rather than in queue arguments, because a changed argument makes
 * every later declare fail (406), while a policy can be changed while all is running.
 *
 * @param version of the broker; without it there are only those that every version takes.
 */
export function policies(names: TopologyNames, version?: Version): Policy[] {
  const { vhost, userPrefix, livePrefix } = names;
  const policy = (name: string, prefix: string, definition: Policy['definition']): Policy => ({
    name,
    vhost,
    pattern: `^${escapeRegExp(prefix)}`,
    'apply-to': 'queues',
    priority: 0,
    definition,
  });
  const mailboxes = policy(USER_POLICY, `${userPrefix}.`, MAILBOX);
  return [
    mailboxes,
    ...(isAtLeast(version, LIMITS_DELIVERIES) ? [unlimitedDeliveries(mailboxes)] : []),
    policy('warren-live', `${livePrefix}.`, {
      'message-ttl': 10_000,
      expires: 60_000,
      'max-length': 100,
      overflow: 'drop-head',
    }),
    policy('warren-dead', DEAD_LETTERS, {
      'message-ttl': 7 * DAY_MS,
      'max-length': 100_000,
      'max-length-bytes': 1024 * MIB,
      overflow: 'drop-head',
    }),
    // A back end that is gone must not fill the disk of all others. One key, which queues of every type know.
    ...[EVENTS, REPLIES].map((name) =>
      policy(name.replace('.', '-'), `${name}.`, { 'max-length-bytes': 1024 * MIB }),
    ),
  ];
}

/**
 * A phone that comes and goes gives its messages back each time; the SDK gives up on one whose handler fails, so
 * the queue must not. One queue has one policy, and a policy with a key that a queue's type does not know does not
 * apply to it at all: so this is a second one, with all of the first, that classic queues never see. Older versions
 * know neither -1 nor `quorum_queues`, and have no limit.
 */
function unlimitedDeliveries(mailboxes: Policy): Policy {
  return {
    ...mailboxes,
    name: QUORUM_POLICY,
    'apply-to': 'quorum_queues',
    priority: mailboxes.priority + 1,
    definition: { ...mailboxes.definition, 'delivery-limit': -1 },
  };
}
