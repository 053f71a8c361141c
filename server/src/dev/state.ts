import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { newVapidKey } from '../push/providers/web-push.js';
import { BrokerError, freePorts, isPortFree } from '@warren/rabbitmq';

/** What stays the same between starts. */
export interface DevState {
  port: number;
  serviceKey: string;
  adminKey: string;
  userJwtSecret: string;
  vapidPrivateKey: string;
  webhookSecret: string;
}

/** `DIR/dev.json`: how to reach what runs. There only while it does. */
export interface DevInfo {
  apiUrl: string;
  consoleUrl: string;
  stompUrl: string;
  amqpUrl: string;
  managementUrl: string;
  vhost: string;
  exchange: string;
  serviceKey: string;
  adminKey: string;
  pid: number;
}

/** @throws when nothing runs on the directory. */
export async function readDevInfo(dataDir: string): Promise<DevInfo> {
  try {
    return JSON.parse(await readFile(join(dataDir, 'dev.json'), 'utf8')) as DevInfo;
  } catch (error) {
    const advice = `Nothing runs on ${dataDir}: run "npm start" first, or name a server (see --help).`;
    throw new Error(advice, { cause: error });
  }
}

const PREFERRED_PORT = 8080;
const secret = (): string => randomBytes(24).toString('base64url');

/** Something already runs on this data directory. */
export class AlreadyRunningError extends Error {
  override readonly name = 'AlreadyRunningError';
  readonly code = 'already_running';
  readonly remedy = 'Stop it first, or give this one another directory with --data-dir DIR.';
  constructor(dataDir: string, pid: number) {
    super(`Warren already runs on ${dataDir} (process ${String(pid)}).`);
  }
}

/** Keys and port of this directory; made on the first start. A port that is given is kept from then on. */
export async function loadState(dataDir: string, givenPort: number | undefined): Promise<DevState> {
  const file = join(dataDir, 'state.json');
  let known: Partial<DevState> = {};
  try {
    known = JSON.parse(await readFile(file, 'utf8')) as Partial<DevState>;
  } catch (error) {
    if (!isMissing(error)) {
      throw new BrokerError(
        'data_dir_not_writable',
        `${file} is damaged or cannot be read.`,
        'Remove it to have new keys made.',
        { cause: error },
      );
    }
  }
  const state: DevState = {
    port: givenPort ?? known.port ?? (await choosePort()),
    serviceKey: known.serviceKey ?? `service_${secret()}`,
    adminKey: known.adminKey ?? `admin_${secret()}`,
    userJwtSecret: known.userJwtSecret ?? secret() + secret(),
    vapidPrivateKey: known.vapidPrivateKey ?? newVapidKey(),
    webhookSecret: known.webhookSecret ?? `whsec_${randomBytes(32).toString('base64')}`,
  };
  await writeFile(file, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  return state;
}

async function choosePort(): Promise<number> {
  if (await isPortFree(PREFERRED_PORT)) return PREFERRED_PORT;
  const [port = 0] = await freePorts(1);
  return port;
}

/**
 * Makes this process the directory's only one.
 * @returns a function that gives it back.
 * @throws {AlreadyRunningError}
 */
export async function lockDirectory(dataDir: string): Promise<() => Promise<void>> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw notWritable(dataDir, error);
  }
  const file = join(dataDir, 'lock');
  for (;;) {
    try {
      await writeFile(file, String(process.pid), { flag: 'wx' });
      return () => rm(file, { force: true });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) {
        throw notWritable(dataDir, error);
      }
    }
    const pid = Number(await readFile(file, 'utf8').catch(() => ''));
    if (pid > 0 && pid !== process.pid && (await isNode(pid))) {
      throw new AlreadyRunningError(dataDir, pid);
    }
    // Its owner was killed.
    await rm(file, { force: true });
  }
}

/** An id is used again after a restart of the machine, so that a process has it is not enough. */
async function isNode(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const commandLine = await readFile(`/proc/${String(pid)}/cmdline`, 'utf8').catch(() => 'node');
  return commandLine.includes('node') || commandLine.includes('warren');
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';

function notWritable(dataDir: string, cause: unknown): BrokerError {
  return new BrokerError(
    'data_dir_not_writable',
    `The data directory ${dataDir} cannot be written.`,
    'Make it writable for this user, or choose another one with --data-dir DIR.',
    { cause },
  );
}
