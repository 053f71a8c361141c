import {
  BROADCAST,
  DEAD_LETTERS,
  EVENTS,
  GROUP_PREFIX,
  HISTORY,
  PUSH,
  PUSH_PROVIDERS,
  pushQueueOf,
  REPLIES,
  RETRY,
  SEND,
  topology,
  WAIT_PREFIX,
  waitOf,
  WAITS_MS,
  type TopologyNames,
} from '@warren/rabbitmq';
import type { ManagementApi } from '../broker/management.js';
import { WEBHOOKS } from '../outbound/webhooks.js';
import { problem, type Finding } from './finding.js';

export interface Binding {
  source: string;
  destination: string;
  destination_type: string;
  routing_key: string;
}

const PUSH_QUEUES = [PUSH, ...PUSH_PROVIDERS.map(pushQueueOf)];
const WAITS = WAITS_MS.map(waitOf);
/** What servers work on. */
const QUEUES = [SEND, HISTORY, WEBHOOKS, ...PUSH_QUEUES, ...WAITS];
/** What leads there. */
const EXCHANGES = [SEND, RETRY, ...WAITS];

/** What an account that may bind, or an operator, has led into the queues that servers work on. */
export async function checkBindings(
  management: ManagementApi,
  names: TopologyNames,
): Promise<Finding[]> {
  const vhost = encodeURIComponent(names.vhost);
  const paths = [
    ...QUEUES.map((queue) => `/queues/${vhost}/${queue}/bindings`),
    ...EXCHANGES.map((exchange) => `/exchanges/${vhost}/${exchange}/bindings/destination`),
  ];
  const lists = await Promise.all(paths.map((path) => management.get(path)));
  return judgeBindings(
    lists.flatMap((list) => (list ?? []) as Binding[]),
    names,
  );
}

/** @param bindings those of the queues that servers work on, and of the exchanges that lead there. */
export function judgeBindings(bindings: Binding[], names: TopologyNames): Finding[] {
  const wanted = topology(names).bindings;
  const isWanted = (one: Binding): boolean =>
    wanted.some(
      ({ source, destination, destination_type: type, routing_key: key }) =>
        source === one.source &&
        destination === one.destination &&
        type === one.destination_type &&
        key === one.routing_key,
    );
  const isJobs = ({ source, destination, routing_key: key }: Binding): boolean =>
    source === RETRY && destination === key;
  const isWebhooks = ({ source, destination }: Binding): boolean =>
    source === EVENTS && destination === WEBHOOKS;
  // Back ends' own messages may come by an exchange of theirs.
  const isBackEnds = ({ source, destination }: Binding): boolean =>
    destination === SEND && !isOfWarren(source, names);
  return bindings
    .filter(({ source }) => source !== '')
    .filter((one) => !isWanted(one) && !isJobs(one) && !isWebhooks(one) && !isBackEnds(one))
    .map(({ source, destination, destination_type: type, routing_key: key }) =>
      problem(
        `The ${type} ${destination} is bound to ${source}${key === '' ? '' : ` (key ${key})`}: servers take what ` +
          'comes by it for work of theirs, and may be told what they tell, again and again.',
        `Take the binding off; and see who may bind: "rabbitmqctl list_permissions -p ${names.vhost}".`,
      ),
    );
}

const isOfWarren = (exchange: string, names: TopologyNames): boolean =>
  [names.exchange, EVENTS, REPLIES, DEAD_LETTERS, RETRY].includes(exchange) ||
  [BROADCAST, GROUP_PREFIX, WAIT_PREFIX].some((prefix) => exchange.startsWith(prefix));
