import { describe, expect, it } from 'vitest';
import type { Stats } from '@warren/protocol';
import { addBuckets, quantileMs, StatsStore } from '../../server/console/src/data/stats.js';

const bounds = [0.001, 0.01, 0.1];

const stats = (instance: string, more: Partial<Stats> = {}): Stats => ({
  instance,
  role: 'server',
  host: 'host',
  version: '1',
  startedAt: '2026-01-01T00:00:00.000Z',
  seconds: 1,
  memoryBytes: 1,
  cpu: 0,
  sent: 0,
  failed: 0,
  confirms: { bounds, counts: [0, 0, 0, 0] },
  acks: { bounds, counts: [0, 0, 0, 0] },
  pushes: { sent: 0, failed: 0 },
  online: null,
  broker: null,
  ...more,
});

describe('percentiles of buckets', () => {
  it('lie between the bounds of their bucket, in proportion', () => {
    expect(quantileMs({ bounds, counts: [100, 0, 0, 0] }, 0.5)).toBeCloseTo(0.5);
    expect(quantileMs({ bounds, counts: [50, 50, 0, 0] }, 0.5)).toBeCloseTo(1);
    expect(quantileMs({ bounds, counts: [50, 50, 0, 0] }, 0.75)).toBeCloseTo(5.5);
    expect(quantileMs({ bounds, counts: [0, 0, 10, 0] }, 0.99)).toBeCloseTo(99.1);
  });

  it('leave out what waited for longer than the last bound, and are none of nothing', () => {
    expect(quantileMs({ bounds, counts: [100, 0, 0, 900] }, 0.99)).toBeCloseTo(0.99);
    expect(quantileMs({ bounds, counts: [0, 0, 0, 5] }, 0.5)).toBeNull();
    expect(quantileMs({ bounds: [], counts: [] }, 0.5)).toBeNull();
  });

  it('are those of all servers together, not of one of them', () => {
    const fast = { bounds, counts: [90, 0, 0, 0] };
    const slow = { bounds, counts: [0, 0, 10, 0] };
    const both = addBuckets([fast, slow, { bounds: [], counts: [] }]);
    expect(both.counts).toEqual([90, 0, 10, 0]);
    expect(quantileMs(both, 0.99)).toBeGreaterThan(10);
  });
});

describe('the figures', () => {
  it('add up what processes send, and count who is online once', () => {
    const store = new StatsStore();
    const online = { users: 7, devices: 9 };
    store.hear(stats('a', { sent: 10, seconds: 1, online }));
    store.hear(stats('b', { sent: 30, seconds: 2, online }));
    store.hear(stats('w', { role: 'push', pushes: { sent: 4, failed: 1 } }));
    store.tick();
    const { figures, processes, series } = store.getSnapshot();
    expect(figures).toMatchObject({ sent: 25, users: 7, devices: 9, pushed: 4, pushesFailed: 1 });
    expect(processes).toHaveLength(3);
    expect(series.sent).toEqual([25]);
  });

  it('keep ten minutes and no more, and tell whoever listens once a second', () => {
    const store = new StatsStore();
    let told = 0;
    const stop = store.subscribe(() => {
      told++;
    });
    for (let second = 0; second < 700; second++) {
      store.hear(stats('a', { sent: second }));
      store.tick();
    }
    stop();
    store.tick();
    expect(told).toBe(700);
    expect(store.getSnapshot().series.at).toHaveLength(600);
    expect(store.getSnapshot().series.sent.at(-1)).toBe(699);
  });
});
