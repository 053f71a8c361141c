import { inject } from 'vitest';
import { isAtLeast, SURVIVES_HEADERS } from '@warren/rabbitmq';
import { ManagementApi } from '../../server/dist/broker/management.js';

/** Whether no header of a message can crash a queue of the broker under test. */
export async function survivesHeaders(): Promise<boolean> {
  const management = new ManagementApi(inject('broker').endpoints.managementUrl, 'warren');
  return isAtLeast(await management.version(), SURVIVES_HEADERS);
}
