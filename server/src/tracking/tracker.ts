import { createHash } from 'node:crypto';
import {
  isValidMessageId,
  MAX_TTL_MS,
  type MessageState,
  type Outcome,
  type ReceiptsBody,
  type Recipient,
  type SendBody,
  type SendReply,
} from '@warren/protocol';
import type { Events } from '../events/events.js';
import { HttpProblem } from '../problem.js';
import { encode } from '../publisher/compose.js';
import { pushExpiresAt } from '../push/notification.js';
import { inboxOf, mailboxesOf, type Device, type DeviceStore } from '../storage/devices.js';
import type { MessageStore, RecipientState } from '../storage/messages.js';
import { isPushFailure, type Failure, type OutcomeStore, type Sent } from '../storage/outcomes.js';
import type { PushDecisionStore } from '../storage/push-decisions.js';

export interface TrackerOptions {
  store: MessageStore;
  outcomes: OutcomeStore;
  devices: DeviceStore;
  pushDecisions: PushDecisionStore;
  events: Events;
  /** Whether the history has a message that nobody follows. */
  isStored: (id: string) => Promise<boolean>;
  /** How long after a message's time it is settled without word of it, in milliseconds. */
  unconfirmedAfterMs: number;
}

/** As long as a live queue keeps a message. */
const LIVE_TTL_MS = 10_000;
/** Recipients that are read at once. */
const PAGE = 1000;

/** Follows messages whose senders want to know what becomes of them. */
export class Tracker {
  readonly #options: TrackerOptions;

  constructor(options: TrackerOptions) {
    this.#options = options;
  }

  /**
   * Before it is published.
   * @returns `done`: it was published before, by whoever has sent it; `repeated`: somebody has tried to.
   * @throws {HttpProblem} `id_reused`
   */
  async begin(
    body: SendBody & { id: string },
    outcomes: { user: string; outcome: Outcome }[],
  ): Promise<'begun' | 'repeated' | 'done'> {
    const { store, events, unconfirmedAfterMs } = this.#options;
    const { to, id, type, delivery, from, push } = body;
    const createdAt = Date.now();
    const expiresAt = createdAt + (body.ttlMs ?? (delivery === 'live' ? LIVE_TTL_MS : MAX_TTL_MS));
    const fingerprint = fingerprintOf(body);
    const known = await store.begin(
      {
        id,
        fingerprint,
        type,
        target: 'users' in to ? { users: to.users.length } : to,
        queue: await this.#queueOf(to),
        createdAt,
        expiresAt,
        deadline:
          Math.max(
            expiresAt,
            push === undefined ? 0 : pushExpiresAt(push, { createdAt, expiresAt }),
          ) + unconfirmedAfterMs,
        from,
        push: push && { content: push, at: createdAt + push.afterMs },
      },
      outcomes,
    );
    if (known === undefined) {
      events.poke();
      return 'begun';
    }
    if (known.fingerprint !== fingerprint) throw new HttpProblem('id_reused');
    return known.isConfirmed ? 'done' : 'repeated';
  }

  /** After it was published. @param outcome of all together, as the broker says. */
  async confirm({ id, push }: SendBody & { id: string }, outcome: Outcome): Promise<void> {
    const { store, outcomes } = this.#options;
    await store.confirm(id);
    // That the history has it says nothing about the mailboxes; and a push may still reach somebody.
    if (outcome === 'queued' || outcome === 'stored' || push !== undefined) return;
    await this.#tell(outcomes.settle(id, outcome, Date.now()));
  }

  /** The broker says that nobody has it, so that nobody's ack is to be waited for. */
  async hastenPush(id: string): Promise<void> {
    await this.#options.pushDecisions.hasten(id, Date.now());
  }

  /** It was not sent. */
  async abandon(id: string): Promise<void> {
    await this.#options.store.remove(id);
  }

  /** What was answered when it was sent, as far as it is known now. */
  async replyFor({ id, to, delivery }: SendBody & { id: string }): Promise<SendReply> {
    if ('group' in to || 'broadcast' in to) {
      return { id, outcome: delivery === 'stored' ? 'stored' : await this.#outcomeOf(id) };
    }
    const states = new Map<string, RecipientState>();
    for (let after: string | undefined; ;) {
      const page = await this.#options.store.listRecipients(id, { after, limit: PAGE });
      for (const state of page) states.set(state.userId, state);
      if (page.length < PAGE) break;
      after = page.at(-1)?.userId;
    }
    const users = 'users' in to ? to.users : ['user' in to ? to.user : to.device.user];
    return {
      id,
      recipients: users.map((user) => {
        const outcome = states.get(user)?.outcome;
        const isLost = outcome === 'unprovisioned' || outcome === 'offline';
        return { user, outcome: isLost ? outcome : 'queued' };
      }),
    };
  }

  /** @throws {HttpProblem} `message_unknown`, `message_not_tracked` */
  async state(
    id: string,
    page: { after?: string | undefined; limit: number },
  ): Promise<MessageState> {
    const { store } = this.#options;
    if (!isValidMessageId(id)) throw new HttpProblem('message_unknown');
    const message = await store.find(id);
    if (message === undefined) {
      const isStored = await this.#options.isStored(id);
      throw new HttpProblem(isStored ? 'message_not_tracked' : 'message_unknown');
    }
    const recipients = await store.listRecipients(id, page);
    const last = recipients.length === page.limit ? recipients.at(-1)?.userId : undefined;
    return {
      id,
      type: message.type,
      createdAt: toIso(message.createdAt),
      counts: await store.counts(id),
      recipients: recipients.map(toPublic),
      ...(last !== undefined && { next: last }),
    };
  }

  /**
   * A client tells what it has handled, what its user has read, and what it passed over for newer ones.
   * @returns those of whose delivery it is the first word, and when they were sent.
   */
  async receive(
    userId: string,
    receipts: Pick<ReceiptsBody, 'deviceId' | 'delivered' | 'read' | 'superseded'>,
  ): Promise<Sent[]> {
    const { outcomes, devices } = this.#options;
    const { deviceId, superseded } = receipts;
    const now = Date.now();
    const delivered = await this.#tell(outcomes.setDelivered(userId, receipts.delivered, now));
    await this.#tell(outcomes.setRead(userId, receipts.read, now));
    if (deviceId === undefined || superseded.length === 0) return delivered;
    const device = await devices.find(userId, deviceId);
    for (const queue of device === undefined ? [] : mailboxesOf(device)) {
      await this.#tell(outcomes.failCopies(superseded, userId, queue, 'superseded', now));
    }
    return delivered;
  }

  /** The broker has given messages up that waited in this mailbox. */
  async copiesFailed(ids: string[], queue: string, reason: Failure): Promise<void> {
    const { outcomes, devices } = this.#options;
    const device = await devices.findByQueue(queue);
    // A mailbox that is gone has taken all that was in it along.
    if (device === undefined) return;
    await this.#tell(outcomes.failCopies(ids, device.user_id, queue, reason, Date.now()));
  }

  /** These mailboxes are gone with all that waited in them. */
  async mailboxesGone(devices: Device[], reason: Failure, before = Date.now()): Promise<void> {
    for (const device of devices) {
      for (const queue of mailboxesOf(device)) {
        await this.mailboxGone(device, queue, reason, before);
      }
    }
  }

  /** As {@link mailboxesGone}, of one that a device had beside another. */
  async mailboxGone(
    { user_id: userId }: Device,
    queue: string,
    reason: Failure,
    before = Date.now(),
  ): Promise<void> {
    await this.#tell(this.#options.outcomes.failMailbox(userId, queue, reason, before));
  }

  /** Of all recipients together. */
  async #outcomeOf(id: string): Promise<Outcome> {
    const { unprovisioned = 0, offline = 0, ...others } = await this.#options.store.counts(id);
    if (Object.keys(others).length > 0) return 'queued';
    return offline > 0 || unprovisioned === 0 ? 'offline' : 'unprovisioned';
  }

  async #tell<Result>(change: Promise<Result>): Promise<Result> {
    const result = await change;
    this.#options.events.poke();
    return result;
  }

  async #queueOf(to: Recipient): Promise<string | null> {
    if (!('device' in to)) return null;
    const device = await this.#options.devices.find(to.device.user, to.device.device);
    return device === undefined ? null : inboxOf(device);
  }
}

/** Of everything that a sender says, so that the same id cannot be used for something else. */
function fingerprintOf(body: SendBody & { id: string }): string {
  const { to, type, data, delivery, ttlMs, collapseKey, from, push, id } = body;
  const said = encode([to, type, data, delivery, ttlMs, collapseKey, from, push], id, Infinity);
  return createHash('sha256').update(said).digest('base64url');
}

const toIso = (at: number): string => new Date(at).toISOString();

const toPublic = (state: RecipientState): MessageState['recipients'][number] => ({
  user: state.userId,
  outcome: state.outcome,
  since: toIso(state.outcomeAt),
  ...(state.deliveredAt !== null && { deliveredAt: toIso(state.deliveredAt) }),
  ...(state.readAt !== null && { readAt: toIso(state.readAt) }),
  ...(state.pushedAt !== null && { pushedAt: toIso(state.pushedAt) }),
  ...(isPushFailure(state.outcome) && state.reason !== null && { reason: state.reason }),
});
