import type { NamePrefixes } from '@warren/protocol';
import type { TopologyNames } from '@warren/rabbitmq';
import type { Counter } from 'prom-client';
import { BrokerFiguresSource } from '../broker/figures.js';
import type { BrokerSide } from '../broker/index.js';
import type { PassingEvents } from '../events/passing-events.js';
import type { WarrenParts } from '../parts.js';
import { Headcount } from '../presence/headcount.js';
import { AdminTokens } from '../sessions/admin-tokens.js';
import { ClientTokens } from '../sessions/client-tokens.js';
import type { KeyRing } from '../sessions/key-ring.js';
import { StatsFeed } from '../stats/stats-feed.js';
import type { Storage } from '../storage/index.js';
import { ConnectionLog } from '../timeline/connection-log.js';
import { Timeline } from '../timeline/timeline.js';
import type { TimelineWriter } from '../timeline/writer.js';
import { VERSION } from '../version.js';
import { DeadLetters } from '../dead-letters/dead-letters.js';
import { Consoles } from './consoles.js';
import { MessageLives } from './messages.js';
import { Taps } from './tap.js';

export interface ConsoleOptions {
  parts: WarrenParts;
  names: TopologyNames;
  prefixes: NamePrefixes;
  storage: Storage;
  broker: BrokerSide;
  keys: KeyRing;
  timelineWriter: TimelineWriter;
  events: PassingEvents;
  /** Undefined where another process sends them. */
  pushes: Counter<'provider' | 'result'> | undefined;
}

/** Of the broker's logins; a console whose admin key is taken away ends within a minute all the same. */
export const CONSOLE_TTL_SECONDS = 600;

/** All of a server that is for its operators: what they look at, and what is written down for them. */
export function openConsole(options: ConsoleOptions): {
  services: {
    timeline: Timeline;
    adminTokens: AdminTokens;
    consoles: Consoles;
    messageLives: MessageLives;
    deadLetters: DeadLetters;
    headcount: Headcount;
  };
  close: () => Promise<void>;
} {
  const { parts, names, prefixes, storage, broker, keys, events } = options;
  const { amqpUrl, endpoints, logger } = parts;
  const { vhost, exchange } = names;
  const { watch, link, provisioner, connections, publisher, management, metrics } = broker;
  const queuePrefix = `${prefixes.user}.`;
  const headcount = new Headcount(watch, queuePrefix);
  headcount.expose(metrics.registry);
  const connectionLog = new ConnectionLog({
    watch,
    connections,
    devices: storage.devices,
    writer: options.timelineWriter,
    queuePrefix,
    logger,
  });
  const deadLetters = new DeadLetters({
    store: storage.deadLetters,
    devices: storage.devices,
    channel: broker.internal,
    exchange,
    prefixes,
    counter: metrics.deadLetters,
  });
  const timeline = new Timeline({ store: storage.timeline, deadLetters: storage.deadLetters });
  const taps = new Taps({
    amqpUrl,
    exchange,
    prefixes,
    devices: storage.devices,
    groups: storage.groups,
    locks: storage.locks,
    watch,
    events,
    logger,
  });
  const consoles = new Consoles({
    store: storage.consoles,
    locks: storage.locks,
    audit: storage.audit,
    link,
    provisioner,
    connections,
    tokens: new ClientTokens({ keys, vhost, ttlSeconds: CONSOLE_TTL_SECONDS }),
    publisher,
    taps,
    vhost,
    endpoints,
    logger,
  });
  const figures = new BrokerFiguresSource({
    management,
    metricsUrls: parts.brokerMetricsUrls ?? [],
    countDeadLetters: () => storage.deadLetters.count({}),
    queuePrefix,
  });
  const stats = new StatsFeed({
    events,
    role: 'server',
    version: VERSION,
    messages: metrics.messages,
    publishSeconds: metrics.publishSeconds,
    deliverySeconds: metrics.deliverySeconds,
    ...(options.pushes !== undefined && { pushes: options.pushes }),
    online: () => headcount.now,
    broker: () => figures.latest,
  });
  const { messages, pushes, history } = storage;
  return {
    services: {
      timeline,
      adminTokens: new AdminTokens(keys),
      consoles,
      messageLives: new MessageLives({ messages, pushes, history, timeline }),
      deadLetters,
      headcount,
    },
    close: async () => {
      await Promise.all(
        [consoles, taps, stats, figures, connectionLog].map((part) => part.close()),
      );
    },
  };
}
