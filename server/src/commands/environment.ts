import { DEFAULT_NAMES, type TopologyNames } from '@warren/rabbitmq';
import { z } from 'zod';
import { ManagementApi } from '../broker/management.js';
import { CommandError } from '../command-error.js';
import { ConfigError, problemsOf, type ConfigProblem } from '../config.js';
import { judgeCertificate } from '../doctor/certificates.js';
import { HttpProblem } from '../problem.js';
import { gather, VARIABLES } from '../variables.js';

type VariableName = keyof typeof VARIABLES;
type Given<Name extends VariableName> = {
  [Each in Name]?: NonNullable<z.output<(typeof VARIABLES)[Each]>>;
};

/**
 * What a command needs of the environment, read as the server reads it: from files too, and checked. Other
 * variables may be missing, wrong, or in files that only the server may read.
 * @throws {ConfigError}
 */
export function readVariables<Name extends VariableName>(...names: Name[]): Given<Name> {
  const problems: ConfigProblem[] = [];
  const values = gather(process.env, problems, names);
  const shape = Object.fromEntries(names.map((name) => [name, VARIABLES[name].optional()]));
  const result = z.object(shape).safeParse(values);
  if (!result.success) problems.push(...problemsOf(result.error, values, problems));
  if (problems.length > 0) throw new ConfigError(problems);
  return result.data as Given<Name>;
}

/** Names on a broker; the vhost is the address's. */
export function brokerNames(
  amqpUrl = readVariables('WARREN_AMQP_URL').WARREN_AMQP_URL,
): TopologyNames {
  const names = readVariables('WARREN_EXCHANGE', 'WARREN_USER_PREFIX', 'WARREN_LIVE_PREFIX');
  const vhost = amqpUrl && decodeURIComponent(new URL(amqpUrl).pathname.slice(1));
  return {
    vhost: vhost || DEFAULT_NAMES.vhost,
    exchange: names.WARREN_EXCHANGE ?? DEFAULT_NAMES.exchange,
    userPrefix: names.WARREN_USER_PREFIX ?? DEFAULT_NAMES.userPrefix,
    livePrefix: names.WARREN_LIVE_PREFIX ?? DEFAULT_NAMES.livePrefix,
  };
}

/** @throws {CommandError} when there is no address; `otherwise` is added to what to do. */
export function managementOf({ vhost }: TopologyNames, otherwise = ''): ManagementApi {
  const { WARREN_MANAGEMENT_URL: url } = readVariables('WARREN_MANAGEMENT_URL');
  if (url !== undefined) return new ManagementApi(url, vhost);
  throw new CommandError(
    "The address of the broker's management API is missing.",
    `Set WARREN_MANAGEMENT_URL to http://name:password@host:15672.${otherwise}`,
  );
}

/** Work by the management API of the variables. @throws {CommandError} when that fails. */
export async function withManagement<Result>(
  work: (management: ManagementApi, names: TopologyNames) => Promise<Result>,
  otherwise?: string,
): Promise<Result> {
  const names = brokerNames();
  const management = managementOf(names, otherwise);
  try {
    return await work(management, names);
  } catch (error) {
    if (!(error instanceof HttpProblem)) throw error;
    const { what, remedy } = judgeCertificate(management.host, error) ?? {
      what: error.message,
      remedy: 'Check WARREN_MANAGEMENT_URL, what its account may do, and that the broker runs.',
    };
    throw new CommandError(what, remedy ?? '', { cause: error });
  }
}
