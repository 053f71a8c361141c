import { EVENTS } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import type { ControlLink } from '../broker/control-link.js';
import type { ManagementApi } from '../broker/management.js';
import type { Provisioner } from '../broker/provisioner.js';
import { jsonIn, RefusedJob, type Job } from '../broker/job.js';
import { inSteps, type WorkQueues } from '../broker/work-queues.js';
import type { SignedPost } from './signed-post.js';

/** Durable, so that nothing is forgotten while the application is away. */
export const WEBHOOKS = 'warren.webhook';
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

export interface WebhookBindingsOptions {
  link: ControlLink;
  management: ManagementApi;
  provisioner: Provisioner;
  /** Patterns of the events' routing keys; none where there is no webhook. */
  patterns: string[];
  logger: Logger;
}

/**
 * Takes off the queue of webhooks what it is no longer to get, each time that the broker is reached: who consumes
 * it only ever binds. Where there is no webhook any more, that is everything, unless another server consumes it.
 */
export function trimBindings(options: WebhookBindingsOptions): void {
  const { link, management, provisioner, patterns, logger } = options;
  const trim = async (): Promise<void> => {
    const bound = await management.bindingKeys(EVENTS, WEBHOOKS);
    const extra = bound.filter((key) => !patterns.includes(key));
    if (extra.length === 0) return;
    const isOthers = patterns.length === 0 && ((await provisioner.consumers(WEBHOOKS)) ?? 0) > 0;
    if (isOthers) return;
    const bindings = extra.map((routingKey) => ({ exchange: EVENTS, routingKey }));
    await provisioner.unbind(WEBHOOKS, bindings);
    logger.info({ patterns: extra }, 'webhooks get no more of these events');
  };
  const attempt = (): void => {
    trim().catch((error: unknown) => {
      logger.warn({ err: error }, 'which events webhooks get could not be looked at');
    });
  };
  link.onConnected(attempt);
  if (link.isConnected) attempt();
}

export interface WebhooksOptions {
  post: SignedPost;
  workQueues: WorkQueues;
  /** Patterns of the events' routing keys. */
  patterns: string[];
}

/** Tells the application by HTTP what happened: each event at least once, under its id. */
export function startWebhooks({ post, workQueues, patterns }: WebhooksOptions): void {
  workQueues.consume({
    queue: WEBHOOKS,
    bindings: patterns.map((routingKey) => ({ exchange: EVENTS, routingKey })),
    concurrency: AT_ONCE,
    retryDelayMs: inSteps(RETRIES_MS),
    handle: async (job: Job) => {
      const { messageId } = job;
      const event = jsonIn(job);
      if (messageId === undefined || event === undefined) throw new RefusedJob('It is no event.');
      await post.send(messageId, event);
    },
  });
}
