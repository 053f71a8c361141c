import {
  EVENTS_EXCHANGE,
  EVENTS_VHOST,
  serverAccount,
  topology,
  type Permissions,
  type TopologyNames,
} from '@warren/rabbitmq';
import type { ManagementApi } from '../broker/management.js';
import { ok, problem, warning, type Finding } from './finding.js';
import { judgeVersion } from './versions.js';

const PROVISION = 'Run "warren provision".';
const at = (...parts: string[]): string => `/${parts.map(encodeURIComponent).join('/')}`;

/** What the management API tells of the broker and of Warren's place on it. */
export async function checkBroker(
  management: ManagementApi,
  names: TopologyNames,
  account: string,
): Promise<Finding[]> {
  const overview = (await management.get('/overview')) as Overview | undefined;
  if (overview === undefined) {
    return [
      problem(
        'The management API does not let this account in.',
        `rabbitmqctl set_user_tags ${account} administrator; and check WARREN_MANAGEMENT_URL.`,
      ),
    ];
  }
  const findings = await Promise.all([
    checkAccount(management, names, account),
    checkEvents(management, names, account),
    checkGuest(management),
    checkOthers(management, names, account),
    checkTopology(management, names),
    checkListeners(management),
    checkHealth(management),
  ]);
  return [
    judgeVersion(overview.product_name ?? 'unknown', overview.rabbitmq_version ?? '0'),
    checkStatistics(overview),
    ...findings.flat(),
  ];
}

interface Overview {
  product_name?: string;
  rabbitmq_version?: string;
  disable_stats?: boolean;
}

function checkStatistics({ disable_stats: disabled }: Overview): Finding {
  return disabled === true
    ? ok('Statistics for each object are off.')
    : warning(
        'Statistics are collected for each queue, which breaks first with many of them.',
        'management_agent.disable_metrics_collector = true, and scrape rabbitmq_prometheus.',
      );
}

async function checkAccount(
  management: ManagementApi,
  names: TopologyNames,
  account: string,
): Promise<Finding[]> {
  const whoami = (await management.get('/whoami')) as { tags?: string | string[] } | undefined;
  const tags = String(whoami?.tags ?? '').split(',');
  const findings = [
    tags.includes('administrator')
      ? ok(`The account ${account} may close connections.`)
      : problem(
          `The account ${account} may not close connections, so nobody can be cut off.`,
          `rabbitmqctl set_user_tags ${account} administrator`,
        ),
  ];
  const has = await management.permissionsOf(account);
  const needs = serverAccount('', names, account).permissions;
  findings.push(comparePermissions(account, names.vhost, has, needs));
  return findings;
}

function comparePermissions(
  account: string,
  vhost: string,
  has: Permissions | undefined,
  needs: Permissions,
): Finding {
  const parts = ['configure', 'write', 'read'] as const;
  const command = `rabbitmqctl set_permissions -p ${vhost} ${account} ${parts
    .map((part) => `'${needs[part]}'`)
    .join(' ')}`;
  if (has === undefined) return problem(`${account} may not enter the vhost ${vhost}.`, command);
  const same = parts.every((part) => has[part] === needs[part]);
  if (same) return ok(`${account} may do in ${vhost} what it must, and no more.`);
  const all = parts.every((part) => has[part] === '.*');
  return all
    ? warning(`${account} may do everything in ${vhost}.`, command)
    : problem(`${account} has other permissions in ${vhost} than it needs.`, command);
}

/** All of them: asked for one, 3.10 answers 500 when statistics are off. */
async function listExchanges(
  management: ManagementApi,
  vhost: string,
): Promise<{ name: string; type: string; durable: boolean }[]> {
  const list = await management.get(`${at('exchanges', vhost)}?columns=name,type,durable`);
  return (list ?? []) as { name: string; type: string; durable: boolean }[];
}

async function checkEvents(
  management: ManagementApi,
  names: TopologyNames,
  account: string,
): Promise<Finding[]> {
  const exchanges = await listExchanges(management, EVENTS_VHOST);
  if (!exchanges.some(({ name }) => name === EVENTS_EXCHANGE)) {
    return [
      problem(
        'The broker tells of no events, so clients under a false name are not found, and queues that ' +
          'expired are noticed late.',
        'rabbitmq-plugins enable rabbitmq_event_exchange; it declares its exchange in the vhost "/".',
      ),
    ];
  }
  const needs = serverAccount('', names, account).eventPermissions;
  const has = (await management.get(at('permissions', EVENTS_VHOST, account))) as
    Permissions | undefined;
  return needs === undefined ? [] : [comparePermissions(account, EVENTS_VHOST, has, needs)];
}

async function checkGuest(management: ManagementApi): Promise<Finding[]> {
  if (!(await management.hasAccount('guest'))) return [ok('There is no guest.')];
  return [
    problem(
      'There is a guest account; by STOMP, whoever sends no login becomes it.',
      'rabbitmqctl delete_user guest',
    ),
  ];
}

/** Accounts of people and programs that could read along or write to everybody. */
async function checkOthers(
  management: ManagementApi,
  names: TopologyNames,
  account: string,
): Promise<Finding[]> {
  const all = ((await management.get(at('vhosts', names.vhost, 'permissions'))) ?? []) as ({
    user: string;
  } & Permissions)[];
  const mighty = all.filter(
    ({ user, configure, read }) =>
      user !== account && [configure, read].some((pattern) => matches(pattern, names)),
  );
  if (mighty.length === 0) return [ok('No other account can read or change the queues of users.')];
  return mighty.map(({ user }) =>
    warning(
      `${user} can read or change the queues of users.`,
      `If it need not: rabbitmqctl clear_permissions -p ${names.vhost} ${user}; back ends get theirs ` +
        'by "warren service add".',
    ),
  );
}

function matches(pattern: string, { userPrefix }: TopologyNames): boolean {
  try {
    return new RegExp(pattern).test(`${userPrefix}.a.b.c`);
  } catch {
    // Erlang's patterns know more than JavaScript's.
    return true;
  }
}

async function checkTopology(management: ManagementApi, names: TopologyNames): Promise<Finding[]> {
  const { vhost } = names;
  const wanted = topology(names);
  const findings: Finding[] = [];
  const exchanges = await listExchanges(management, vhost);
  for (const { name, type } of wanted.exchanges) {
    const known = exchanges.find((exchange) => exchange.name === name);
    if (known === undefined) findings.push(problem(`There is no exchange ${name}.`, PROVISION));
    else if (known.type !== type || !known.durable) {
      findings.push(
        problem(`The exchange ${name} is not ${type} and durable.`, 'Delete it first.'),
      );
    }
  }
  for (const { name, definition } of wanted.policies) {
    const known = (await management.get(at('policies', vhost, name))) as
      { definition: Record<string, unknown> } | undefined;
    const missing = Object.keys(definition).filter((key) => known?.definition[key] === undefined);
    if (missing.length > 0) {
      const what = known === undefined ? 'is not there' : `does not set ${missing.join(', ')}`;
      findings.push(problem(`The policy ${name} ${what}: queues grow without limit.`, PROVISION));
    }
  }
  const limits = ((await management.get(at('vhost-limits', vhost))) ?? []) as {
    value?: Record<string, number>;
  }[];
  if (!limits.some(({ value = {} }) => (value['max-connections'] ?? -1) > 0)) {
    findings.push(warning(`The vhost ${vhost} takes any number of connections.`, PROVISION));
  }
  return findings.length > 0 ? findings : [ok('Exchanges, policies and limits are there.')];
}

/** Ways in that Warren does not use, where each client is a stranger. */
const UNUSED: [protocol: string, remedy: string][] = [
  ['stomp', 'stomp.listeners.tcp = none'],
  ['mqtt', 'rabbitmq-plugins disable rabbitmq_mqtt'],
  ['stream', 'rabbitmq-plugins disable rabbitmq_stream'],
];

async function checkListeners(management: ManagementApi): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [protocol, remedy] of UNUSED) {
    // The answer is "missing", with 503, when nothing listens.
    const isOpen = await management.answers(at('health', 'checks', 'protocol-listener', protocol));
    if (isOpen)
      findings.push(warning(`The broker listens for ${protocol}, in plain text.`, remedy));
  }
  return findings.length > 0 ? findings : [ok('It listens for nothing that Warren does not use.')];
}

async function checkHealth(management: ManagementApi): Promise<Finding[]> {
  return (await management.answers('/health/checks/alarms'))
    ? [ok('No alarms.')]
    : [
        problem(
          'The broker has an alarm (memory or disk) and takes no messages.',
          'rabbitmq-diagnostics alarms; free disk space or memory.',
        ),
      ];
}
