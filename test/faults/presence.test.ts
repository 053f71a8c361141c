import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { connect } from 'amqplib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import WebSocket from 'ws';
import type { SessionGrant } from '@warren/protocol';
import type { Broker } from '@warren/rabbitmq';
import { createBroker } from '../support/broker.js';
import { Proxy, via } from '../support/proxy.js';
import { seeded } from '../support/seeded.js';
import { startStack, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

const USERS = 40;
const STEPS = 500;
const SEED = 20_261_121;

let broker: Broker;
let remove: () => Promise<void>;
let dataDir: string;
let stack: Stack;
beforeAll(async () => {
  ({ broker, remove } = await createBroker());
  await broker.start();
  dataDir = await mkdtemp(join(tmpdir(), 'warren-presence-'));
  stack = await start();
});
afterAll(async () => {
  await stack.close();
  await remove();
});

const start = () =>
  startStack({
    endpoints: broker.endpoints,
    signingKey: broker.signingKey.privateKey,
    config: { dataDir },
  });

/** A connection of somebody who may go without a word. */
interface Wire {
  isOpen: boolean;
  /** With a goodbye, or by tearing the socket. */
  end: (abruptly: boolean) => void;
}

/** How often both ends prove that they live, in seconds. */
const HEARTBEAT = 2;

async function byAmqp(
  grant: SessionGrant,
  address = broker.endpoints.clientAmqpUrl,
): Promise<Wire> {
  const url = new URL(address);
  const model = await connect(
    {
      hostname: url.hostname,
      port: Number(url.port),
      username: grant.queue,
      password: grant.token,
      vhost: grant.vhost,
      heartbeat: HEARTBEAT,
    },
    { timeout: 5000 },
  );
  const { stream } = model.connection as unknown as { stream: Socket };
  const wire: Wire = {
    isOpen: true,
    end: (abruptly) => {
      if (abruptly) stream.destroy();
      else void model.close().catch(() => undefined);
    },
  };
  model.on('error', () => undefined);
  // amqplib does not hear of a socket that is destroyed.
  stream.on('close', () => (wire.isOpen = false));
  await model.createChannel();
  return wire;
}

function byStomp(grant: SessionGrant, address = broker.endpoints.stompUrl): Promise<Wire> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(address, 'v12.stomp');
    const beat = setInterval(() => {
      if (socket.readyState === WebSocket.OPEN) socket.send('\n');
    }, HEARTBEAT * 500);
    const beats = String(HEARTBEAT * 1000);
    const wire: Wire = {
      isOpen: true,
      end: (abruptly) => {
        if (abruptly) socket.terminate();
        else socket.close();
      },
    };
    socket.on('open', () => {
      const { queue, token, vhost } = grant;
      socket.send(
        `CONNECT\naccept-version:1.2\nheart-beat:${beats},${beats}\nlogin:${queue}\n` +
          `passcode:${token}\nhost:${vhost}\n\n\0`,
      );
    });
    socket.once('message', () => {
      resolve(wire);
    });
    socket.on('error', reject);
    socket.on('close', () => {
      clearInterval(beat);
      wire.isOpen = false;
      reject(new Error('closed'));
    });
  });
}

it('equals the truth after 500 connects, torn sockets, takeovers, and restarts of both', async () => {
  const random = seeded(SEED);
  const pick = <Item>(items: Item[]): Item | undefined =>
    items[Math.floor(random() * items.length)];
  const users = Array.from({ length: USERS }, (_, index) => `present-${String(index)}`);
  const wires = new Map<string, Wire[]>(users.map((user) => [user, []]));
  const open = (user: string): Wire[] => wires.get(user)!.filter(({ isOpen }) => isOpen);
  let checks = 0;

  const check = async (when: string): Promise<void> => {
    // Asked for each time: a connection that ends in good order is open for a moment longer.
    const truth = (): string[] => users.filter((user) => open(user).length > 0);
    const startedAt = performance.now();
    const seen = async (): Promise<string[]> => {
      const { status, body } = await stack.api('POST', '/v1/presence', { users });
      return status === 200
        ? body.users.filter(({ online }) => online).map(({ user }) => user)
        : ['unknown'];
    };
    await until(
      async () => JSON.stringify(await seen()) === JSON.stringify(truth()),
      async () => `${when}: ${JSON.stringify({ seen: await seen(), truth: truth() })}`,
    );
    checks++;
    const ms = (performance.now() - startedAt).toFixed(0);
    process.stdout.write(
      `  presence ${when}: right after ${ms} ms, ${String(truth().length)} online\n`,
    );
  };

  const connectOne = async (user: string): Promise<void> => {
    const deviceId = random() < 0.7 ? 'phone' : 'tablet';
    // Without the older session's id: it takes the device over.
    const grant = await stack.session(user, { deviceId });
    const wire = await (random() < 0.5 ? byAmqp(grant) : byStomp(grant)).catch(() => undefined);
    if (wire !== undefined) wires.get(user)!.push(wire);
  };

  for (let step = 1; step <= STEPS; step++) {
    const user = pick(users)!;
    const wire = pick(open(user));
    if (wire === undefined || random() < 0.45) await connectOne(user);
    else wire.end(random() < 0.5);
    if (step === 200) {
      await stack.server.close();
      // Some go while no server looks.
      for (const each of users.slice(0, 10)) for (const gone of open(each)) gone.end(true);
      stack = await start();
      await check('after a restart of the server');
    }
    if (step === 350) {
      await broker.kill();
      await until(() => users.every((each) => open(each).length === 0));
      await broker.start();
      await until(async () => (await stack.api('GET', '/health/ready')).status === 200);
      await check('after the broker was killed');
    }
    if (step % 125 === 0) await check(`after ${String(step)} steps`);
  }
  for (const user of users) for (const wire of open(user)) wire.end(true);
  await until(() => users.every((user) => open(user).length === 0));
  await check('when all are gone');
  expect(checks).toBe(7);
}, 200_000);

it('ends for peers that have fallen silent when the broker has missed their heartbeats', async () => {
  const [amqp, stomp] = await Promise.all([
    Proxy.to(broker.ports.amqp),
    Proxy.to(broker.ports.stomp),
  ]);
  const users = ['silent-amqp', 'silent-stomp'];
  const grants = await Promise.all(users.map((user) => stack.session(user, { deviceId: 'phone' })));
  await byAmqp(grants[0]!, via(broker.endpoints.clientAmqpUrl, amqp));
  await byStomp(grants[1]!, via(broker.endpoints.stompUrl, stomp));
  const online = async (): Promise<number> =>
    (await stack.api('POST', '/v1/presence', { users })).body.users.filter((user) => user.online)
      .length;
  await until(async () => (await online()) === 2);
  amqp.silence();
  stomp.silence();
  const silentAt = performance.now();
  await until(async () => (await online()) === 0, 'both to be offline', 40_000);
  const seconds = ((performance.now() - silentAt) / 1000).toFixed(1);
  process.stdout.write(
    `  silent peers with heartbeats of ${String(HEARTBEAT)} s: offline after ${seconds} s\n`,
  );
  await Promise.all([amqp.close(), stomp.close()]);
}, 100_000);
