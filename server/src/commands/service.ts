import { randomBytes } from 'node:crypto';
import { backendAccount, type TopologyNames } from '@warren/rabbitmq';
import type { ManagementApi } from '../broker/management.js';
import { CommandError } from '../command-error.js';

const NAME = /^[A-Za-z0-9_-]{1,60}$/;

/**
 * Makes an account for a back end: it may publish to users, and has an events queue of its own.
 * @returns its password, which nobody can ask for again.
 * @throws {CommandError} for a name that cannot be, or that is taken.
 */
export async function addService(
  management: ManagementApi,
  names: TopologyNames,
  name: string,
): Promise<string> {
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
  const password = randomBytes(24).toString('base64url');
  await management.setAccount(backendAccount(password, names, name));
  return password;
}

/**
 * Removes a back end's account, which ends its connections. Never one of another kind.
 * @throws {CommandError} when there is none of this name.
 */
export async function removeService(
  management: ManagementApi,
  names: TopologyNames,
  name: string,
): Promise<void> {
  const permissions = await management.permissionsOf(name);
  const wanted = backendAccount('', names, name).permissions;
  if (permissions?.write !== wanted.write || permissions.configure !== wanted.configure) {
    throw new CommandError(
      `There is no back end's account ${name}.`,
      'Accounts of other kinds are not removed here.',
    );
  }
  // The broker closes the connections of an account that is removed.
  await management.removeAccount(name);
}
