import { Client as StompClient } from '@stomp/stompjs';
import WebSocket from 'ws';
import type { Client } from '@warren/client';
import type { Bench, Grant } from './setup.js';
import { usageOf } from './system.js';

/** How a crowd of clients fared when the broker was started anew. */
interface Outcome {
  name: string;
  openSeconds: number;
  /** From the moment that the broker listens again. */
  backSeconds: number;
  /** Clients that gave up. */
  lost: number;
  brokerPeakMb: number;
  /** Of the broker, while they came back, in cores. */
  brokerCores: number;
}

/** By Web-STOMP: what browsers do. */
export async function compareStorms(bench: Bench, count: number): Promise<void> {
  const outcomes = [await stormOf(bench, count, bare), await stormOf(bench, count, warren)];
  console.log(`\nReconnect storm: ${String(count)} clients by Web-STOMP, broker restarted`);
  for (const outcome of outcomes) {
    const { name, openSeconds, backSeconds, lost, brokerPeakMb, brokerCores } = outcome;
    console.log(
      `  ${name.padEnd(16)} opened in ${openSeconds.toFixed(1)} s, all back ${backSeconds.toFixed(1)} s after ` +
        `the broker, ${String(lost)} lost; broker: ${brokerPeakMb.toFixed(0)} MB at most, ` +
        `${brokerCores.toFixed(2)} cores`,
    );
  }
  const [first, second] = outcomes;
  if (first === undefined || second === undefined) return;
  console.log(
    `  Warren / bare: opening ${(second.openSeconds / first.openSeconds).toFixed(2)}, ` +
      `coming back ${(second.backSeconds / first.backSeconds).toFixed(2)}`,
  );
}

interface Crowd {
  name: string;
  /** How many are connected now. */
  connected: () => number;
  /** How many have given up. */
  lost: () => number;
  /** Why. */
  reasons: () => string[];
  stop: () => Promise<void>;
}

type Gather = (bench: Bench, count: number) => Promise<Crowd>;

async function stormOf(bench: Bench, count: number, gather: Gather): Promise<Outcome> {
  const begun = performance.now();
  const crowd = await gather(bench, count);
  const everyone = () => crowd.connected() + crowd.lost() === count;
  await until(everyone);
  const openSeconds = (performance.now() - begun) / 1000;
  await bench.broker.restart();
  const back = performance.now();
  const cpu = usageOf(bench.broker).cpuSeconds;
  let brokerPeakMb = 0;
  await until(() => {
    brokerPeakMb = Math.max(brokerPeakMb, usageOf(bench.broker).mb);
    return everyone();
  });
  const backSeconds = (performance.now() - back) / 1000;
  const brokerCores = (usageOf(bench.broker).cpuSeconds - cpu) / backSeconds;
  const lost = crowd.lost();
  if (lost > 0) console.log(`  lost: ${crowd.reasons().join(', ')}`);
  await crowd.stop();
  return { name: crowd.name, openSeconds, backSeconds, lost, brokerPeakMb, brokerCores };
}

const warren: Gather = (bench, count) => {
  const clients: Client[] = Array.from({ length: count }, (_, index) =>
    bench.sdk(`storm-sdk-${String(index)}`, 'stomp'),
  );
  const inState = (state: string) => () =>
    clients.filter((client) => client.getSnapshot().state === state).length;
  for (const client of clients) {
    client.handle('*', () => undefined);
    client.start();
  }
  return Promise.resolve({
    name: 'Warren SDK',
    connected: inState('connected'),
    lost: inState('failed'),
    reasons: () => [
      ...new Set(clients.map((client) => client.getSnapshot().reason?.code ?? '').filter(Boolean)),
    ],
    stop: async () => {
      await Promise.all(clients.map((client) => client.stop()));
    },
  });
};

/** As its documentation has it: the same token again, a fixed delay. */
const bare: Gather = async (bench, count) => {
  const grants: Grant[] = [];
  for (let index = 0; index < count; index++) {
    grants.push(await bench.grant(`storm-bare-${String(index)}`, 'bare'));
  }
  let connected = 0;
  const clients = grants.map((grant) => {
    let isIn = false;
    const client = new StompClient({
      webSocketFactory: () => new WebSocket(bench.broker.endpoints.stompUrl, ['v12.stomp']),
      connectHeaders: { login: grant.queue, passcode: grant.token, host: grant.vhost },
      reconnectDelay: 1000,
      onConnect: () => {
        isIn = true;
        connected++;
        client.subscribe(`/amq/queue/${grant.queue}`, () => undefined, {
          ack: 'client-individual',
          'prefetch-count': '50',
        });
      },
      onWebSocketClose: () => {
        if (isIn) connected--;
        isIn = false;
      },
    });
    client.activate();
    return client;
  });
  return {
    name: 'stompjs, bare',
    connected: () => connected,
    lost: () => 0,
    reasons: () => [],
    stop: async () => {
      await Promise.all(clients.map((client) => client.deactivate({ force: true })));
    },
  };
};

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 100));
}
