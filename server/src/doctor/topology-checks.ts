import {
  QUORUM_POLICY,
  topology,
  USER_POLICY,
  type Policy,
  type TopologyNames,
  type Version,
} from '@warren/rabbitmq';
import type { ManagementApi } from '../broker/management.js';
import { checkBindings } from './binding-checks.js';
import { ok, problem, warning, type Finding } from './finding.js';

const PROVISION = 'Run "warren provision".';
const at = (...parts: string[]): string => `/${parts.map(encodeURIComponent).join('/')}`;

/** Exchanges, bindings, policies and limits, as a broker of this version needs them. */
export async function checkTopology(
  management: ManagementApi,
  names: TopologyNames,
  version: Version | undefined,
): Promise<Finding[]> {
  const wanted = topology(names, version);
  const findings = [
    ...(await checkExchanges(management, names.vhost, wanted.exchanges)),
    ...(await checkBindings(management, names)),
    ...(await checkPolicies(management, wanted.policies)),
    ...(await checkConnectionLimit(management, names.vhost)),
  ];
  return findings.length > 0 ? findings : [ok('Exchanges, policies and limits are there.')];
}

interface Exchange {
  name: string;
  type: string;
  durable: boolean;
}

/** All of them: asked for one, 3.10 answers 500 when statistics are off. */
export async function listExchanges(management: ManagementApi, vhost: string): Promise<Exchange[]> {
  const list = await management.get(`${at('exchanges', vhost)}?columns=name,type,durable`);
  return (list ?? []) as Exchange[];
}

async function checkExchanges(
  management: ManagementApi,
  vhost: string,
  wanted: Exchange[],
): Promise<Finding[]> {
  const exchanges = await listExchanges(management, vhost);
  return wanted.flatMap(({ name, type }) => {
    const known = exchanges.find((exchange) => exchange.name === name);
    if (known === undefined) return [problem(`There is no exchange ${name}.`, PROVISION)];
    if (known.type === type && known.durable) return [];
    return [problem(`The exchange ${name} is not ${type} and durable.`, 'Delete it first.')];
  });
}

type Known = Omit<Policy, 'vhost'> | undefined;

async function checkPolicies(management: ManagementApi, wanted: Policy[]): Promise<Finding[]> {
  const found = await Promise.all(wanted.map(({ name }) => management.policy(name)));
  const known = new Map(wanted.map(({ name }, index): [string, Known] => [name, found[index]]));
  return [
    ...wanted.flatMap((policy) => judgePolicy(policy, known.get(policy.name))),
    ...judgeDeliveries(known.get(USER_POLICY), known.get(QUORUM_POLICY)),
  ];
}

function judgePolicy({ name, definition }: Policy, known: Known): Finding[] {
  const missing = Object.keys(definition).filter((key) => known?.definition[key] === undefined);
  if (missing.length === 0) return [];
  const what = known === undefined ? 'is not there' : `does not set ${missing.join(', ')}`;
  const means = missing.includes('delivery-limit')
    ? 'a message that a device gave back 20 times is lost to it'
    : 'queues grow without limit';
  return [problem(`The policy ${name} ${what}: ${means}.`, PROVISION)];
}

/** What the limit of deliveries, set in the wrong place or to the wrong number, would do to mailboxes. */
function judgeDeliveries(user: Known, quorum: Known): Finding[] {
  const findings: Finding[] = [];
  if (user?.definition['delivery-limit'] !== undefined) {
    findings.push(
      problem(
        `The policy ${USER_POLICY} sets delivery-limit, which classic queues do not know: it does not apply to them ` +
          'at all, and they grow without limit.',
        `Take delivery-limit out of it; from 4.0 on it belongs into ${QUORUM_POLICY}.`,
      ),
    );
  }
  const limit = quorum?.definition['delivery-limit'];
  if (typeof limit === 'number' && limit >= 0) {
    findings.push(
      warning(
        `The policy ${QUORUM_POLICY} gives messages up that a device gave back ${String(limit)} times.`,
        'delivery-limit = -1',
      ),
    );
  }
  if (user !== undefined && quorum !== undefined && quorum.priority <= user.priority) {
    findings.push(
      problem(
        `The policy ${QUORUM_POLICY} does not stand over ${USER_POLICY}, so that it may apply to nothing.`,
        `Give it a priority over ${String(user.priority)}.`,
      ),
    );
  }
  return findings;
}

async function checkConnectionLimit(management: ManagementApi, vhost: string): Promise<Finding[]> {
  const limits = ((await management.get(at('vhost-limits', vhost))) ?? []) as {
    value?: Record<string, number>;
  }[];
  if (limits.some(({ value = {} }) => (value['max-connections'] ?? -1) > 0)) return [];
  return [warning(`The vhost ${vhost} takes any number of connections.`, PROVISION)];
}
