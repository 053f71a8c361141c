import { MailboxNode, type MailboxType } from './mailbox-node.js';
import type { Bench } from './setup.js';
import { median, medianRatio, printTable } from './statistics.js';
import { fileSystemOf } from './system.js';

const MAILBOXES = Number(process.env['WARREN_BENCH_MAILBOXES'] ?? 1000);
const MESSAGES = Number(process.env['WARREN_BENCH_MESSAGES'] ?? 10_000);
const ROUNDS = 3;
const MEMBERS = Math.min(200, MAILBOXES);
const WINDOW = 400;
const BACKLOGS = Math.min(50, MAILBOXES);
const PARTS = 4;
const SETTLE_MS = 3000;
const IDLE_MS = 10_000;

const TYPES: MailboxType[] = ['classic', 'quorum'];
type Figures = Record<string, Record<MailboxType, number[]>>;

/** What a mailbox costs, and what it does, as a classic and as a quorum queue. */
export async function compareMailboxes(bench: Bench): Promise<void> {
  const figures: Figures = {};
  const note = (name: string, { type }: MailboxNode, value: number): void => {
    (figures[name] ??= { classic: [], quorum: [] })[type].push(value);
  };
  const nodes: MailboxNode[] = [];
  try {
    for (const type of TYPES) nodes.push(await MailboxNode.start(bench, type));
    await provision(nodes, note);
    for (let round = 0; round < ROUNDS; round++) {
      for (const node of nodes) await deliver(node, note);
    }
    await sleep(SETTLE_MS);
    for (const node of nodes) await node.empty();
    for (let round = 0; round < ROUNDS; round++) {
      for (const node of nodes) note('broadcast, ms to confirm', node, await node.broadcast());
    }
    for (const node of nodes) await restart(node, note);
    print(nodes, figures);
  } finally {
    for (const node of nodes) await node.close();
  }
}

type Note = (name: string, node: MailboxNode, value: number) => void;

async function provision(nodes: MailboxNode[], note: Note): Promise<void> {
  const empty = nodes.map((node) => node.usage.mb);
  for (let part = 0; part < PARTS; part++) {
    for (const node of nodes) {
      const { perSecond, cpuMicroseconds } = await node.provision(MAILBOXES / PARTS);
      note('declared and bound/s', node, perSecond);
      note('  CPU of the broker, µs each', node, cpuMicroseconds);
    }
  }
  await sleep(SETTLE_MS);
  const idle = nodes.map((node) => node.usage);
  await sleep(IDLE_MS);
  for (const [index, node] of nodes.entries()) {
    const { mb, cpuSeconds } = node.usage;
    note('memory, KB each', node, ((mb - (empty[index] ?? 0)) * 1024) / MAILBOXES);
    const busySeconds = cpuSeconds - (idle[index]?.cpuSeconds ?? 0);
    note('idle, % of a core', node, (busySeconds * 100_000) / IDLE_MS);
    await node.formGroup(MEMBERS);
  }
}

async function deliver(node: MailboxNode, note: Note): Promise<void> {
  const ways = {
    'trickle, handled/s': () => node.trickle(MEMBERS, MESSAGES, WINDOW),
    'backlog, handled/s': () => node.backlog(BACKLOGS, Math.ceil(MESSAGES / BACKLOGS)),
    'group, handled/s': () => node.group(MEMBERS, Math.ceil(MESSAGES / MEMBERS)),
  };
  for (const [name, run] of Object.entries(ways)) {
    const { perSecond, cpuMicroseconds } = await run();
    note(name, node, perSecond);
    note(`  CPU of the broker, µs a message (${name.split(',')[0] ?? ''})`, node, cpuMicroseconds);
  }
}

async function restart(node: MailboxNode, note: Note): Promise<void> {
  const waiting = await node.countMessages();
  note('descriptors, with mail in each', node, node.usage.descriptors);
  note('restart, s to the first delivery', node, await node.restart());
  note('messages lost by it', node, waiting - (await node.countMessages()));
}

function print(nodes: MailboxNode[], figures: Figures): void {
  const [node] = nodes;
  if (node === undefined) return;
  const on = fileSystemOf(node.broker.dataDir);
  printTable(
    `Mailboxes on RabbitMQ ${node.version}: ${String(MAILBOXES)} of each type, in turns, data on ${on}`,
    Object.entries(figures).map(([name, { classic, quorum }]) => ({
      '': name,
      classic: format(median(classic)),
      quorum: format(median(quorum)),
      'quorum / classic': format(medianRatio(quorum, classic)),
    })),
  );
}

/** To three digits. */
const format = (value: number): string =>
  Number.isFinite(value) ? Number(value.toPrecision(3)).toLocaleString('en') : '';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
