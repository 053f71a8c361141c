import { randomBytes } from 'node:crypto';
import {
  backendAccount,
  EVENTS,
  isAtLeast,
  REPLIES,
  SEND,
  SURVIVES_HEADERS,
  type TopologyNames,
} from '@warren/rabbitmq';
import type { ManagementApi } from '../broker/management.js';
import { CommandError } from '../command-error.js';
import { listExchanges } from '../doctor/topology-checks.js';

const NAME = /^[A-Za-z0-9_-]{1,60}$/;

/** An account that was made. */
export interface AddedService {
  /** Nobody can ask for it again. */
  password: string;
  /** What whoever made it should know. */
  note: string | undefined;
}

/**
 * Makes an account for a back end, with an events queue of its own. It may publish to users directly where one
 * message of that kind cannot crash their mailboxes ({@link SURVIVES_HEADERS}), elsewhere to `warren.send` alone.
 * @param isDirect whether it may publish directly all the same.
 * @throws {CommandError} for a name that cannot be, or that is taken.
 */
export async function addService(
  management: ManagementApi,
  names: TopologyNames,
  name: string,
  { isDirect = false }: { isDirect?: boolean } = {},
): Promise<AddedService> {
  if (!NAME.test(name)) {
    throw new CommandError(
      'The name must have 1 to 60 characters of A-Z a-z 0-9 _ -.',
      'It becomes part of the name of its events queue.',
    );
  }
  if (await management.hasAccount(name)) {
    throw new CommandError(
      `There is an account ${name}.`,
      `To exchange a password without a gap, add a second account (${name}-2), move the back end over, ` +
        `and remove the first: warren service remove ${name}`,
    );
  }
  const isSafe = isAtLeast(await management.version(), SURVIVES_HEADERS);
  const password = randomBytes(24).toString('base64url');
  const account = backendAccount(password, names, name, { isDirect: isSafe || isDirect });
  await management.setAccount(account);
  return { password, note: isSafe ? undefined : isDirect ? DIRECT : INDIRECT(names.exchange) };
}

const FAULT =
  'Before RabbitMQ 4.0 one message with a malformed header x-death crashes the mailboxes that it expires in';
const DIRECT = `${FAULT}, and this account can publish one: give it to programs that you trust.`;
const INDIRECT = (exchange: string): string =>
  `${FAULT}, so this account may publish to warren.send alone, not to ${exchange} as the publish helper does (--direct allows it).`;

/**
 * Removes a back end's account, which ends its connections, and all that it may have made: queues that nobody reads
 * would fill the disk, and a binding would go on leading somewhere. Never an account of another kind.
 * @throws {CommandError} when there is none of this name.
 */
export async function removeService(
  management: ManagementApi,
  names: TopologyNames,
  name: string,
): Promise<void> {
  const isBackend = await isBackendAccount(management, names, name);
  const isOther = !isBackend && (await management.hasAccount(name));
  // An account that was removed may have left something, should the command have been broken off.
  const hasLeft = !isOther && (await pathsOf(management, names, name)).length > 0;
  if (!isBackend && !hasLeft) {
    throw new CommandError(
      `There is no back end's account ${name}.`,
      'Accounts of other kinds are not removed here.',
    );
  }
  const open = await management.connectionsOf(name);
  // First: the broker closes the connections of an account that is removed, which makes nothing any more.
  await management.removeAccount(name);
  // But for those by AMQP 1.0, which RabbitMQ 4 lets go on.
  for (const connection of new Set([...open, ...(await management.connectionsOf(name))])) {
    await management.closeConnection(connection, 'account_removed');
  }
  for (const path of await pathsOf(management, names, name)) await management.delete(path);
}

async function isBackendAccount(
  management: ManagementApi,
  names: TopologyNames,
  name: string,
): Promise<boolean> {
  const has = await management.permissionsOf(name);
  return [true, false].some((isDirect) => {
    const { write, configure } = backendAccount('', names, name, { isDirect }).permissions;
    return has?.write === write && has.configure === configure;
  });
}

/** What an account may have made, as the management API calls it: queues, exchanges, bindings between exchanges. */
async function pathsOf(
  management: ManagementApi,
  { vhost, exchange }: TopologyNames,
  name: string,
): Promise<string[]> {
  const isOwn = (object: string): boolean =>
    object === `${EVENTS}.${name}` || object.startsWith(`${REPLIES}.${name}.`);
  const paths = [
    ...[...(await management.queues())].filter(isOwn).map((queue) => at('queues', vhost, queue)),
    ...(await listExchanges(management, vhost))
      .filter((known) => isOwn(known.name))
      .map((known) => at('exchanges', vhost, known.name)),
  ];
  // Whoever has made these: nothing that is told is to be sent again.
  for (const source of [EVENTS, REPLIES]) {
    for (const destination of [SEND, exchange]) {
      const between = at('bindings', vhost, 'e', source, 'e', destination);
      const bindings = (await management.get(between)) as { properties_key: string }[] | undefined;
      paths.push(...(bindings ?? []).map(({ properties_key: key }) => between + at(key)));
    }
  }
  return paths;
}

const at = (...parts: string[]): string => `/${parts.map(encodeURIComponent).join('/')}`;
