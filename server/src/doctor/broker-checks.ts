import {
  backendAccount,
  BROADCAST,
  EVENTS_EXCHANGE,
  EVENTS_VHOST,
  isAtLeast,
  parseVersion,
  serverAccount,
  SURVIVES_HEADERS,
  type Permissions,
  type TopologyNames,
  type Version,
} from '@warren/rabbitmq';
import type { ManagementApi } from '../broker/management.js';
import { ok, problem, warning, type Finding } from './finding.js';
import { checkMailboxes, type MailboxHost } from './mailbox-checks.js';
import { missingVhost } from './own-login.js';
import { checkTopology, listExchanges } from './topology-checks.js';
import { judgeVersion } from './versions.js';

const at = (...parts: string[]): string => `/${parts.map(encodeURIComponent).join('/')}`;

/** What the management API tells of the broker and of Warren's place on it. */
export async function checkBroker(
  broker: MailboxHost & { names: TopologyNames },
  account: string,
): Promise<Finding[]> {
  const { management, names } = broker;
  const refusal = await management.refusal('/overview');
  if (refusal !== undefined) {
    return [
      problem(
        `The management API does not let the account of WARREN_MANAGEMENT_URL in (${refusal}).`,
        `Check its name and password; and rabbitmqctl set_user_tags ${account} administrator.`,
      ),
    ];
  }
  const overview = (await management.get('/overview')) as Overview;
  const version = parseVersion(overview.rabbitmq_version ?? '');
  const isThere = await management.answers(at('vhosts', names.vhost));
  const findings = await Promise.all([
    checkGuest(management),
    checkListeners(management),
    checkHealth(management),
    checkMetadata(management, version),
    ...(isThere
      ? [
          checkAccount(management, names, account),
          checkEvents(management, names, account),
          checkOthers(management, names, account, version),
          checkTopology(management, names, version),
          checkMailboxes(broker),
        ]
      : [[missingVhost(names.vhost, account)]]),
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

/** From 4.3 on Khepri is the only one; 4.2 keeps what a node that was updated had. */
async function checkMetadata(
  management: ManagementApi,
  version: Version | undefined,
): Promise<Finding[]> {
  if (!isAtLeast(version, [4, 2, 0])) return [];
  const flags = ((await management.get('/feature-flags')) ?? []) as {
    name: string;
    state: string;
  }[];
  const khepri = flags.find(({ name }) => name === 'khepri_db');
  if (khepri === undefined || khepri.state === 'enabled') return [];
  return [
    warning(
      'Metadata are still in Mnesia, which 4.3 no longer has.',
      'Before the update: rabbitmqctl enable_feature_flag khepri_db',
    ),
  ];
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

/** Accounts of people and programs that could read along, change mailboxes, or crash them. */
async function checkOthers(
  management: ManagementApi,
  names: TopologyNames,
  account: string,
  version: Version | undefined,
): Promise<Finding[]> {
  const all = ((await management.get(at('vhosts', names.vhost, 'permissions'))) ?? []) as Other[];
  const others = all.filter(({ user }) => user !== account);
  return [...judgeReaders(others, names), ...judgePublishers(others, names, version)];
}

type Other = { user: string } & Permissions;

function judgeReaders(others: Other[], names: TopologyNames): Finding[] {
  const mailbox = `${names.userPrefix}.a.b.c`;
  const mighty = others.filter(({ configure, read }) =>
    [configure, read].some((pattern) => matches(pattern, mailbox)),
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

/** Who can publish to mailboxes with headers of its own, where that can crash them. */
export function judgePublishers(
  others: Other[],
  names: TopologyNames,
  version: Version | undefined,
): Finding[] {
  if (isAtLeast(version, SURVIVES_HEADERS)) return [];
  return others
    .filter(({ write }) => [names.exchange, BROADCAST].some((name) => matches(write, name)))
    .map(({ user }) => {
      const safe = backendAccount('', names, user, { isDirect: false }).permissions;
      const patterns = [safe.configure, safe.write, safe.read].map((pattern) => `'${pattern}'`);
      return warning(
        `${user} may publish straight to mailboxes, and before RabbitMQ 4.0 one message with a malformed header ` +
          'x-death crashes those that it expires in.',
        'Update RabbitMQ, or let it publish to warren.send alone: ' +
          `rabbitmqctl set_permissions -p ${names.vhost} ${user} ${patterns.join(' ')}`,
      );
    });
}

function matches(pattern: string, name: string): boolean {
  try {
    return new RegExp(pattern).test(name);
  } catch {
    // Erlang's patterns know more than JavaScript's.
    return true;
  }
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
