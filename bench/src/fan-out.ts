import type { Client } from '@warren/client';
import type { Bench } from './setup.js';
import { median, medianRatio, percentile, printTable } from './statistics.js';

const MEMBERS = 200;
const ROUNDS = 9;
/** To a mailbox that nobody empties; far fewer than it holds. */
const CALLS = 20;
const FLOOD = 50;
const SINGLES = 60;
const DATA = { text: 'x'.repeat(180) };
const GROUP = 'bench-room';

/** Sends one message to all members of a room; resolves when it has been confirmed. */
type Send = (users: string[]) => Promise<unknown>;
type Name = keyof ReturnType<typeof ways>;

const PUBLISHING: Name[] = ['loop, 200 publishes', 'list, 4 publishes', 'group, 1 publish'];
const BY_HTTP: Name[] = ['HTTP, 200 calls', 'HTTP, list', 'HTTP, group'];

const ways = ({ publisher, api }: Bench) => {
  const message = (to: object) => ({ to, type: 'bench', data: DATA });
  return {
    'loop, 200 publishes': (users: string[]) =>
      Promise.all(users.map((user) => publisher.toUser(user, 'bench', DATA))),
    'list, 4 publishes': (users: string[]) => publisher.toUsers(users, 'bench', DATA),
    'group, 1 publish': () => publisher.toGroup(GROUP, 'bench', DATA),
    'HTTP, 200 calls': (users: string[]) =>
      Promise.all(users.map((user) => api('POST', '/v1/messages', message({ user })))),
    'HTTP, list': (users: string[]) => api('POST', '/v1/messages', message({ users })),
    'HTTP, group': () => api('POST', '/v1/messages', message({ group: GROUP })),
  } satisfies Record<string, Send>;
};

/** One message to a room of 200: what it costs to send, and how soon and how fast it is handled. */
export async function compareFanOut(bench: Bench): Promise<void> {
  const users = Array.from({ length: MEMBERS }, (_, index) => `bench-member-${String(index)}`);
  for (const user of users) await bench.api('PUT', `/v1/users/${user}`, { devices: ['stomp'] });
  await bench.api('POST', `/v1/groups/${GROUP}/members`, { add: users });
  await compareSending(bench, users, PUBLISHING, 1);
  await compareSending(bench, users, PUBLISHING, CALLS);
  // More at once is more than one key may ask in a second.
  await compareSending(bench, users, BY_HTTP, 1);
  await compareArrival(bench, users);
}

async function compareSending(
  bench: Bench,
  users: string[],
  names: Name[],
  atOnce: number,
): Promise<void> {
  const all = ways(bench);
  const wall: Record<string, number[]> = {};
  const cpu: Record<string, number[]> = {};
  for (let round = -1; round < ROUNDS; round++) {
    for (const name of names) {
      const startedAt = performance.now();
      const before = process.cpuUsage();
      for (let call = 0; call < CALLS; call += atOnce) {
        await Promise.all(Array.from({ length: atOnce }, () => all[name](users)));
      }
      const { user, system } = process.cpuUsage(before);
      if (round < 0) continue;
      (wall[name] ??= []).push((performance.now() - startedAt) / CALLS);
      (cpu[name] ??= []).push((user + system) / 1000 / CALLS);
    }
  }
  const [loop = ''] = names;
  const title = `To ${String(MEMBERS)} mailboxes, persistent, ${String(atOnce)} at once, nobody consuming`;
  printTable(
    title,
    names.map((name) => ({
      '': name,
      'ms a message': median(wall[name] ?? []).toFixed(2),
      'times as fast': medianRatio(wall[loop] ?? [], wall[name] ?? []).toFixed(2),
      'CPU ms': median(cpu[name] ?? []).toFixed(2),
      'CPU / loop': medianRatio(cpu[name] ?? [], cpu[loop] ?? []).toFixed(3),
    })),
  );
}

async function compareArrival(bench: Bench, users: string[]): Promise<void> {
  let handled = 0;
  let expected = Infinity;
  let finish: (at: number) => void = () => undefined;
  const clients: Client[] = [];
  for (const user of users) {
    const client = bench.sdk(user, 'stomp');
    client.handle('*', () => {
      handled++;
      if (handled === expected) finish(performance.now());
    });
    client.start();
    clients.push(client);
  }
  await Promise.all(clients.map((client) => client.ready()));
  // What the part before has left.
  for (let seen = -1; seen !== handled;) {
    seen = handled;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  const all = ways(bench);
  const names = PUBLISHING;
  const measure = async (send: Send, messages: number): Promise<number> => {
    handled = 0;
    expected = messages * users.length;
    const finished = new Promise<number>((resolve) => (finish = resolve));
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: messages }, () => send(users)));
    return (await finished) - startedAt;
  };
  const rates: Record<string, number[]> = {};
  const times: Record<string, number[]> = {};
  for (let round = -1; round < ROUNDS; round++) {
    for (const name of names) {
      const ms = await measure(all[name], FLOOD);
      if (round >= 0) (rates[name] ??= []).push((FLOOD * users.length * 1000) / ms);
    }
  }
  for (let index = 0; index < SINGLES; index++) {
    for (const name of names) (times[name] ??= []).push(await measure(all[name], 1));
  }
  const loop = 'loop, 200 publishes';
  printTable(`To ${String(MEMBERS)} SDK clients by Web-STOMP, broker and all in two cores`, [
    ...names.map((name) => ({
      '': name,
      'handled/s': median(rates[name] ?? []).toFixed(0),
      '/ loop': medianRatio(rates[name] ?? [], rates[loop] ?? []).toFixed(2),
      'to the last handler, p50 ms': median(times[name] ?? []).toFixed(1),
      'p99 ms': percentile(times[name] ?? [], 0.99).toFixed(1),
    })),
  ]);
  await Promise.all(clients.map((client) => client.stop()));
}
