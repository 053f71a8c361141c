import {
  READ_TYPE,
  type Handling,
  type ReadNews,
  type ReceiptsBody,
  type Trace,
} from '@warren/protocol';
import type { PassingEvents } from '../events/passing-events.js';
import type { RateLimiter } from '../http/rate-limits.js';
import type { Metrics } from '../metrics.js';
import type { Publisher } from '../publisher/index.js';
import type { Sent } from '../storage/outcomes.js';
import type { TimelineWriter } from '../timeline/writer.js';
import type { Tracker } from './tracker.js';

export interface ReceiptsOptions {
  tracker: Tracker;
  publisher: Publisher;
  events: PassingEvents;
  timeline: TimelineWriter;
  rates: Pick<RateLimiter, 'take'>;
  metrics: Metrics;
}

const KIB = 1024;

/** Takes what clients tell of messages, and tells the user's devices what was read. */
export class Receipts {
  readonly #options: ReceiptsOptions;

  constructor(options: ReceiptsOptions) {
    this.#options = options;
  }

  /**
   * Of messages that nobody follows, only what was read or rejected matters.
   * @throws {PublishError} @throws {HttpProblem} `rate_limited`: all is noted, and the devices are not told.
   */
  async take(userId: string, body: ReceiptsBody): Promise<void> {
    const { tracker, metrics } = this.#options;
    const { delivered, agoMs, read, superseded } = body;
    const now = Date.now();
    this.#measure(await tracker.receive(userId, body), now, (id) => agoOf(id, delivered, agoMs));
    metrics.receipts.inc({ kind: 'delivered' }, delivered.length);
    metrics.receipts.inc({ kind: 'read' }, read.length);
    metrics.receipts.inc({ kind: 'superseded' }, superseded.length);
    this.#noteHandled(userId, body, now);
    if (read.length > 0) await this.#tellDevices(userId, { ids: [...new Set(read)] });
  }

  /**
   * Nobody but the application knows which messages there are, so that a client may name any, and each takes a place
   * in all mailboxes of its user: bounded by size. A client that has to wait tells it again.
   */
  async #tellDevices(userId: string, news: ReadNews): Promise<void> {
    const { rates, publisher } = this.#options;
    const bytes = Buffer.byteLength(JSON.stringify(news), 'utf8');
    await rates.take(`read:${userId}`, Math.ceil(bytes / KIB));
    await publisher.send({ user: userId }, READ_TYPE, news);
  }

  #measure(messages: Sent[], now: number, agoMsOf: (id: string) => number | undefined): void {
    for (const { id, sentAt } of messages) {
      const agoMs = agoMsOf(id);
      if (agoMs === undefined) continue;
      this.#options.metrics.deliverySeconds.observe(Math.max(0, now - agoMs - sentAt) / 1000);
    }
  }

  /** Rejections are remembered; all of it is for whoever watches, and only then is it told. */
  #noteHandled(userId: string, { handled, deviceId, watched }: ReceiptsBody, now: number): void {
    const { timeline, metrics } = this.#options;
    const traces: [Trace, at: number][] = [];
    for (const { id, type, error, name, tookMs, agoMs } of handled) {
      const at = Math.round(now - agoMs);
      if (error !== undefined) {
        metrics.receipts.inc({ kind: error });
        const reason = reasonOf(error, name);
        const entry = { userId, at, kind: 'handler_failed' as const, deviceId, type, reason };
        timeline.noteSome('handler_failed', { ...entry, messageId: id });
      }
      if (!watched) continue;
      const trace: Trace = {
        user: userId,
        step: error === undefined ? 'handled' : 'rejected',
        messageId: id ?? null,
        type,
        tookMs,
        ...(deviceId !== undefined && { deviceId }),
        ...(error !== undefined && { error: reasonOf(error, name) }),
      };
      traces.push([trace, at]);
    }
    void this.#trace(traces);
  }

  /**
   * One after the other, until nobody listens: that somebody does is the client's word, and thousands at once would
   * hold up all else that goes by the same channel.
   */
  async #trace(traces: [Trace, at: number][]): Promise<void> {
    for (const [trace, at] of traces) {
      if (!(await this.#options.events.trace(trace, at))) return;
    }
  }
}

/** Undefined: the client does not know any more, since the page was closed in between. */
function agoOf(id: string, delivered: string[], agoMs: (number | null)[]): number | undefined {
  return agoMs[delivered.indexOf(id)] ?? undefined;
}

const reasonOf = (error: NonNullable<Handling['error']>, name: string | undefined): string =>
  name === undefined ? error : `${error} ${name}`;
