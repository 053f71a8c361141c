import { randomBytes } from 'node:crypto';
import { access, chmod, constants, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BrokerError } from './errors.js';
import { freePorts } from './ports.js';

export interface BrokerPorts {
  amqp: number;
  stomp: number;
  management: number;
  /** By TLS, where that is asked for. */
  secureManagement: number;
  /** Of the Prometheus plugin. */
  metrics: number;
  distribution: number;
  epmd: number;
}

/** What stays the same between the starts of a private broker, and what of it runs now. */
export interface BrokerState {
  nodeName: string;
  ports: BrokerPorts;
  passwords: { server: string; backend: string };
  /** Process groups that were started; they outlive a launcher that is killed. */
  running?: { broker: number; epmd: number };
}

const fileIn = (dir: string): string => join(dir, 'state.json');

/** Makes the directory, or says in a {@link BrokerError} why it cannot be used. */
export async function ensureWritable(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await access(dir, constants.W_OK | constants.X_OK);
    // Root passes access() on a read-only mount's directory: only a write can tell.
    await writeFile(join(dir, '.writable'), '');
    // The node's own files, messages among them, are made for everybody to read. Whose directory it is not cannot.
    await chmod(dir, 0o700).catch(() => undefined);
  } catch (error) {
    throw new BrokerError(
      'data_dir_not_writable',
      `The data directory ${dir} cannot be written.`,
      'Make it writable for this user, or choose another one with --data-dir DIR.',
      { cause: error },
    );
  }
}

export async function readState(dir: string): Promise<BrokerState | undefined> {
  let text: string;
  try {
    text = await readFile(fileIn(dir), 'utf8');
  } catch {
    return undefined;
  }
  try {
    const state = JSON.parse(text) as BrokerState;
    // Directories of before they had ports of their own.
    const [secureManagement = 0, metrics = 0] = await freePorts(2);
    state.ports = {
      ...state.ports,
      secureManagement: state.ports.secureManagement || secureManagement,
      metrics: state.ports.metrics || metrics,
    };
    return state;
  } catch (error) {
    throw new BrokerError(
      'broker_start_failed',
      `${fileIn(dir)} is damaged.`,
      `Remove ${dir} to start over with an empty broker, or restore the file.`,
      { cause: error },
    );
  }
}

/** Written beside and renamed, so that a kill in the middle leaves the old one whole. */
export async function writeState(dir: string, state: BrokerState): Promise<void> {
  const temporary = `${fileIn(dir)}.new`;
  await writeFile(temporary, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  await rename(temporary, fileIn(dir));
}

/** Ports that were given stand; the others are as before, or free ones. */
export async function newState(given: Partial<BrokerPorts>): Promise<BrokerState> {
  const drawn = await freePorts(7);
  const [amqp = 0, stomp = 0, management = 0, secureManagement = 0, metrics = 0] = drawn;
  const [distribution = 0, epmd = 0] = drawn.slice(5);
  const secret = () => randomBytes(24).toString('base64url');
  return {
    nodeName: `warren-${randomBytes(4).toString('hex')}@localhost`,
    ports: { amqp, stomp, management, secureManagement, metrics, distribution, epmd, ...given },
    passwords: { server: secret(), backend: secret() },
  };
}
