import { Worker } from 'node:worker_threads';
import type { NoiseKind, NoiseOptions } from './noise.js';
import { ADMIN_KEY, NOISY_KEY, USER_HEADER, type Bench } from './setup.js';
import { median, printTable } from './statistics.js';

const COUNT = Number(process.env['WARREN_BENCH_COUNT'] ?? 100);
/** Until the noise is as loud as it gets. */
const WARM_UP_MS = 2000;
const KINDS: NoiseKind[] = ['user', 'back end by AMQP', 'back end by HTTP', 'console'];

interface Times {
  session: number[];
  send: number[];
  delivery: number[];
}

/** What others notice while one user, one back end or one console does its worst within the default limits. */
export async function compareNeighbours(bench: Bench): Promise<void> {
  const rows: [string, Times][] = [['nobody', await measure(bench, 'quiet')]];
  for (const kind of KINDS) {
    const stop = await makeNoise(bench, kind);
    rows.push([kind, await measure(bench, kind)]);
    await stop();
  }
  const cell = (times: number[]): string =>
    `${median(times).toFixed(0)} / ${Math.max(...times).toFixed(0)}`;
  printTable(
    `Others, while somebody does its worst: ${String(COUNT)} of each, median / worst in ms`,
    rows.map(([who, { session, send, delivery }]) => ({
      'its worst does': who,
      session: cell(session),
      send: cell(send),
      delivery: cell(delivery),
    })),
  );
}

async function makeNoise(bench: Bench, kind: NoiseKind): Promise<() => Promise<void>> {
  const { stompUrl, backendAmqpUrl } = bench.broker.endpoints;
  const keys = { serviceKey: NOISY_KEY, adminKey: ADMIN_KEY, userHeader: USER_HEADER };
  const workerData: NoiseOptions = {
    kind,
    apiUrl: bench.apiUrl,
    stompUrl,
    backendAmqpUrl,
    ...keys,
  };
  const worker = new Worker(new URL('./noise.js', import.meta.url), { workerData });
  await new Promise((resolve) => setTimeout(resolve, WARM_UP_MS));
  return async () => {
    worker.postMessage('stop');
    await worker.terminate();
  };
}

async function measure(bench: Bench, kind: string): Promise<Times> {
  const times: Times = { session: [], send: [], delivery: [] };
  const user = `bench-neighbour-${kind.replaceAll(' ', '-')}`;
  const client = bench.sdk(user, 'stomp');
  let arrived: () => void = () => undefined;
  client.handle('*', () => {
    arrived();
  });
  client.start();
  await client.ready();
  for (let index = 0; index < COUNT; index++) {
    await timed(times.session, bench.grant(`${user}-${String(index)}`, 'phone'));
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const message = { to: { user }, type: 'bench', data: { index } };
    const delivery = timed(times.delivery, arrival);
    await timed(times.send, bench.api('POST', '/v1/messages', message));
    await delivery;
  }
  await client.stop();
  return times;
}

async function timed(into: number[], work: Promise<unknown>): Promise<void> {
  const startedAt = performance.now();
  await work;
  into.push(performance.now() - startedAt);
}
