import { isValidMessageId, recipientSchema, type AdminMessage } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import type { HistoryStore } from '../storage/history.js';
import type { MessageStore } from '../storage/messages.js';
import type { PushStore } from '../storage/pushes.js';
import { stepsOf, type Timeline } from '../timeline/timeline.js';

export interface MessageLivesOptions {
  messages: MessageStore;
  pushes: PushStore;
  history: HistoryStore;
  timeline: Timeline;
}

/** All that is known of a message, for whoever wants to know why it did not arrive. */
export class MessageLives {
  readonly #options: MessageLivesOptions;

  constructor(options: MessageLivesOptions) {
    this.#options = options;
  }

  /** @throws {HttpProblem} `message_unknown` */
  async look(
    id: string,
    page: { after?: string | undefined; limit: number },
  ): Promise<AdminMessage> {
    const { messages, history, timeline } = this.#options;
    // A back end that publishes by AMQP may have used another one, of which only the timeline tells.
    const mayBeKept = isValidMessageId(id);
    const [message, stored, events] = await Promise.all([
      mayBeKept ? messages.findWhole(id) : undefined,
      mayBeKept ? history.describe(id) : undefined,
      timeline.ofMessage(id),
    ]);
    if (message === undefined && stored === undefined && events.length === 0) {
      throw new HttpProblem('message_unknown');
    }
    const type = message?.type ?? stored?.type ?? events.find((event) => event.type)?.type;
    const at = message?.createdAt ?? stored?.at;
    const to = message?.target ?? readTarget(stored?.target);
    const from = message?.from ?? stored?.from;
    return {
      id,
      ...(type !== undefined && { type }),
      ...(at !== undefined && { createdAt: toIso(at) }),
      ...(message !== undefined && {
        expiresAt: toIso(message.expiresAt),
        confirmed: message.isConfirmed,
      }),
      ...(to !== undefined && { to }),
      ...(from !== undefined && { from }),
      tracked: message !== undefined,
      stored: stored !== undefined,
      ...(message === undefined
        ? { counts: {}, recipients: [] }
        : await this.#recipients({ ...message, id }, page)),
      events,
    };
  }

  async #recipients(
    { id, type, createdAt }: { id: string; type: string; createdAt: number },
    page: { after?: string | undefined; limit: number },
  ): Promise<Pick<AdminMessage, 'counts' | 'recipients' | 'next'>> {
    const { messages, pushes } = this.#options;
    const states = await messages.listRecipients(id, page);
    const users = states.map(({ userId }) => userId);
    const attempts = await pushes.listOf(id, users);
    const next = states.length === page.limit ? users.at(-1) : undefined;
    return {
      counts: await messages.counts(id),
      recipients: states.map((state) => ({
        user: state.userId,
        outcome: state.outcome,
        steps: stepsOf({
          message_id: id,
          user_id: state.userId,
          type,
          created_at: createdAt,
          outcome: state.outcome,
          outcome_at: state.outcomeAt,
          delivered_at: state.deliveredAt,
          read_at: state.readAt,
          pushed_at: state.pushedAt,
          push_failed_at: state.pushFailedAt,
          reason: state.reason,
        }),
        pushes: attempts
          .filter(({ userId }) => userId === state.userId)
          .map(({ deviceId, provider, state: push, reason }) => ({
            deviceId,
            provider,
            state: push,
            ...(reason !== null && { reason }),
          })),
      })),
      ...(next !== undefined && { next }),
    };
  }
}

const toIso = (at: number): string => new Date(at).toISOString();

/** As the history keeps it. */
function readTarget(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    const target: unknown = JSON.parse(text);
    return recipientSchema.safeParse(target).data ?? target;
  } catch {
    return undefined;
  }
}
