import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Broker, type BrokerOptions } from '@warren/rabbitmq';

/**
 * Another RabbitMQ than the machine's: a root directory that has one, `/opt/trixie` for example. All
 * tests run on it then.
 */
const root = process.env['WARREN_TEST_BROKER_ROOT'];

/** What every broker of the tests has in common. */
export const brokerDefaults: Partial<BrokerOptions> = root === undefined ? {} : { chroot: root };

/** A broker of one's own in a directory that goes with it. */
export async function createBroker(
  options: Partial<BrokerOptions> = {},
): Promise<{ broker: Broker; remove: () => Promise<void> }> {
  const dataDir = await mkdtemp(
    join(root === undefined ? tmpdir() : `${root}/tmp`, 'warren-broker-'),
  );
  const broker = new Broker({ dataDir, ...brokerDefaults, ...options });
  // Nothing of it is kept, so it need not end in order, which takes seconds.
  const remove = async (): Promise<void> => {
    await broker.kill();
    await rm(dataDir, { recursive: true, force: true });
  };
  return { broker, remove };
}
