import { Counter, Histogram, type Registry } from 'prom-client';

export interface PushMetrics {
  decisions: Counter<'decision'>;
  pushes: Counter<'provider' | 'result'>;
  seconds: Histogram<'provider'>;
}

export function createPushMetrics(registry: Registry): PushMetrics {
  const registers = [registry];
  return {
    decisions: new Counter({
      name: 'warren_push_decisions_total',
      help: 'Recipients who have not acked in time: who gets a push, and who has no device for it.',
      labelNames: ['decision'],
      registers,
    }),
    pushes: new Counter({
      name: 'warren_pushes_total',
      help: 'Attempts to hand a push to its provider, by what became of them.',
      labelNames: ['provider', 'result'],
      registers,
    }),
    seconds: new Histogram({
      name: 'warren_push_seconds',
      help: 'How long providers take to answer.',
      labelNames: ['provider'],
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
  };
}
