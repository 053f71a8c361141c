import type { BrokerFigures } from '@warren/protocol';
import type { ManagementApi } from './management.js';

export interface FiguresOptions {
  management: ManagementApi;
  /** Where the Prometheus plugin of each node answers. */
  metricsUrls: string[];
  /** Those that wait to be seen to. */
  countDeadLetters: () => Promise<number>;
  /** What the names of all mailboxes begin with. */
  queuePrefix: string;
}

/** However fast the broker answers, it is not asked more often, in milliseconds. */
const EVERY_MS = 2000;
/** With many queues an answer takes longer: asking takes a twentieth of its time at most. */
const SHARE = 20;
const TIMEOUT_MS = 5000;

interface Counters {
  published: number;
  acked: number;
  at: number;
}

/** What the broker says of itself, asked as rarely as its size demands. */
export class BrokerFiguresSource {
  readonly #options: FiguresOptions;
  #last: BrokerFigures | undefined;
  #counters: Counters | undefined;
  #notBefore = 0;
  #asking: Promise<void> | undefined;

  constructor(options: FiguresOptions) {
    this.#options = options;
  }

  /** The last that is known; asks for newer ones without waiting for them. */
  get latest(): BrokerFigures | null {
    if (performance.now() >= this.#notBefore) {
      this.#asking ??= this.#ask().finally(() => {
        this.#asking = undefined;
      });
    }
    return this.#last ?? null;
  }

  async close(): Promise<void> {
    await this.#asking;
  }

  async #ask(): Promise<void> {
    const startedAt = performance.now();
    try {
      this.#last = await this.#gather();
    } catch {
      this.#last = undefined;
    }
    const tookMs = performance.now() - startedAt;
    this.#notBefore = performance.now() + Math.max(EVERY_MS, tookMs * SHARE);
  }

  async #gather(): Promise<BrokerFigures> {
    const { management, countDeadLetters, queuePrefix } = this.#options;
    const [overview, nodes, isWell, depths, rates, deadLetters] = await Promise.all([
      management.get('/overview'),
      management.get('/nodes'),
      management.answers('/health/checks/alarms'),
      management.depths().catch(() => undefined),
      this.#rates().catch(() => undefined),
      countDeadLetters().catch(() => null),
    ]);
    const { rabbitmq_version: version, object_totals: totals } = (overview ?? {}) as Overview;
    return {
      version: version ?? 'unknown',
      nodes: ((nodes ?? []) as Node[]).map((node) => ({
        name: node.name,
        isRunning: node.running === true,
      })),
      hasAlarm: !isWell,
      connections: totals?.connections ?? null,
      queues: totals?.queues ?? null,
      waiting: depths === undefined ? null : sumOf(depths, queuePrefix),
      deadLetters,
      published: rates?.published ?? null,
      acked: rates?.acked ?? null,
    };
  }

  /** Of all nodes together, since the last time. */
  async #rates(): Promise<{ published: number; acked: number } | undefined> {
    const texts = await Promise.all(this.#options.metricsUrls.map(fetchText));
    const sumOf = (name: string): number =>
      texts.reduce((sum, text) => sum + sumOfSamples(text, name), 0);
    const now: Counters = {
      published: sumOf('rabbitmq_global_messages_received_total'),
      acked: sumOf('rabbitmq_global_messages_acknowledged_total'),
      at: performance.now(),
    };
    const before = this.#counters;
    this.#counters = now;
    if (texts.length === 0 || before === undefined) return undefined;
    const seconds = (now.at - before.at) / 1000;
    // A node that was started anew counts from 0.
    const rate = (key: 'published' | 'acked'): number =>
      Math.max(0, now[key] - before[key]) / seconds;
    return { published: rate('published'), acked: rate('acked') };
  }
}

interface Overview {
  rabbitmq_version?: string;
  object_totals?: { queues?: number; connections?: number };
}
interface Node {
  name: string;
  running?: boolean;
}

/** Of all queues whose names begin so. */
function sumOf(depths: Map<string, number>, prefix: string): number {
  let sum = 0;
  for (const [name, depth] of depths) if (name.startsWith(prefix)) sum += depth;
  return sum;
}

async function fetchText(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`The broker's metrics answered ${String(response.status)}.`);
  return response.text();
}

/** All samples of a metric, whatever their labels, in Prometheus' text format. */
function sumOfSamples(text: string, name: string): number {
  let sum = 0;
  for (const line of text.split('\n')) {
    if (!line.startsWith(name)) continue;
    const value = Number(line.slice(line.lastIndexOf(' ') + 1));
    if (Number.isFinite(value)) sum += value;
  }
  return sum;
}
