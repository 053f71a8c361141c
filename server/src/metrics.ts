import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Counters of one server; a registry of its own, so that several live in one process. */
export interface Metrics {
  registry: Registry;
  messages: Counter<'delivery' | 'outcome'>;
  publishSeconds: Histogram;
  deliverySeconds: Histogram;
  receipts: Counter<'kind'>;
  deadLetters: Counter<'reason'>;
  deadMailboxes: Counter;
  sessions: Counter<'kind'>;
  connectionsClosed: Counter<'reason'>;
  requestSeconds: Histogram<'method' | 'route' | 'status'>;
}

/** @param isBrokerUp asked at each scrape. */
export function createMetrics(isBrokerUp: () => boolean, pendingMessages: () => number): Metrics {
  const registry = new Registry();
  const registers = [registry];
  new Gauge({
    name: 'warren_broker_up',
    help: 'Whether the broker can be reached and takes messages.',
    registers,
    collect() {
      this.set(isBrokerUp() ? 1 : 0);
    },
  });
  new Gauge({
    name: 'warren_publish_pending',
    help: 'Messages that wait for the broker or for its confirm.',
    registers,
    collect() {
      this.set(pendingMessages());
    },
  });
  return {
    registry,
    messages: new Counter({
      name: 'warren_messages_total',
      help: 'Messages by what became of them: an outcome, or the code of an error.',
      labelNames: ['delivery', 'outcome'],
      registers,
    }),
    publishSeconds: new Histogram({
      name: 'warren_publish_seconds',
      help: 'From the call to the confirm.',
      buckets: [0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
      registers,
    }),
    deliverySeconds: new Histogram({
      name: 'warren_delivery_seconds',
      help: 'Of tracked messages: from the call to the ack of the first device.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60],
      registers,
    }),
    receipts: new Counter({
      name: 'warren_receipts_total',
      help: 'What clients have told of messages: delivered, read, or the error with which they were rejected.',
      labelNames: ['kind'],
      registers,
    }),
    deadLetters: new Counter({
      name: 'warren_dead_letters_total',
      help: 'Messages and jobs that were given up, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    deadMailboxes: new Counter({
      name: 'warren_mailboxes_dead_total',
      help: 'Mailboxes that RabbitMQ could not bring back after a crash; they were replaced, without what was in them.',
      registers,
    }),
    sessions: new Counter({
      name: 'warren_sessions_total',
      help: 'Session grants: new, renewed, or taken over from an older session.',
      labelNames: ['kind'],
      registers,
    }),
    connectionsClosed: new Counter({
      name: 'warren_connections_closed_total',
      help: 'Connections of clients that the server had the broker close, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    requestSeconds: new Histogram({
      name: 'warren_http_request_seconds',
      help: 'Requests by route and status.',
      labelNames: ['method', 'route', 'status'],
      buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
      registers,
    }),
  };
}
