import { parseVersion, topology, type Version } from '@warren/rabbitmq';
import { brokerNames, readVariables, withManagement } from './environment.js';

/** Of a broker that cannot be asked: the series that is recommended. */
const RECOMMENDED: Version = [4, 3, 6];

/** What `warren provision` would make, as RabbitMQ definitions, which differ from version to version. */
export async function printTopology(forVersion?: string): Promise<string> {
  const definitions = topology(brokerNames(), await versionOf(forVersion));
  return `${JSON.stringify(definitions, null, 2)}\n`;
}

async function versionOf(text: string | undefined): Promise<Version | undefined> {
  if (text !== undefined) {
    const [major = '', minor = '0', patch = '0'] = text.split('.');
    const version = parseVersion(`${major}.${minor}.${patch}`);
    if (version !== undefined) return version;
    throw new Error(`"${text}" is no version of RabbitMQ: say 3.13 or 4.3.6, for example.`);
  }
  if (readVariables('WARREN_MANAGEMENT_URL').WARREN_MANAGEMENT_URL === undefined)
    return RECOMMENDED;
  return withManagement((management) => management.version());
}

/** Makes it on the broker, for the version that this one has. @returns what to tell. */
export function provision(): Promise<string> {
  return withManagement(async (management, names) => {
    await management.importDefinitions(topology(names, await management.version()));
    return `The vhost ${names.vhost} has all that Warren needs.\n`;
  }, ' Or use --print.');
}
