import { sendBodySchema } from '@warren/protocol';
import { SEND } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import { jsonIn, RefusedJob, type Job } from '../broker/job.js';
import { inSteps, type WorkQueues } from '../broker/work-queues.js';
import type { Events } from '../events/events.js';
import { FairLimit } from '../fair-limit.js';
import { flawIn } from '../foreign-json.js';
import { HttpProblem } from '../problem.js';
import { toProblem } from '../to-problem.js';
import { parse } from '../validation.js';
import type { Sender } from './sender.js';

export interface SendQueueOptions {
  sender: Sender;
  events: Events;
  workQueues: WorkQueues;
  logger: Logger;
}

/**
 * So many are seen, of one account as well: the broker hands them out in the order in which they came, whosever they
 * are.
 */
const IN_HAND = 512;
/** Of these so many are sent at the same time, and so many of one account. */
const AT_ONCE = 128;
const OF_ONE = 32;
/** While the database or the broker is away; what waits loses its place in the order. */
const RETRIES_MS = [1000, 5000, 30_000, 300_000];
const FORWARDED =
  `what no back end has published on ${SEND} is passed over: an account has bound it to events or answers, or has ` +
  'its own queues dead-letter to it; look at its bindings';
const UNREADABLE =
  'It came by AMQP 1.0 with a property or an annotation that AMQP 0-9-1 cannot carry, as a UUID: send texts and numbers.';

/** Takes what back ends put on `warren.send`: bodies of `POST /v1/messages`, with the same effect. */
export function startSendQueue({ sender, events, workQueues, logger }: SendQueueOptions): void {
  const places = new FairLimit(AT_ONCE, OF_ONE);
  workQueues.consume({
    queue: SEND,
    bindings: [],
    concurrency: IN_HAND,
    retryDelayMs: inSteps(RETRIES_MS),
    handle: async (job, signal) => {
      // Neither told nor kept: there is no end to what is told of what was told.
      if (job.isForwarded) logger.warn(FORWARDED);
      else await places.run(callerOf(job), () => send(sender, job), signal);
    },
    onDead: (job, error) => refuse(events, job, error),
    onUnreadable: () => refuseUnreadable(events),
  });
}

const callerOf = ({ account }: Job): string =>
  account === undefined ? SEND : `account:${account}`;

async function send(sender: Sender, job: Job): Promise<void> {
  try {
    const message = parse(sendBodySchema, identified(bodyOf(job), job.messageId));
    await sender.sendInTurn(message, callerOf(job));
  } catch (error) {
    const { code, status, detail } = toProblem(error);
    if (status >= 500 || status === 429) throw error;
    throw new RefusedJob(detail === undefined ? code : `${code}: ${detail}`, { cause: error });
  }
}

/** @throws {HttpProblem} `invalid_request`, as for a body that comes by HTTP. */
function bodyOf(job: Job): unknown {
  const flaw = flawIn(job.content.toString('utf8'));
  if (flaw !== undefined) throw new HttpProblem('invalid_request', flaw);
  return jsonIn(job);
}

/** With an id, so that a job which is handed out again is the same message; checked as one of the body. */
const identified = (body: unknown, messageId: string | undefined): unknown =>
  messageId !== undefined && typeof body === 'object' ? { id: messageId, ...body } : body;

/** As {@link refuse}; who published it, nobody can tell. */
const refuseUnreadable = (events: Events): Promise<void> =>
  events.tell({
    event: 'message.refused',
    at: Date.now(),
    messageId: null,
    account: null,
    code: 'invalid_request',
    detail: UNREADABLE,
  });

/** The back end hears of it on its events queue. */
async function refuse(events: Events, job: Job, error: unknown): Promise<void> {
  const { account, messageId } = job;
  const { code, detail, message } = toProblem(error instanceof RefusedJob ? error.cause : error);
  const named = (jsonIn(job) as { id?: unknown } | null | undefined)?.id;
  await events.tell({
    event: 'message.refused',
    at: Date.now(),
    messageId: typeof named === 'string' ? named : (messageId ?? null),
    account: account ?? null,
    code,
    detail: detail ?? message,
  });
}
