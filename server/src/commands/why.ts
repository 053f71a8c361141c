import {
  ID_RULE,
  isValidId,
  type AdminMessage,
  type TimelineEntry,
  type TimelineReply,
} from '@warren/protocol';
import { askAdmin, RefusedError, type AdminAccess } from './admin-api.js';
import { printableLine } from './printable.js';

/** Of these, the last one is the answer to why. */
const TROUBLE = new Set([
  'failed',
  'unreachable',
  'handler_failed',
  'dead_letter',
  'mailbox_lost',
  'session_ended',
  'push_failed',
]);
const LOOKS_LIKE_MESSAGE =
  /^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$|resent-)/i;

const UNTRACKED =
  'If it is a message: none of this id is known. Only what is sent with track, push or "delivery": "stored" is.\n';

/**
 * What became of a message, or what happened to a user, for a person to read: the oldest first, and the last
 * trouble by itself.
 * @param subject a user's id, or that of a message.
 */
export async function why(
  access: AdminAccess,
  subject: string,
  { limit }: { limit: number },
): Promise<string> {
  if (!isValidId(subject)) throw new Error(`An id must ${ID_RULE}.`);
  const id = encodeURIComponent(subject);
  const mayBeMessage = LOOKS_LIKE_MESSAGE.test(subject);
  const message = mayBeMessage ? await findMessage(access, id) : undefined;
  if (message !== undefined) return ofMessage(message);
  const query = `limit=${String(limit)}`;
  const path = `users/${id}/timeline?${query}`;
  const { entries, next } = await askAdmin<TimelineReply>(access, 'GET', path);
  if (entries.length === 0) {
    const nothing = `Nothing happened to ${subject} in the last 7 days.\n`;
    return mayBeMessage ? `${nothing}${UNTRACKED}` : nothing;
  }
  const lines = entries.toReversed().map((entry) => lineOf(entry, true));
  const more = next === undefined ? [] : ['… and more before: --limit'];
  return [...more, ...lines, '', verdict(entries)].join('\n') + '\n';
}

async function findMessage(access: AdminAccess, id: string): Promise<AdminMessage | undefined> {
  try {
    return await askAdmin<AdminMessage>(access, 'GET', `messages/${id}`);
  } catch (error) {
    if (error instanceof RefusedError && error.code === 'message_unknown') return undefined;
    throw error;
  }
}

function ofMessage(message: AdminMessage): string {
  const { id, type = 'message', tracked, stored, recipients, events, next } = message;
  const known = [tracked ? 'tracked' : 'not tracked', ...(stored ? ['in the history'] : [])];
  const lines = [`${id}  ${type}  (${known.join(', ')})`];
  for (const { user, outcome, steps } of recipients) {
    lines.push('', `${user}: ${outcome}`, ...steps.map((entry) => `  ${lineOf(entry, false)}`));
  }
  if (next !== undefined) lines.push('', '… and more recipients: see the console');
  if (events.length > 0) {
    lines.push('', ...events.map((entry) => `${entry.user}: ${lineOf(entry, false)}`));
  }
  const all = [...recipients.flatMap(({ steps }) => steps), ...events].sort((a, b) =>
    a.at < b.at ? 1 : -1,
  );
  return [...lines, '', verdict(all)].join('\n') + '\n';
}

const copyOf = ({ user, messageId }: TimelineEntry): string => `${user} ${messageId ?? ''}`;

/**
 * That there was no push is no trouble when it has arrived all the same, nor that a newer message took its place.
 * @param entries the newest first.
 */
function verdict(entries: TimelineEntry[]): string {
  const arrived = new Set(entries.filter(({ kind }) => kind === 'delivered').map(copyOf));
  const trouble = entries.find(
    (entry) =>
      TROUBLE.has(entry.kind) &&
      entry.outcome !== 'superseded' &&
      (entry.kind !== 'push_failed' || !arrived.has(copyOf(entry))),
  );
  return trouble === undefined ? 'No trouble is known.' : `The last trouble: ${trouble.summary}`;
}

function lineOf({ at, summary, messageId }: TimelineEntry, withMessage: boolean): string {
  const message = withMessage && messageId !== undefined ? `  ${messageId}` : '';
  return printableLine(`${at}  ${summary}${message}`);
}
