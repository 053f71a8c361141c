import { createHash } from 'node:crypto';
import { pushSchema, type ClientSendBody, type ClientSendReply, type Push } from '@warren/protocol';
import { uuidv7 } from 'uuidv7';
import type { Groups } from '../groups/groups.js';
import type { RateLimiter } from '../http/rate-limits.js';
import type { ClientMessage, Policy } from '../outbound/policy.js';
import { DEFAULT_MAX_MESSAGE_BYTES, encode } from '../publisher/compose.js';
import { HttpProblem } from '../problem.js';
import type { Sender } from './sender.js';

export interface ClientMessagesOptions {
  sender: Sender;
  groups: Groups;
  /** Undefined: no client may send anything. */
  policy: Policy | undefined;
  rates: Pick<RateLimiter, 'take'>;
}

const KIB = 1024;

/** Messages that clients send to each other, as far as the application allows it. */
export class ClientMessages {
  readonly #options: ClientMessagesOptions;

  constructor(options: ClientMessagesOptions) {
    this.#options = options;
  }

  /**
   * Tells nothing of the recipients: whether somebody exists or is online is not for everybody to know.
   * @throws {HttpProblem} `not_allowed`, `not_a_member`, `rate_limited`, `policy_unavailable`
   * @throws {PublishError}
   */
  async send(from: string, body: ClientSendBody): Promise<ClientSendReply> {
    const { sender, groups, policy, rates } = this.#options;
    const { to, type, data, delivery } = body;
    if (policy === undefined) throw new HttpProblem('not_allowed');
    // Also of a group that does not exist.
    if ('group' in to && !(await groups.isMember(to.group, from))) {
      throw new HttpProblem('not_a_member');
    }
    const id = ownId(from, body.id ?? uuidv7());
    // Before anybody else has to write it down. Each device of all recipients keeps a copy, and the history one.
    const { length } = encode(data, id, DEFAULT_MAX_MESSAGE_BYTES);
    await rates.take(`sent:${from}`, Math.ceil(length / KIB));
    const push = await askFor(policy, { from, to, type, data, delivery });
    await sender.send({ ...body, id, from, track: false, push }, `user:${from}`);
    return { id };
  }
}

/**
 * @returns the push that the application wants for it, if any.
 * @throws {HttpProblem} `not_allowed`, `policy_unavailable`
 */
async function askFor(policy: Policy, message: ClientMessage): Promise<Push | undefined> {
  let answer: unknown;
  try {
    // It may be written in JavaScript.
    answer = await policy(message);
  } catch (error) {
    if (error instanceof HttpProblem) throw error;
    throw new HttpProblem('policy_unavailable', undefined, { cause: error });
  }
  if (answer === true) return undefined;
  const { push } = Object(answer) as { push?: unknown };
  if (push === undefined) throw new HttpProblem('not_allowed');
  const parsed = pushSchema.safeParse(push);
  if (parsed.success) return parsed.data;
  // Its texts may stand in the error.
  throw new HttpProblem('policy_unavailable', 'The policy answered with a push that is none.');
}

/**
 * Ids of clients are kept apart from each other's and from the application's: whoever could choose the
 * id of another message would have that one taken for a repetition.
 */
function ownId(userId: string, id: string): string {
  const sender = createHash('sha256').update(userId, 'utf8').digest('base64url').slice(0, 16);
  return `${sender}.${id}`;
}
