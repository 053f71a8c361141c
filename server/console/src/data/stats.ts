import type { BrokerFigures, Buckets, Stats } from '@warren/protocol';

/** What all processes say together, at one moment. */
export interface Figures {
  users: number | null;
  devices: number | null;
  /** A second. */
  sent: number;
  failed: number;
  pushed: number;
  pushesFailed: number;
  published: number | null;
  acked: number | null;
  waiting: number | null;
  deadLetters: number | null;
  /** Milliseconds, of the last ten seconds; null when there was nothing to measure. */
  confirmP50: number | null;
  confirmP99: number | null;
  ackP50: number | null;
  ackP99: number | null;
}

/** One line of a chart for each. */
export type Series = { [Name in keyof Figures]: (number | null)[] } & {
  /** Seconds since 1970. */
  at: number[];
};

export interface Process {
  stats: Stats;
  /** By this page's clock. */
  heardAt: number;
}

export interface StatsSnapshot {
  figures: Figures | undefined;
  series: Series;
  processes: Process[];
  broker: BrokerFigures | null;
}

/** Ten minutes. */
const POINTS = 600;
/** A process that says nothing for so long is gone, in milliseconds. */
const GONE_MS = 4000;
const WINDOW = 10;

const EMPTY: Figures = {
  users: null,
  devices: null,
  sent: 0,
  failed: 0,
  pushed: 0,
  pushesFailed: 0,
  published: null,
  acked: null,
  waiting: null,
  deadLetters: null,
  confirmP50: null,
  confirmP99: null,
  ackP50: null,
  ackP99: null,
};
const NAMES = Object.keys(EMPTY) as (keyof Figures)[];

const noSeries = (): Series =>
  ({ at: [], ...Object.fromEntries(NAMES.map((name) => [name, []])) }) as unknown as Series;

/** Adds up what the processes say, once a second, and keeps ten minutes of it. */
export class StatsStore {
  readonly #processes = new Map<string, Process>();
  readonly #listeners = new Set<() => void>();
  #windows: { confirms: Buckets[]; acks: Buckets[] } = { confirms: [], acks: [] };
  #series = noSeries();
  #snapshot: StatsSnapshot = {
    figures: undefined,
    series: this.#series,
    processes: [],
    broker: null,
  };

  readonly getSnapshot = (): StatsSnapshot => this.#snapshot;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  hear(stats: Stats): void {
    this.#processes.set(stats.instance, { stats, heardAt: Date.now() });
  }

  /** To be called once a second. */
  tick(): void {
    const now = Date.now();
    for (const [instance, { heardAt }] of this.#processes) {
      if (now - heardAt > GONE_MS) this.#processes.delete(instance);
    }
    const processes = [...this.#processes.values()];
    if (processes.length === 0 && this.#snapshot.processes.length === 0) return;
    const all = processes.map(({ stats }) => stats);
    const broker = all.find((stats) => stats.broker !== null)?.broker ?? null;
    const figures = processes.length === 0 ? undefined : this.#add(all, broker);
    const { at } = this.#series;
    at.push(now / 1000);
    for (const name of NAMES) this.#series[name].push(figures?.[name] ?? null);
    if (at.length > POINTS) {
      at.shift();
      for (const name of NAMES) this.#series[name].shift();
    }
    // Another object, so that React sees the change.
    this.#snapshot = { figures, series: { ...this.#series }, processes, broker };
    for (const listener of this.#listeners) listener();
  }

  #add(all: Stats[], broker: BrokerFigures | null): Figures {
    const confirms = this.#window('confirms', all);
    const acks = this.#window('acks', all);
    const sum = (of: (stats: Stats) => number): number =>
      all.reduce((total, stats) => total + of(stats) / Math.max(stats.seconds, 0.1), 0);
    // Every server sees all connections.
    const online = all.find((stats) => stats.online !== null)?.online;
    return {
      users: online?.users ?? null,
      devices: online?.devices ?? null,
      sent: sum(({ sent }) => sent),
      failed: sum(({ failed }) => failed),
      pushed: sum(({ pushes }) => pushes.sent),
      pushesFailed: sum(({ pushes }) => pushes.failed),
      published: broker?.published ?? null,
      acked: broker?.acked ?? null,
      waiting: broker?.waiting ?? null,
      deadLetters: broker?.deadLetters ?? null,
      confirmP50: quantileMs(confirms, 0.5),
      confirmP99: quantileMs(confirms, 0.99),
      ackP50: quantileMs(acks, 0.5),
      ackP99: quantileMs(acks, 0.99),
    };
  }

  #window(kind: 'confirms' | 'acks', all: Stats[]): Buckets {
    const window = this.#windows[kind];
    window.push(addBuckets(all.map((stats) => stats[kind])));
    if (window.length > WINDOW) window.shift();
    return addBuckets(window);
  }
}

export function addBuckets(all: Buckets[]): Buckets {
  const bounds = all.find((buckets) => buckets.bounds.length > 0)?.bounds ?? [];
  const counts = new Array<number>(bounds.length + 1).fill(0);
  for (const buckets of all) {
    if (buckets.bounds.length !== bounds.length) continue;
    buckets.counts.forEach((count, index) => {
      counts[index] = (counts[index] ?? 0) + Math.max(0, count);
    });
  }
  return { bounds, counts };
}

/**
 * In milliseconds, between the bounds of a bucket in proportion. What lies over the last bound is left out: a
 * message that waited for its user to come back says nothing about how fast they are.
 */
export function quantileMs({ bounds, counts }: Buckets, quantile: number): number | null {
  const within = counts.slice(0, bounds.length);
  const total = within.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = total * quantile;
  for (const [index, count] of within.entries()) {
    if (left <= count && count > 0) {
      const low = bounds[index - 1] ?? 0;
      const high = bounds[index] ?? low;
      return (low + (high - low) * (left / count)) * 1000;
    }
    left -= count;
  }
  return (bounds.at(-1) ?? 0) * 1000;
}
