import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { nodeEnvironment, writeConfiguration, type Place } from './configuration.js';
import { BrokerError } from './errors.js';
import { findServerScript, installedVersion } from './installation.js';
import { ensureSigningKey, type SigningKey } from './keys.js';
import { DEFAULT_NAMES, type TopologyNames } from './names.js';
import type { BrokerEndpoints, BrokerOptions } from './options.js';
import { isListening, isPortFree } from './ports.js';
import { exited, hasArgument, isAlive, signalGroup, waitUntil } from './processes.js';
import {
  ensureWritable,
  newState,
  readState,
  writeState,
  type BrokerPorts,
  type BrokerState,
} from './state.js';
import type { Version } from './version.js';

const HOST = '127.0.0.1';
/** What a node may take to recover its queues: with 20,000 quorum queues that hold mail it was four minutes. */
const START_TIMEOUT_MS = 600_000;
/** And to close them, before it is killed: half a minute. */
const STOP_TIMEOUT_MS = 120_000;

/**
 * A RabbitMQ node of one's own, beside whatever else runs on the machine: own name, data, cookie,
 * ports, epmd and configuration. Any number run side by side, as root or as anybody else.
 */
export class Broker {
  readonly dataDir: string;
  readonly #options: BrokerOptions;
  readonly #names: TopologyNames;
  #state: BrokerState | undefined;
  #version: Version | undefined;
  #signingKey: SigningKey | undefined;
  #node: ChildProcess | undefined;
  #epmd: ChildProcess | undefined;

  constructor(options: BrokerOptions) {
    if (options.tls !== undefined && options.clientHost !== undefined) {
      throw new TypeError('Give only one of tls and clientHost.');
    }
    this.#options = options;
    this.#names = options.names ?? DEFAULT_NAMES;
    this.dataDir = resolve(options.dataDir);
  }

  get ports(): BrokerPorts {
    return this.#started().ports;
  }

  /** The key that the node accepts clients' tokens of. */
  get signingKey(): SigningKey {
    if (this.#signingKey === undefined) throw new Error('The broker was not started yet.');
    return this.#signingKey;
  }

  /** Of the RabbitMQ that was started; undefined where that cannot be told from its files. */
  get version(): Version | undefined {
    return this.#version;
  }

  get logFile(): string {
    return join(this.dataDir, 'log', 'rabbit.log');
  }

  get endpoints(): BrokerEndpoints {
    const { ports, passwords } = this.#started();
    const vhost = encodeURIComponent(this.#names.vhost);
    const { tls } = this.#options;
    const s = tls === undefined ? '' : 's';
    // Certificates name hosts.
    const host = tls === undefined ? HOST : 'localhost';
    const clientHost = this.#options.clientHost ?? host;
    const amqp = (credentials: string, at = host) =>
      `amqp${s}://${credentials}${at}:${String(ports.amqp)}/${vhost}`;
    const management = tls === undefined ? ports.management : ports.secureManagement;
    return {
      amqpUrl: amqp(`warren-server:${passwords.server}@`),
      backendAmqpUrl: amqp(`warren-backend:${passwords.backend}@`),
      clientAmqpUrl: amqp('', clientHost),
      stompUrl: `ws${s}://${clientHost}:${String(ports.stomp)}/ws`,
      managementUrl: `http${s}://warren-server:${passwords.server}@${host}:${String(management)}`,
      metricsUrl: `http://${HOST}:${String(ports.metrics)}/metrics`,
    };
  }

  /**
   * Resolves when the node takes connections on all its ports. A node that an earlier launcher left
   * behind on the same directory is stopped first.
   * @throws {BrokerError} with a stable `code` and a `remedy`.
   */
  async start(): Promise<void> {
    if (this.#node !== undefined) throw new Error('The broker is already running.');
    await ensureWritable(this.dataDir);
    const script = await this.#script();
    const state = (await readState(this.dataDir)) ?? (await newState(this.#options.ports ?? {}));
    Object.assign(state.ports, this.#options.ports);
    await stopLeftover(state);
    await this.#assertPortsFree(state.ports);
    await mkdir(join(this.dataDir, 'log'), { recursive: true });
    this.#signingKey = await ensureSigningKey(join(this.dataDir, 'keys'));
    this.#version = await installedVersion(script, this.#options.chroot);
    await writeConfiguration(state, this.signingKey, this.#place, {
      ...this.#options,
      names: this.#names,
      version: this.#version,
    });
    this.#state = state;

    this.#epmd = this.#spawn('epmd', ['-address', HOST, '-port', String(state.ports.epmd)], {});
    // A node that is there before its epmd registers late, and takes five seconds longer to stop.
    await waitUntil(() => isListening(state.ports.epmd), 5000, 10);
    this.#node = this.#spawn(script, [], nodeEnvironment(state, this.#place));
    state.running = { broker: this.#node.pid ?? 0, epmd: this.#epmd.pid ?? 0 };
    await writeState(this.dataDir, state);
    try {
      await this.#untilReady(this.#node);
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /** Lets the node close its queues in order, then ends it. Nothing to stop is no error. */
  async stop(): Promise<void> {
    const node = this.#node;
    if (node?.pid !== undefined && node.exitCode === null && node.signalCode === null) {
      // To the script alone: it passes the signal on and waits for the node.
      node.kill('SIGTERM');
      const hasEnded = () => node.exitCode !== null || node.signalCode !== null;
      await waitUntil(hasEnded, STOP_TIMEOUT_MS, 20);
    }
    await this.kill();
  }

  /** Ends the node at once, as a power cut would. */
  async kill(): Promise<void> {
    for (const child of [this.#node, this.#epmd]) {
      if (child?.pid === undefined) continue;
      signalGroup(child.pid, 'SIGKILL');
      await exited(child);
    }
    const started = this.#node !== undefined;
    this.#node = undefined;
    this.#epmd = undefined;
    if (started) await this.#untilPortsFree();
    if (this.#state?.running !== undefined) {
      delete this.#state.running;
      await writeState(this.dataDir, this.#state);
    }
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /**
   * Runs `rabbitmqctl` against this node.
   * @returns what it printed.
   */
  async control(...args: string[]): Promise<string> {
    const state = this.#started();
    const tool = (await this.#script()).replace(/rabbitmq-server$/, 'rabbitmqctl');
    const [program, ...rest] = this.#command(tool, ['--node', state.nodeName, ...args]);
    const { stdout } = await promisify(execFile)(program, rest, {
      // The node's environment tells which plugins bring commands along.
      env: { ...this.#baseEnvironment(), ...nodeEnvironment(state, this.#place) },
    });
    return stdout;
  }

  /** The last lines of the node's own log, for an error message. */
  async logTail(lines = 15): Promise<string> {
    const read = (file: string) => readFile(file, 'utf8').catch(() => '');
    // A node that cannot boot says why on its console; later on the log file has it all.
    const console = await read(join(this.dataDir, 'log', 'console.log'));
    const log = console.includes('BOOT FAILED') ? console : (await read(this.logFile)) || console;
    return log.trimEnd().split('\n').slice(-lines).join('\n');
  }

  #started(): BrokerState {
    if (this.#state === undefined) throw new Error('The broker was not started yet.');
    return this.#state;
  }

  async #script(): Promise<string> {
    const script =
      this.#options.serverScript ?? (await findServerScript(this.#options.chroot ?? '/'));
    if (script !== undefined) return script;
    throw new BrokerError(
      'broker_not_installed',
      'RabbitMQ is not installed on this machine.',
      'Install it (Debian, Ubuntu: "apt-get install rabbitmq-server"; macOS: "brew install rabbitmq"), ' +
        'or use a broker of your own, in Docker for example, with WARREN_AMQP_URL.',
    );
  }

  async #assertPortsFree(ports: BrokerPorts): Promise<void> {
    for (const [name, port] of Object.entries(ports) as [string, number][]) {
      if (await this.#isPortFree(port)) continue;
      throw new BrokerError(
        'port_taken',
        `Port ${String(port)}, which the broker's ${name} listener uses, is taken by another program.`,
        `End that program, or remove ${join(this.dataDir, 'state.json')} to have new ports chosen.`,
      );
    }
  }

  async #isPortFree(port: number): Promise<boolean> {
    const { clientHost } = this.#options;
    return (
      (await isPortFree(port)) && (clientHost === undefined || (await isPortFree(port, clientHost)))
    );
  }

  /** The script's end is seen before the node's, whose sockets the system still has to close. */
  async #untilPortsFree(): Promise<void> {
    const ports = Object.values(this.ports) as number[];
    const areFree = async () =>
      (await Promise.all(ports.map((port) => this.#isPortFree(port)))).every(Boolean);
    await waitUntil(areFree, 5000, 20);
  }

  get #place(): Place {
    return { dataDir: this.dataDir, inside: (path) => this.#inside(path) };
  }

  /** A path as the node sees it, which may live in a root directory of its own. */
  #inside(path: string): string {
    const { chroot } = this.#options;
    return chroot === undefined ? path : `/${relative(resolve(chroot), path)}`;
  }

  #command(command: string, args: string[]): [string, ...string[]] {
    const { chroot } = this.#options;
    return chroot === undefined ? [command, ...args] : ['chroot', chroot, command, ...args];
  }

  /** Nothing else of the caller's environment: a RABBITMQ_… of somebody else's would get in. */
  #baseEnvironment(): Record<string, string> {
    return {
      PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
      LANG: 'C.UTF-8',
      // Where the Erlang cookie lies.
      HOME: this.#inside(this.dataDir),
    };
  }

  #spawn(command: string, args: string[], environment: Record<string, string>): ChildProcess {
    const [program, ...rest] = this.#command(command, args);
    const logs = join(this.dataDir, 'log');
    const output = openSync(join(logs, `${command === 'epmd' ? 'epmd' : 'console'}.log`), 'w');
    const child = spawn(program, rest, {
      // A group of its own: Ctrl-C in the terminal must reach the launcher, not the node.
      detached: true,
      // Erlang leaves its crash dumps where it runs, which must not be the caller's own directory.
      cwd: logs,
      stdio: ['ignore', output, output],
      env: { ...this.#baseEnvironment(), ...environment },
    });
    closeSync(output);
    // Without a listener a failed spawn would end the process; `exited` sees it through the exit.
    child.on('error', () => undefined);
    return child;
  }

  async #untilReady(node: ChildProcess): Promise<void> {
    const { ports, passwords } = this.#started();
    const credentials = Buffer.from(`warren-server:${passwords.server}`).toString('base64');
    const listens = async (port: number): Promise<boolean> => {
      const url = `http://${HOST}:${String(ports.management)}/api/health/checks/port-listener/${String(port)}`;
      const response = await fetch(url, {
        // A connection kept alive would hold up the node's stop for five seconds.
        headers: { authorization: `Basic ${credentials}`, connection: 'close' },
      });
      await response.arrayBuffer();
      return response.ok;
    };
    const ended = () => node.exitCode !== null || node.signalCode !== null;
    const ready = await waitUntil(
      async () => {
        if (ended()) return true;
        try {
          return (await listens(ports.amqp)) && (await listens(ports.stomp));
        } catch {
          return false;
        }
      },
      this.#options.startTimeoutMs ?? START_TIMEOUT_MS,
      100,
    );
    if (ready && !ended()) return;
    throw new BrokerError(
      'broker_start_failed',
      `RabbitMQ ${ended() ? 'ended' : 'was not ready in time'}. Its log ends with:\n${await this.logTail()}`,
      `Look at ${this.logFile}. If the data is damaged, remove ${this.dataDir} to start over.`,
    );
  }
}

/** Ends what a launcher that was killed has left running on this directory. */
async function stopLeftover(state: BrokerState): Promise<void> {
  if (state.running === undefined) return;
  const { broker, epmd } = state.running;
  // The script's children carry the node's name; epmd carries its port.
  const leftovers: [number, string][] = [
    [broker, 'rabbitmq-server'],
    [epmd, String(state.ports.epmd)],
  ];
  for (const [pid, marker] of leftovers) {
    if (!isAlive(pid) || !(await hasArgument(pid, marker))) continue;
    process.kill(pid, 'SIGTERM');
    const ended = await waitUntil(() => !isAlive(pid), STOP_TIMEOUT_MS);
    if (!ended) signalGroup(pid, 'SIGKILL');
  }
  delete state.running;
}
