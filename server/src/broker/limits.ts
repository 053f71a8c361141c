import {
  QUORUM_POLICY,
  topology,
  USER_POLICY,
  type Policy,
  type TopologyNames,
} from '@warren/rabbitmq';
import type { Logger } from 'pino';
import type { ManagementApi } from './management.js';

/**
 * Adds the limits of queues and connections that are missing. Without them all works, without bounds; so a
 * management API that cannot be reached is worth a warning and no more.
 */
export async function addLimits(
  management: ManagementApi,
  names: TopologyNames,
  logger: Logger,
): Promise<void> {
  try {
    const { policies, parameters } = topology(names, await management.version());
    for (const policy of policies) {
      const isQuorum = policy.name === QUORUM_POLICY;
      await management.addPolicy(isQuorum ? await asChanged(management, policy) : policy);
    }
    for (const { value } of parameters) {
      await management.addConnectionLimit(value['max-connections']);
    }
  } catch (error) {
    const advice = 'there are no limits until the policies are set: run "warren provision"';
    logger.warn({ err: error }, advice);
  }
}

/**
 * A quorum queue falls under this policy alone, so it begins with the limits that an operator has set in the other
 * one; but with no key besides, which quorum queues might not know.
 */
async function asChanged(management: ManagementApi, policy: Policy): Promise<Policy> {
  const changed = (await management.policy(USER_POLICY))?.definition ?? {};
  const known = Object.keys(policy.definition).filter((key) => changed[key] !== undefined);
  const definition = Object.fromEntries(known.map((key) => [key, changed[key] ?? '']));
  return { ...policy, definition: { ...policy.definition, ...definition } };
}
