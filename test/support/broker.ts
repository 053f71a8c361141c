import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Broker, type BrokerOptions } from '@warren/rabbitmq';
import { brokerRoot } from './other-broker.js';

/** What every broker of the tests has in common. */
export const brokerDefaults: Partial<BrokerOptions> = {
  ...(brokerRoot !== undefined && { chroot: brokerRoot }),
  // Figures and expiry of quorum queues come with their tick, and tests wait for both.
  quorumTickMs: 1000,
};

/** A broker of one's own in a directory that goes with it. */
export async function createBroker(
  options: Partial<BrokerOptions> = {},
): Promise<{ broker: Broker; remove: () => Promise<void> }> {
  const dataDir = await mkdtemp(
    join(brokerRoot === undefined ? tmpdir() : `${brokerRoot}/tmp`, 'warren-broker-'),
  );
  const broker = new Broker({ dataDir, ...brokerDefaults, ...options });
  // Nothing of it is kept, so it need not end in order, which takes seconds.
  const remove = async (): Promise<void> => {
    await broker.kill();
    await rm(dataDir, { recursive: true, force: true });
  };
  return { broker, remove };
}
