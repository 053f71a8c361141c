import { spawn, spawnSync } from 'node:child_process';
import { chownSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { freePorts } from '@warren/rabbitmq';
import { until } from './until.js';

/** Debian keeps each version in a directory of its own. */
const VERSIONS = '/usr/lib/postgresql';

export interface Postgres {
  url: string;
  /** Pulls the plug, and puts it in again. */
  restart: () => Promise<void>;
  stop: () => Promise<void>;
  close: () => Promise<void>;
}

/** PostgreSQL refuses to run as root. */
function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string) =>
    Number(spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' }).stdout.trim());
  return { uid: id('-u'), gid: id('-g') };
}

/** A server of one's own in a directory that goes with it. */
export async function startPostgres(): Promise<Postgres> {
  const version = (await readdir(VERSIONS)).sort().at(-1)!;
  const program = (name: string) => join(VERSIONS, version, 'bin', name);
  const owner = unprivileged();
  const dir = await mkdtemp(join(tmpdir(), 'warren-postgres-'));
  if (owner.uid !== undefined) chownSync(dir, owner.uid, owner.gid!);
  const data = join(dir, 'data');
  const made = spawnSync(
    program('initdb'),
    ['-D', data, '-U', 'warren', '-A', 'trust', '--no-sync', '-E', 'UTF8', '--locale', 'C.UTF-8'],
    { ...owner, cwd: dir, encoding: 'utf8' },
  );
  if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`);
  const [port = 0] = await freePorts(1);
  const url = `postgres://warren@127.0.0.1:${String(port)}/postgres`;

  const start = async () => {
    const args = ['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', dir, '-F'];
    const server = spawn(program('postgres'), args, { ...owner, cwd: dir, stdio: 'ignore' });
    const exited = new Promise((resolve) => server.once('exit', resolve));
    await until(async () => {
      const client = new pg.Client({ connectionString: url });
      client.on('error', () => undefined);
      return client.connect().then(
        () => client.end().then(() => true),
        () => false,
      );
    });
    return async () => {
      // "Immediate": as a power cut.
      server.kill('SIGQUIT');
      await exited;
    };
  };
  let stop = await start();
  return {
    url,
    stop: () => stop(),
    restart: async () => {
      await stop();
      stop = await start();
    },
    close: async () => {
      await stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
