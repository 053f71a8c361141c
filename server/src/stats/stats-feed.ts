import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Buckets, BrokerFigures, Stats } from '@warren/protocol';
import type { Counter, Histogram } from 'prom-client';
import type { PassingEvents } from '../events/passing-events.js';

export interface StatsFeedOptions {
  events: PassingEvents;
  role: Stats['role'];
  version: string;
  /** Counters whose labels say what became of each; missing where the process has none. */
  messages?: Counter<'delivery' | 'outcome'>;
  publishSeconds?: Histogram;
  deliverySeconds?: Histogram;
  pushes?: Counter<'provider' | 'result'>;
  /** Undefined while it is not known. */
  online?: () => { users: number; devices: number } | undefined;
  /** Asked only while somebody listens. */
  broker?: () => BrokerFigures | null;
}

const EVERY_MS = 1000;
/** What `messages` counts as sent; everything else is the code of an error. */
const SENT = new Set(['queued', 'stored', 'offline', 'unprovisioned']);

interface Snapshot {
  at: number;
  cpuMicros: number;
  sent: number;
  failed: number;
  pushed: number;
  pushesFailed: number;
  confirms: Buckets;
  acks: Buckets;
}

/** Tells once a second what this process does, whether anybody listens or not; what costs more, only then. */
export class StatsFeed {
  readonly #options: StatsFeedOptions;
  readonly #instance = randomBytes(6).toString('hex');
  readonly #startedAt = new Date().toISOString();
  readonly #timer: NodeJS.Timeout;
  #last: Snapshot | undefined;
  #isHeard = false;
  #telling: Promise<void> | undefined;

  constructor(options: StatsFeedOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      this.#telling ??= this.#tell().finally(() => {
        this.#telling = undefined;
      });
    }, EVERY_MS);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#telling;
  }

  async #tell(): Promise<void> {
    const now = await this.#snapshot();
    const before = this.#last ?? now;
    this.#last = now;
    this.#isHeard = await this.#options.events.stats(this.#compare(before, now));
  }

  #compare(before: Snapshot, now: Snapshot): Stats {
    const { role, version, online, broker } = this.#options;
    const seconds = Math.max((now.at - before.at) / 1000, 0.001);
    return {
      instance: this.#instance,
      role,
      host: hostname(),
      version,
      startedAt: this.#startedAt,
      seconds,
      memoryBytes: process.memoryUsage.rss(),
      cpu: (now.cpuMicros - before.cpuMicros) / 1_000_000 / seconds,
      sent: now.sent - before.sent,
      failed: now.failed - before.failed,
      confirms: difference(before.confirms, now.confirms),
      acks: difference(before.acks, now.acks),
      pushes: {
        sent: now.pushed - before.pushed,
        failed: now.pushesFailed - before.pushesFailed,
      },
      online: online?.() ?? null,
      broker: this.#isHeard ? (broker?.() ?? null) : null,
    };
  }

  async #snapshot(): Promise<Snapshot> {
    const { messages, publishSeconds, deliverySeconds, pushes } = this.#options;
    const { user, system } = process.cpuUsage();
    const outcomes = (await messages?.get())?.values ?? [];
    const results = (await pushes?.get())?.values ?? [];
    const sumOf = <Value extends { value: number }>(
      values: Value[],
      isWanted: (value: Value) => boolean,
    ): number => values.filter(isWanted).reduce((sum, { value }) => sum + value, 0);
    const isSent = ({ labels }: (typeof outcomes)[number]) => SENT.has(String(labels.outcome));
    const isPushed = ({ labels }: (typeof results)[number]) => labels.result === 'sent';
    return {
      at: performance.now(),
      cpuMicros: user + system,
      sent: sumOf(outcomes, isSent),
      failed: sumOf(outcomes, (value) => !isSent(value)),
      pushed: sumOf(results, isPushed),
      pushesFailed: sumOf(results, (value) => !isPushed(value)),
      confirms: await bucketsOf(publishSeconds),
      acks: await bucketsOf(deliverySeconds),
    };
  }
}

/** What lies in each bucket by itself; Prometheus counts in each also what lies in those before. */
async function bucketsOf(histogram: Histogram | undefined): Promise<Buckets> {
  const values = (await histogram?.get())?.values ?? [];
  const bounds: number[] = [];
  const counts: number[] = [];
  let before = 0;
  for (const { metricName, labels, value } of values) {
    if (metricName?.endsWith('_bucket') !== true) continue;
    const le = (labels as { le?: number | string }).le;
    if (typeof le === 'number') bounds.push(le);
    counts.push(value - before);
    before = value;
  }
  return { bounds, counts };
}

function difference(before: Buckets, now: Buckets): Buckets {
  const counts = now.counts.map((count, index) => count - (before.counts[index] ?? 0));
  return { bounds: now.bounds, counts };
}
