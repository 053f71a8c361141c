import type { TestProject } from 'vitest/node';
import type { BrokerEndpoints, BrokerPorts, Version } from '@warren/rabbitmq';
import { createBroker } from './broker.js';
import { startPostgres } from './postgres.js';

/** The broker that all test files share; those that restart or kill one make their own. */
export interface SharedBroker {
  endpoints: BrokerEndpoints;
  ports: BrokerPorts;
  /** The private key that the broker knows the public half of. */
  signingKey: string;
  publicKeyPath: string;
  version: Version | undefined;
}

declare module 'vitest' {
  interface ProvidedContext {
    broker: SharedBroker;
    /** PostgreSQL for all servers, when the tests run on it; else each has a file. */
    databaseUrl: string | undefined;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { broker, remove } = await createBroker();
  await broker.start();
  const postgres =
    process.env['WARREN_TEST_DATABASE'] === 'postgres' ? await startPostgres() : undefined;
  project.provide('databaseUrl', postgres?.url);
  project.provide('broker', {
    endpoints: broker.endpoints,
    ports: broker.ports,
    signingKey: broker.signingKey.privateKey,
    publicKeyPath: broker.signingKey.publicKeyPath,
    version: broker.version,
  });
  return async () => {
    await postgres?.close();
    await remove();
  };
}
