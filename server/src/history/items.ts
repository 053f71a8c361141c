import type { Recipient } from '@warren/protocol';
import { fromStored } from '../storage/ids.js';
import type { HistoryRow } from '../storage/history.js';
import type { KeptProperties } from './record.js';

/**
 * A message as JSON. The payload is put in as it came: written again, numbers of more than 53 bits would be
 * others.
 * @param owner of the view that it is read from; undefined for a group's.
 */
export function toItem(row: HistoryRow, owner: string | undefined): string {
  const { contentType, correlationId, headers } = JSON.parse(
    row.properties ?? '{}',
  ) as KeptProperties;
  const rest = {
    id: row.message_id,
    type: row.type,
    ...(row.from_user !== null && { from: fromStored(row.from_user) }),
    to: seenBy(owner, JSON.parse(row.target) as Recipient),
    at: new Date(row.at).toISOString(),
    ...(contentType !== undefined && { contentType }),
    ...(correlationId !== undefined && { correlationId }),
    ...(headers !== undefined && { headers }),
  };
  const payload = row.is_base64 === 1 ? `"base64":"${row.body}"` : `"data":${row.body}`;
  return `${JSON.stringify(rest).slice(0, -1)},${payload}}`;
}

/** Nobody learns who else is on a list, nor how many are. */
const seenBy = (owner: string | undefined, to: Recipient): Recipient =>
  'users' in to && owner !== undefined ? { user: owner } : to;
