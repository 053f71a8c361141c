import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import { connect as connectAmqp } from 'amqplib';
import { afterEach, describe, expect, it } from 'vitest';
import {
  Broker,
  CHECKS_ORIGINS,
  freePorts,
  isAtLeast,
  parseVersion,
  RAISES_FRAMES,
  type BrokerError,
} from '@warren/rabbitmq';
import { brokerDefaults, createBroker } from '../support/broker.js';
import { brokerRoot } from '../support/other-broker.js';
import { until } from '../support/until.js';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function makeBroker(options: Parameters<typeof createBroker>[0] = {}): Promise<Broker> {
  const { broker, remove } = await createBroker(options);
  cleanups.push(remove);
  return broker;
}

/** Processes that carry the directory or the epmd port of this broker among their arguments. */
async function processesOf(broker: Broker): Promise<string[]> {
  const marks = [basename(broker.dataDir), `-port\0${String(broker.ports.epmd)}`];
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const commandLines = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  return commandLines.filter((line) => marks.some((mark) => line.includes(mark)));
}

async function roundTrip(broker: Broker): Promise<void> {
  const connection = await connectAmqp(broker.endpoints.amqpUrl);
  const channel = await connection.createConfirmChannel();
  channel.publish('warren.direct', 'user.nobody', Buffer.from('x'));
  await channel.waitForConfirms();
  await connection.close();
}

describe('the launcher of a private broker', () => {
  it('runs two side by side, each with its own ports, and leaves no process behind', async () => {
    const brokers = [await makeBroker(), await makeBroker()];
    await Promise.all(brokers.map((broker) => broker.start()));
    await Promise.all(brokers.map(roundTrip));
    expect((await processesOf(brokers[0]!)).length).toBeGreaterThan(1);
    const ports = brokers.flatMap((broker) => Object.values(broker.ports) as number[]);
    expect(new Set(ports).size).toBe(ports.length);
    expect(ports.length).toBeGreaterThan(9);
    expect(await brokers[0]!.logTail(1000)).toContain('Starting RabbitMQ');
    await brokers[0]!.stop();
    await brokers[1]!.kill();
    for (const broker of brokers) {
      await until(async () => (await processesOf(broker)).length === 0, 'the end of all processes');
    }
  });

  it('keeps ports, passwords, key and data over a restart and a kill', async () => {
    const broker = await makeBroker();
    await broker.start();
    const before = { ...broker.endpoints, kid: broker.signingKey.kid };
    const connection = await connectAmqp(broker.endpoints.amqpUrl);
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue('user.keep', { durable: true });
    await channel.bindQueue('user.keep', 'warren.direct', 'keep');
    channel.publish('warren.direct', 'keep', Buffer.from('x'), { persistent: true });
    await channel.waitForConfirms();
    await connection.close();
    await broker.restart();
    expect({ ...broker.endpoints, kid: broker.signingKey.kid }).toEqual(before);
    await broker.kill();
    await broker.start();
    const again = await connectAmqp(broker.endpoints.amqpUrl);
    expect((await (await again.createChannel()).checkQueue('user.keep')).messageCount).toBe(1);
    await again.close();
  });

  it('takes over what a launcher that was killed has left running', async () => {
    const broker = await makeBroker();
    await broker.start();
    // Another launcher that knows nothing of the first, as after a kill -9 of the program.
    const second = new Broker({ ...brokerDefaults, dataDir: broker.dataDir });
    await second.start();
    await roundTrip(second);
    await second.stop();
  });

  it('starts on ports that are given, and says which one is taken', async () => {
    const [amqp = 0] = await freePorts(1);
    const broker = await makeBroker({ ports: { amqp } });
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(amqp, '127.0.0.1', resolve));
    const error = (await broker.start().catch((reason: unknown) => reason)) as BrokerError;
    expect(error).toMatchObject({ code: 'port_taken' });
    expect(error.message).toContain(String(amqp));
    expect(error.remedy).toMatch(/remove .*state\.json/);
    await new Promise((resolve) => blocker.close(resolve));
  });

  it('says what is wrong when the data directory cannot be used or no broker is installed', async () => {
    const unwritable = new Broker({ dataDir: '/etc/hostname/warren' });
    await expect(unwritable.start()).rejects.toMatchObject({ code: 'data_dir_not_writable' });
    process.env['RABBITMQ_SERVER_SCRIPT'] = '/nowhere';
    const broker = await makeBroker();
    await expect(broker.start()).rejects.toMatchObject({ code: 'broker_not_installed' });
    delete process.env['RABBITMQ_SERVER_SCRIPT'];
  });

  it('tells the end of the log when the node does not boot', async () => {
    const broker = await makeBroker();
    // Where the node wants to keep its data.
    await writeFile(join(broker.dataDir, 'mnesia'), 'a file');
    const error = (await broker.start().catch((reason: unknown) => reason)) as BrokerError;
    expect(error.code).toBe('broker_start_failed');
    expect(error.message).toMatch(/log ends with/);
  });

  it('keeps passwords and the private key from other users of the machine', async () => {
    const broker = await makeBroker();
    await broker.start();
    for (const file of [
      'state.json',
      'definitions.json',
      'keys/signing-key.pem',
      '.erlang.cookie',
    ]) {
      const { mode } = await stat(join(broker.dataDir, file));
      expect([file, (mode & 0o077).toString(8)]).toEqual([file, '0']);
    }
    const definitions = await readFile(join(broker.dataDir, 'definitions.json'), 'utf8');
    expect(definitions).not.toContain(new URL(broker.endpoints.amqpUrl).password);
  });

  it('knows which version it starts, and writes newer keys for those that know them alone', async () => {
    const page = 'http://localhost:5173';
    const broker = await makeBroker({ allowOrigins: [page], quorumTickMs: 2000 });
    await broker.start();
    const { origin, username, password } = new URL(broker.endpoints.managementUrl);
    const response = await fetch(`${origin}/api/overview`, {
      headers: { authorization: `Basic ${btoa(`${username}:${password}`)}`, connection: 'close' },
    });
    const { rabbitmq_version: told } = (await response.json()) as { rabbitmq_version: string };
    expect(broker.version).toEqual(parseVersion(told));
    const written = await readFile(join(broker.dataDir, 'rabbitmq.conf'), 'utf8');
    const line = `web_stomp.allow_origins.0 = ${page}`;
    expect(written.split('\n').includes(line)).toBe(isAtLeast(broker.version, CHECKS_ORIGINS));
    const frames = isAtLeast(broker.version, RAISES_FRAMES);
    expect(written.split('\n').includes('stomp.max_frame_size = 61440')).toBe(frames);
    const tick = await broker.control('eval', 'application:get_env(rabbit, quorum_tick_interval).');
    expect(tick.trim()).toBe('{ok,2000}');
  });

  it('starts one whose version it cannot tell, with the keys that all know', async () => {
    const broker = await makeBroker({ allowOrigins: ['http://localhost:5173'] });
    // A script in a place where no plugins lie, as somebody's own would be.
    const script = join(broker.dataDir, 'bin', 'rabbitmq-server');
    await mkdir(join(broker.dataDir, 'bin'));
    await writeFile(script, '#!/bin/sh\nexec /usr/lib/rabbitmq/bin/rabbitmq-server "$@"\n');
    await chmod(script, 0o755);
    const serverScript = script.slice(brokerRoot?.length ?? 0);
    const second = new Broker({ ...brokerDefaults, dataDir: broker.dataDir, serverScript });
    await second.start();
    expect(second.version).toBeUndefined();
    await roundTrip(second);
    await second.kill();
  });

  it('lets the node open as many files as the system allows', async () => {
    const broker = await makeBroker();
    await broker.start();
    const limits = await readFile('/proc/self/limits', 'utf8');
    const [, hard] = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)!;
    // Node raises its own limit when it starts, and what it starts inherits that.
    const metrics = await (await fetch(broker.endpoints.metricsUrl)).text();
    expect(/^rabbitmq_process_max_fds (\S+)/m.exec(metrics)![1]).toBe(hard);
  });
});
