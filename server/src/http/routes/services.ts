import { idSchema } from '@warren/protocol';
import type { Consoles } from '../../console/consoles.js';
import type { MessageLives } from '../../console/messages.js';
import type { DeadLetters } from '../../dead-letters/dead-letters.js';
import type { History } from '../../history/history.js';
import type { Recovery } from '../../history/recovery.js';
import type { Groups } from '../../groups/groups.js';
import type { Metrics } from '../../metrics.js';
import { HttpProblem } from '../../problem.js';
import type { Registrations } from '../../push/registrations.js';
import type { Answer } from '../../publisher/replies.js';
import type { ClientMessages } from '../../sending/client-messages.js';
import type { Requests } from '../../sending/requests.js';
import type { Sender } from '../../sending/sender.js';
import type { AdminTokens } from '../../sessions/admin-tokens.js';
import type { OwnTokens } from '../../sessions/own-tokens.js';
import type { Sessions } from '../../sessions/sessions.js';
import type { UserExport } from '../../sessions/user-export.js';
import type { Users } from '../../sessions/users.js';
import type { AuditStore } from '../../storage/audit.js';
import type { Directory } from '../../storage/directory.js';
import type { Timeline } from '../../timeline/timeline.js';
import type { Headcount } from '../../presence/headcount.js';
import type { Presence } from '../../presence/presence.js';
import type { Receipts } from '../../tracking/receipts.js';
import type { Tracker } from '../../tracking/tracker.js';
import type { RouteContext } from '../route.js';

/** What the routes hand their work to. */
export interface Services {
  sessions: Sessions;
  users: Users;
  userExport: UserExport;
  groups: Groups;
  ownTokens: OwnTokens;
  sender: Sender;
  tracker: Tracker;
  receipts: Receipts;
  requests: Requests;
  clientMessages: ClientMessages;
  /** Hands a client's answer over; false when nobody waits for it. */
  answer: (answer: Answer) => Promise<boolean>;
  presence: Presence;
  history: History;
  recovery: Recovery;
  registrations: Registrations;
  timeline: Timeline;
  adminTokens: AdminTokens;
  consoles: Consoles;
  directory: Directory;
  headcount: Headcount;
  messageLives: MessageLives;
  deadLetters: DeadLetters;
  audit: AuditStore;
  metrics: Metrics;
  /** Whether anybody may read them at `/metrics`. */
  servesMetrics: boolean;
  /** What `/health/ready` tells. */
  health: () => Promise<Health>;
}

export interface Health {
  /** Of each part that nothing works without. */
  checks: Record<string, 'up' | 'down'>;
  /** Mailboxes that are not replaced yet: to their users nothing can be sent, nor to all. */
  deadMailboxes: number;
}

/** The id in the path. @throws {HttpProblem} `invalid_id` */
export function idIn({ params }: RouteContext<unknown>, name = 'id'): string {
  const result = idSchema.safeParse(params[name]);
  if (!result.success) throw new HttpProblem('invalid_id');
  return result.data;
}
