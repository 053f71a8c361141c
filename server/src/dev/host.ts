import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { isPortFree } from '@warren/rabbitmq';
import { CommandError } from '../command-error.js';

export const LOOPBACK = '127.0.0.1';

/**
 * Whether all can listen on this address, and others be told it: so none that stands for several.
 * @throws {CommandError} when not.
 */
export async function checkHost(host: string): Promise<void> {
  if (isIPv4(host) && host !== '0.0.0.0' && (await isPortFree(0, host))) return;
  const own = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address);
  throw new CommandError(
    `--host must be an IPv4 address of this machine, which ${host} is not.`,
    own.length > 0 ? `It has ${own.join(', ')}.` : 'It has none that others reach.',
  );
}

/** In the place of what the environment says. For trying things out, nothing there needs to be encrypted. */
export const hostVariables = (host: string): Record<string, string> => ({
  WARREN_HOST: host,
  WARREN_HOST_FILE: '',
  WARREN_ALLOW_PLAINTEXT: [process.env['WARREN_ALLOW_PLAINTEXT'], 'http,clients,webhooks']
    .filter(Boolean)
    .join(','),
});
