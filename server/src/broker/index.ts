import type { TopologyNames } from '@warren/rabbitmq';
import type { Logger } from 'pino';
import { createMetrics, type Metrics } from '../metrics.js';
import { ConfirmChannel } from '../publisher/confirm-channel.js';
import { createPublisher, type Publisher } from '../publisher/index.js';
import type { Storage } from '../storage/index.js';
import { ConnectionInventory } from './connection-inventory.js';
import { ConnectionJournal } from './connection-journal.js';
import { Connections } from './connections.js';
import { ControlLink } from './control-link.js';
import { DeadQueues } from './dead-queues.js';
import { GroupExchanges } from './group-exchanges.js';
import { addLimits } from './limits.js';
import { ManagementApi } from './management.js';
import { Provisioner } from './provisioner.js';
import { BrokerWatch } from './watch.js';
import { WorkQueues } from './work-queues.js';

export interface BrokerOptions {
  amqpUrl: string;
  managementUrl: string;
  names: TopologyNames;
  storage: Pick<Storage, 'connections' | 'devices' | 'identity'>;
  logger: Logger;
}

/** All by which Warren talks to the broker. */
export interface BrokerSide {
  publisher: Publisher;
  link: ControlLink;
  provisioner: Provisioner;
  exchanges: GroupExchanges;
  management: ManagementApi;
  deadQueues: DeadQueues;
  watch: BrokerWatch;
  connections: Connections;
  workQueues: WorkQueues;
  /** For what is not a message to users: events, jobs, answers. */
  internal: ConfirmChannel;
  metrics: Metrics;
  /** Resolves to whether it was reached within `timeoutMs`. */
  ready: (timeoutMs: number) => Promise<boolean>;
  isUp: () => boolean;
  close: () => Promise<void>;
}

/** Connects in the background, and keeps connected. */
export function openBroker({
  amqpUrl,
  managementUrl,
  names,
  storage,
  logger,
}: BrokerOptions): BrokerSide {
  const onError = (error: unknown): void => {
    logger.warn({ err: error }, 'the connection to the broker had an error');
  };
  const { vhost, exchange } = names;
  const prefixes = { user: names.userPrefix, live: names.livePrefix };
  const publisher = createPublisher({ amqpUrl, exchange, prefixes, onError });
  const metrics = createMetrics(
    () => publisher.state === 'ready',
    () => publisher.pending,
  );
  const link = new ControlLink(amqpUrl, onError);
  const management = new ManagementApi(managementUrl, vhost);
  const queuePrefix = `${names.userPrefix}.`;
  const deadQueues = new DeadQueues({ management, prefix: queuePrefix, logger });
  const provisioner = new Provisioner({ link, names, deadQueues, onError });
  const exchanges = new GroupExchanges(link, exchange);
  const journal = new ConnectionJournal({
    amqpUrl,
    vhost,
    database: storage.identity,
    store: storage.connections,
    logger,
  });
  const inventory = new ConnectionInventory({
    management,
    journal,
    store: storage.connections,
    devices: storage.devices,
  });
  const watch = new BrokerWatch({ amqpUrl, vhost, inventory, logger });
  const connections = new Connections({
    management,
    watch,
    provisioner,
    queuePrefix,
    metrics,
    logger,
  });
  const internal = new ConfirmChannel({
    amqpUrl,
    connectionName: 'warren internal',
    maxInFlight: 1000,
    maxWaiting: 10_000,
    timeoutMs: 5000,
    heartbeatSeconds: 10,
    onError,
  });
  const workQueues = new WorkQueues(amqpUrl, internal, logger);
  void addLimits(management, names, logger);
  return {
    publisher,
    link,
    provisioner,
    exchanges,
    management,
    deadQueues,
    watch,
    connections,
    workQueues,
    internal,
    metrics,
    ready: async (timeoutMs) => {
      const reached = await Promise.all([publisher.ready(timeoutMs), link.ready(timeoutMs)]);
      return reached.every(Boolean);
    },
    isUp: () => publisher.state === 'ready' && link.isConnected,
    close: async () => {
      provisioner.close();
      exchanges.close();
      const closing = [publisher.close(), internal.close(1000), link.close(), watch.close()];
      await journal.close();
      await Promise.all(closing);
    },
  };
}
