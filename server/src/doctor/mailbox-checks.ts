import type { TopologyNames } from '@warren/rabbitmq';
import type { ManagementApi } from '../broker/management.js';
import { countNodes, suitableType, type MailboxTypeSetting } from '../mailboxes/mailbox-type.js';
import type { MailboxType } from '../storage/schema.js';
import { ok, problem, warning, type Finding } from './finding.js';
import { readMetrics } from './metrics-checks.js';

/** How many mailboxes there are of each type of queue. */
export type MailboxCounts = Record<string, number>;

/** A classic queue takes two while a message for everybody is written, and keeps one. */
const DESCRIPTORS_EACH = 2;

export interface MailboxHost {
  management: ManagementApi;
  names: Pick<TopologyNames, 'userPrefix' | 'vhost'>;
  /** Of the Prometheus plugin, one for each node, where they are known. */
  metricsUrls: string[];
  mailboxType: MailboxTypeSetting;
}

export async function checkMailboxes(host: MailboxHost): Promise<Finding[]> {
  const { management, names, metricsUrls, mailboxType } = host;
  const counts = await management.countByType(`${names.userPrefix}.`);
  const type = mailboxType === 'auto' ? await typeThatSuits(management) : mailboxType;
  const dead = await management.queuesWithoutProcess(`${names.userPrefix}.`);
  const metrics = await Promise.all(metricsUrls.map(readMetrics));
  const known = metrics.map((node) => node.maxOpenFiles).filter((limit) => limit !== undefined);
  return [
    ...metrics.flatMap((node) => (node.maxOpenFiles === undefined ? [node.finding] : [])),
    ...judgeDead([...dead], names.vhost),
    ...judgeTypes(counts, type),
    ...(known.length > 0 ? judgeDescriptors(counts, Math.min(...known)) : []),
  ];
}

async function typeThatSuits(management: ManagementApi): Promise<MailboxType | undefined> {
  const nodes = await countNodes(management);
  return nodes === undefined ? undefined : suitableType(nodes);
}

/** More than a few say no more. */
const DEAD_NAMED = 3;

/** @param queues mailboxes that RabbitMQ lists and has no process for. */
export function judgeDead(queues: string[], vhost: string): Finding[] {
  if (queues.length === 0) return [];
  const list = queues.slice(0, DEAD_NAMED).join(', ');
  const more = queues.length > DEAD_NAMED ? ', …' : '';
  return [
    warning(
      `${String(queues.length)} mailboxes are dead: RabbitMQ could not bring them back (${list}${more}).`,
      'A server gives their devices others. To be rid of each of the queues, which RabbitMQ does not delete by itself: ' +
        `rabbitmqctl eval '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"${vhost}">>, queue, <<"NAME">>)), ` +
        "rabbit_amqqueue:delete_crashed(Q).'",
    ),
  ];
}

/** @param configured the type that new mailboxes get, where that is known. */
export function judgeTypes(counts: MailboxCounts, configured?: string): Finding[] {
  const types = Object.entries(counts).filter(([, count]) => count > 0);
  if (types.length === 0) return [];
  const list = types.map(([type, count]) => `${String(count)} ${type}`).join(', ');
  const others = types.filter(([type]) => configured !== undefined && type !== configured);
  if (others.length === 0) return [ok(`Mailboxes by type: ${list}.`)];
  return [
    warning(
      `Mailboxes by type: ${list}; new ones are ${configured ?? ''}.`,
      'Each is replaced by one of the other type at the next session of its device; those of devices that stay ' +
        'away end when their policy says so.',
    ),
  ];
}

/** Mailboxes lie on all nodes, but may lie on one: it is the smallest limit that counts. */
export function judgeDescriptors(counts: MailboxCounts, limit: number): Finding[] {
  const needed = (counts['classic'] ?? 0) * DESCRIPTORS_EACH;
  if (needed < limit * 0.8) return [ok(`The broker may open ${String(limit)} files.`)];
  const what =
    `${String(counts['classic'])} classic mailboxes may need ${String(needed)} open files, and the broker may ` +
    `open ${String(limit)}`;
  const remedy =
    'LimitNOFILE in its systemd unit, or ulimit -n; or quorum mailboxes, which need none.';
  return needed > limit
    ? [problem(`${what}: a message to all of them would crash it.`, remedy)]
    : [warning(`${what}.`, remedy)];
}
