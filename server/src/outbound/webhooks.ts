import { EVENTS } from '@warren/rabbitmq';
import { inSteps, RefusedJob, type Job, type WorkQueues } from '../broker/work-queues.js';
import type { SignedPost } from './signed-post.js';

/** Durable, so that nothing is forgotten while the application is away. */
const QUEUE = 'warren.webhook';
const AT_ONCE = 8;
const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
/** For about a day. */
const RETRIES_MS = [
  SECOND_MS,
  10 * SECOND_MS,
  MINUTE_MS,
  10 * MINUTE_MS,
  60 * MINUTE_MS,
  6 * 60 * MINUTE_MS,
  16 * 60 * MINUTE_MS,
];

export interface WebhooksOptions {
  post: SignedPost;
  workQueues: WorkQueues;
  /** Patterns of the events' routing keys. */
  patterns: string[];
}

/** Tells the application by HTTP what happened: each event at least once, under its id. */
export function startWebhooks({ post, workQueues, patterns }: WebhooksOptions): void {
  workQueues.consume({
    queue: QUEUE,
    bindings: patterns.map((routingKey) => ({ exchange: EVENTS, routingKey })),
    concurrency: AT_ONCE,
    retryDelayMs: inSteps(RETRIES_MS),
    handle: async ({ messageId, body }: Job) => {
      if (messageId === undefined || body === undefined) throw new RefusedJob('It is no event.');
      await post.send(messageId, body);
    },
  });
}
