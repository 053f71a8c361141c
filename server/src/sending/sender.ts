import {
  sendBodySchema,
  type BatchReply,
  type Outcome,
  type Recipient,
  type SendBody,
  type SendReply,
} from '@warren/protocol';
import type { Logger } from 'pino';
import { uuidv7 } from 'uuidv7';
import type { Provisioner } from '../broker/provisioner.js';
import { FairLimit } from '../fair-limit.js';
import type { Groups } from '../groups/groups.js';
import type { RateLimiter } from '../http/rate-limits.js';
import type { Metrics } from '../metrics.js';
import { HttpProblem } from '../problem.js';
import { PublishError, type Publisher, type SendResult } from '../publisher/index.js';
import type { PushJobs } from '../push/jobs.js';
import type { AuditStore } from '../storage/audit.js';
import type { TimelineWriter } from '../timeline/writer.js';
import { toProblem } from '../to-problem.js';
import type { Tracker } from '../tracking/tracker.js';
import { parse } from '../validation.js';
import type { Outcomes, Recipients } from './recipients.js';

export interface SenderOptions {
  publisher: Publisher;
  provisioner: Provisioner;
  recipients: Recipients;
  groups: Groups;
  tracker: Tracker;
  pushJobs: PushJobs;
  rates: RateLimiter;
  audit: AuditStore;
  timeline: TimelineWriter;
  metrics: Metrics;
  /** Called when the broker has not confirmed a message. */
  onUnconfirmed: () => void;
  logger: Logger;
}

/**
 * Of one sender, in each process, and as many of its batches. One that has thousands of messages under way waits for
 * the database behind itself: what others ask of it does not stand in that line.
 */
const IN_DATABASE_AT_ONCE = 16;
/** Messages of one sender; more of them would fill the memory. */
const MAX_WAITING = 10_000;

/** A message that has been looked up, and has only to be published. */
interface Prepared {
  /** Whom it waits with for the database. */
  lane: string;
  body: SendBody & { id: string };
  /** Of a list or a stored message: what becomes of it for each, if it is confirmed. */
  outcomes: Outcomes | undefined;
  /** Undefined for a message that nobody follows. */
  tracking: 'begun' | 'repeated' | 'done' | undefined;
  /** When the first of them is due for a push, in milliseconds since 1970. */
  pushAt: number;
}

const isToOne = (to: Recipient): boolean => 'user' in to || 'device' in to;

/** What `POST /v1/messages` does: sees who can be reached, publishes, and says what became of it. */
export class Sender {
  readonly #options: SenderOptions;
  readonly #places = new FairLimit(Infinity, IN_DATABASE_AT_ONCE);
  /** Of each who sends in turn, the last. */
  readonly #turns = new Map<string, Promise<void>>();

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /**
   * @param caller who asks: in the audit of broadcasts, and one of those who take turns.
   * @throws {PublishError} @throws {HttpProblem} `group_unknown`, `id_reused`, `rate_limited`, `overloaded`
   */
  async send(body: SendBody, caller: string): Promise<SendReply> {
    this.#refuseIfFull(caller);
    return this.#publish(await this.#prepare(body, caller));
  }

  /** As {@link send}; those of one caller are published in the order in which they are called. */
  async sendInTurn(body: SendBody, caller: string): Promise<SendReply> {
    const before = this.#turns.get(caller) ?? Promise.resolve();
    const prepared = before.then(() => this.#prepare(body, caller));
    const turn = prepared
      .catch(() => undefined)
      .then(() => {
        if (this.#turns.get(caller) === turn) this.#turns.delete(caller);
      });
    this.#turns.set(caller, turn);
    return prepared.then((message) => this.#publish(message));
  }

  /**
   * Each is checked and sent by itself. What they need to know is looked up first, for all at once; they
   * are published in their order.
   * @throws {HttpProblem} `overloaded`: nothing was sent.
   */
  async sendBatch(messages: unknown[], caller: string): Promise<BatchReply['results']> {
    // What is sent one by one does not wait behind all of it.
    const lane = `batches of ${caller}`;
    this.#refuseIfFull(lane);
    const prepared = await Promise.all(
      messages.map((message) =>
        attempt(async () => this.#prepare(parse(sendBodySchema, message), caller, lane)),
      ),
    );
    const results: Promise<SendReply | Error>[] = [];
    let underWay: Promise<unknown>[] = [];
    let wasToOne: boolean | undefined;
    for (const entry of prepared) {
      if (entry instanceof Error) {
        results.push(Promise.resolve(entry));
        continue;
      }
      // Messages to one user and to many go by different channels, which keep no common order.
      const toOne = isToOne(entry.body.to);
      if (wasToOne !== undefined && toOne !== wasToOne) {
        await Promise.all(underWay);
        underWay = [];
      }
      wasToOne = toOne;
      const result = attempt(() => this.#publish(entry));
      underWay.push(result);
      results.push(result);
    }
    return (await Promise.all(results)).map(toResult);
  }

  #refuseIfFull(lane: string): void {
    if (this.#places.waitingOf(lane) < MAX_WAITING) return;
    throw new HttpProblem('overloaded', undefined, { retryAfterSeconds: 1 });
  }

  async #prepare(body: SendBody, caller: string, lane = caller): Promise<Prepared> {
    const prepared = await this.#places.run(lane, () => this.#lookUp(body, caller));
    return { lane, ...prepared };
  }

  async #lookUp(body: SendBody, caller: string): Promise<Omit<Prepared, 'lane'>> {
    const { recipients, tracker, provisioner } = this.#options;
    const isTracked = body.track || body.push !== undefined;
    const identified = { ...body, id: body.id ?? uuidv7(), track: isTracked };
    // Without the history's queue, the broker would confirm it for the mailboxes alone.
    if (body.delivery === 'stored') await provisioner.ready();
    if ('broadcast' in body.to) await this.#allowBroadcast(identified.id, caller);
    if (isTracked) {
      const outcomes = await recipients.lookUpAll(body.to, body.delivery);
      const tracking = await tracker.begin(identified, outcomes);
      const isPublic = 'users' in body.to || (body.delivery === 'stored' && isToOne(body.to));
      const mustWait = outcomes.every(({ outcome }) => outcome === 'queued');
      const pushAt = mustWait ? Date.now() + (body.push?.afterMs ?? 0) : 0;
      const shown = isPublic ? outcomes : undefined;
      return { body: identified, outcomes: shown, tracking, pushAt };
    }
    const outcomes = await recipients.lookUp(body.to, body.delivery);
    return { body: identified, outcomes, tracking: undefined, pushAt: 0 };
  }

  async #allowBroadcast(id: string, actor: string): Promise<void> {
    const { rates, audit, logger } = this.#options;
    await rates.take('broadcast:all');
    await audit.add({ at: Date.now(), actor, action: 'broadcast', target: id });
    logger.info({ actor, id }, 'a broadcast');
  }

  async #publish(prepared: Prepared): Promise<SendReply> {
    const { lane, body, outcomes, tracking } = prepared;
    if (tracking === 'done') return this.#options.tracker.replyFor(body);
    const outcome = await this.#handOver(prepared);
    if (body.push !== undefined) await this.#askForPush(prepared, outcome);
    if (body.track) await this.#places.run(lane, () => this.#noteSent(body, outcome));
    const reply = replyOf(body, outcome, outcomes);
    this.#noteUnreachable(body, reply);
    return this.#count(body, reply);
  }

  async #handOver({ body, outcomes, tracking }: Prepared): Promise<Outcome> {
    const { publisher, metrics } = this.#options;
    const { to, type, data, id, delivery, ttlMs, collapseKey, track, from } = body;
    const options = {
      id,
      delivery,
      ...(ttlMs !== undefined && { ttlMs }),
      ...(collapseKey !== undefined && { collapseKey }),
      track,
      ...(from !== undefined && { from }),
    };
    const target = reachableOf(body, outcomes);
    if (target === undefined) return 'unprovisioned';
    const send = (): Promise<SendResult> => publisher.send(target, type, data, options);
    const stop = metrics.publishSeconds.startTimer();
    try {
      const { outcome } = await send();
      stop();
      return outcome === 'queued' ? outcome : await this.#sendAgain(to, outcome, send);
    } catch (error) {
      const code = error instanceof PublishError ? error.code : 'internal';
      metrics.messages.inc({ delivery, outcome: code });
      if (code === 'outcome_unknown') this.#options.onUnconfirmed();
      // One that was tried before may still arrive.
      if (tracking === 'begun' && code !== 'outcome_unknown') await this.#noteUnsent(id);
      throw error;
    }
  }

  /** Somebody may have deleted the exchanges of a group, which the broker does not tell. */
  async #sendAgain(
    to: Recipient,
    outcome: Outcome,
    send: () => Promise<SendResult>,
  ): Promise<Outcome> {
    if (!('group' in to)) return outcome;
    try {
      return (await this.#options.groups.heal(to.group)) ? (await send()).outcome : outcome;
    } catch (error) {
      // The broker has it, and the mailboxes most probably, too.
      if (outcome === 'stored') return outcome;
      throw error;
    }
  }

  /**
   * The answer waits for it: a message whose push nobody would see to is not what was asked for.
   * @throws {PublishError} `outcome_unknown`
   */
  async #askForPush({ body, pushAt }: Prepared, outcome: Outcome): Promise<void> {
    const { tracker, pushJobs } = this.#options;
    const { id } = body;
    const isLost = outcome === 'unprovisioned' || outcome === 'offline';
    try {
      if (isLost) await tracker.hastenPush(id);
      await pushJobs.decide({ id }, isLost ? 0 : pushAt);
    } catch (error) {
      const why = 'The message was sent, but whether there will be a push is not known.';
      throw new PublishError('outcome_unknown', why, id, { cause: error });
    }
  }

  /** The broker has it: whether the database can say so must not make it a failure. */
  async #noteSent(body: Prepared['body'], outcome: Outcome): Promise<void> {
    try {
      await this.#options.tracker.confirm(body, outcome);
    } catch (error) {
      const { id } = body;
      this.#options.logger.warn({ err: error, id }, 'that a message was sent could not be noted');
    }
  }

  async #noteUnsent(id: string): Promise<void> {
    try {
      await this.#options.tracker.abandon(id);
    } catch (error) {
      // It is settled as unconfirmed when its time is over.
      this.#options.logger.warn(
        { err: error, id },
        'that a message was not sent could not be noted',
      );
    }
  }

  /** Of those who could not be reached; what is tracked tells it by itself. */
  #noteUnreachable({ id, type, track }: Prepared['body'], { recipients = [] }: SendReply): void {
    if (track) return;
    const at = Date.now();
    for (const { user: userId, outcome: reason } of recipients) {
      if (reason !== 'unprovisioned' && reason !== 'offline') continue;
      const happening = { userId, at, kind: 'unreachable' as const, messageId: id, type, reason };
      this.#options.timeline.noteSome(reason, happening);
    }
  }

  #count({ delivery }: SendBody, reply: SendReply): SendReply {
    const { messages } = this.#options.metrics;
    if (reply.outcome !== undefined) messages.inc({ delivery, outcome: reply.outcome });
    const counts = new Map<Outcome, number>();
    for (const { outcome } of reply.recipients ?? []) {
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    }
    for (const [outcome, count] of counts) messages.inc({ delivery, outcome }, count);
    return reply;
  }
}

/** The history remembers all of a list; a mailbox can only be reached where there is one. */
function reachableOf(
  { to, delivery }: Prepared['body'],
  outcomes: Outcomes | undefined,
): Recipient | undefined {
  if (!('users' in to) || outcomes === undefined || delivery === 'stored') return to;
  const reachable = outcomes.filter(({ outcome }) => outcome === 'queued');
  return reachable.length === 0 ? undefined : { users: reachable.map(({ user }) => user) };
}

function replyOf(
  { id, to }: Prepared['body'],
  outcome: Outcome,
  outcomes: Outcomes | undefined,
): SendReply {
  if (outcomes !== undefined) return { id, recipients: outcomes };
  if ('user' in to) return { id, recipients: [{ user: to.user, outcome }] };
  if ('device' in to) return { id, recipients: [{ user: to.device.user, outcome }] };
  return { id, outcome };
}

/** What a promise resolves to, or the error that it is rejected with. */
async function attempt<Result>(work: () => Promise<Result>): Promise<Result | Error> {
  try {
    return await work();
  } catch (error) {
    return error instanceof Error ? error : new Error('unknown error', { cause: error });
  }
}

function toResult(result: SendReply | Error): BatchReply['results'][number] {
  if (!(result instanceof Error)) return { status: 202, ...result };
  const problem = toProblem(result);
  return { status: problem.status, problem: problem.toBody() };
}
