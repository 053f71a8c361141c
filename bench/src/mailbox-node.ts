import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { connect, type Channel, type ChannelModel, type ConsumeMessage } from 'amqplib';
import type { Broker } from '@warren/rabbitmq';
import type { Bench } from './setup.js';
import { usageOf, type Usage } from './system.js';

export type MailboxType = 'classic' | 'quorum';

const EXCHANGE = 'warren.direct';
const GROUP = 'warren.bench.group';
const BROADCAST = 'warren.bench.broadcast';
/** A fanout gets slower to bind to as it grows. */
const FANOUTS = 64;
const CHANNELS = 8;
const BODY = Buffer.from('x'.repeat(150));
const RETRY_MS = 50;
/** How long a probe waits for its message until it is asked for anew. */
const PROBE_MS = 5000;

interface Cost {
  perSecond: number;
  /** Of the broker, for each. */
  cpuMicroseconds: number;
}

/** A broker of its own whose mailboxes, bound as Warren binds them, are all of one type. */
export class MailboxNode {
  readonly type: MailboxType;
  readonly broker: Broker;
  readonly #mailboxes: string[] = [];
  /** Stands in each message, so that what an earlier step has left behind is not counted as a later one's. */
  #step = 0;
  #model: ChannelModel;

  private constructor(type: MailboxType, broker: Broker, model: ChannelModel) {
    this.type = type;
    this.broker = broker;
    this.#model = model;
  }

  static async start(bench: Bench, type: MailboxType): Promise<MailboxNode> {
    const dataDir = await mkdtemp(join(dirname(bench.dataDir), `warren-bench-${type}-`));
    const broker = await bench.startBroker(dataDir);
    const node = new MailboxNode(type, broker, await open(broker));
    await node.#withChannel(async (channel) => {
      for (const name of [GROUP, ...Array.from({ length: FANOUTS }, (_, at) => fanoutOf(at))]) {
        await channel.assertExchange(name, 'fanout');
        const key = name === GROUP ? GROUP : BROADCAST;
        await channel.bindExchange(name, EXCHANGE, key);
      }
    });
    return node;
  }

  async close(): Promise<void> {
    await this.#model.close();
    await this.broker.stop();
    await rm(this.broker.dataDir, { recursive: true, force: true });
  }

  get version(): string {
    return this.#model.connection.serverProperties.version;
  }

  get usage(): Usage {
    return usageOf(this.broker);
  }

  /** Declares and binds more of them. */
  async provision(count: number): Promise<Cost> {
    const from = this.#mailboxes.length;
    const numbers = Array.from({ length: count }, (_, index) => from + index);
    const names = numbers.map((at) => `user.${userOf(at)}.d.${randomBytes(16).toString('hex')}`);
    this.#mailboxes.push(...names);
    const next = numbers.values();
    const work = (): Promise<void> =>
      this.#withChannel(async (channel) => {
        for (const at of next) await this.#declare(channel, at);
      });
    return this.#measure(count, () => Promise.all(Array.from({ length: CHANNELS }, work)));
  }

  /** The first mailboxes become the members of the group. */
  async formGroup(members: number): Promise<void> {
    await this.#withChannel(async (channel) => {
      for (const queue of this.#mailboxes.slice(0, members)) {
        await channel.bindQueue(queue, GROUP, '');
      }
    });
  }

  /** Messages that are taken as they come, so many at once under way, all of them with confirms. */
  async trickle(queues: number, messages: number, window: number): Promise<Cost> {
    this.#step++;
    const publishing = await this.#model.createConfirmChannel();
    const names = this.#mailboxes.slice(0, queues);
    let sent = 0;
    const send = (): void => {
      if (sent === messages) return;
      publishing.publish(EXCHANGE, names[sent % queues] ?? '', BODY, this.#properties);
      sent++;
    };
    const begin = (): void => {
      for (let index = 0; index < window; index++) send();
    };
    const cost = await this.#consume(names, messages, { begin, onMessage: send });
    await publishing.close();
    return cost;
  }

  /** Messages that wait in many mailboxes, taken from all of them. */
  async backlog(queues: number, messagesEach: number): Promise<Cost> {
    this.#step++;
    const names = this.#mailboxes.slice(0, queues);
    await this.#publish(names.flatMap((name) => Array.from({ length: messagesEach }, () => name)));
    return this.#consume(names, queues * messagesEach);
  }

  /** One publish for each message to all members. */
  group(members: number, messages: number): Promise<Cost> {
    this.#step++;
    const names = this.#mailboxes.slice(0, members);
    const keys = Array.from({ length: messages }, () => GROUP);
    return this.#consume(names, members * messages, { begin: () => this.#publish(keys) });
  }

  /** @returns how long one to all mailboxes takes to be confirmed, in milliseconds. */
  async broadcast(): Promise<number> {
    const startedAt = performance.now();
    await this.#publish([BROADCAST]);
    return performance.now() - startedAt;
  }

  /** Takes away what earlier steps have left behind. */
  async empty(): Promise<void> {
    await this.#withChannel(async (channel) => {
      for (const name of this.#mailboxes) await channel.purgeQueue(name);
    });
  }

  /** How many messages wait in all mailboxes. */
  async countMessages(): Promise<number> {
    let count = 0;
    await this.#withChannel(async (channel) => {
      for (const name of this.#mailboxes) {
        const { messageCount } = await channel.checkQueue(name);
        count += messageCount;
      }
    });
    return count;
  }

  /** @returns seconds from its start until a message that waits in the last mailbox is delivered. */
  async restart(): Promise<number> {
    await this.#model.close();
    await this.broker.stop();
    const startedAt = performance.now();
    const [, seconds] = await Promise.all([
      this.broker.start(),
      this.#untilDelivered().then(() => (performance.now() - startedAt) / 1000),
    ]);
    this.#model = await open(this.broker);
    return seconds;
  }

  async #untilDelivered(): Promise<void> {
    const last = this.#mailboxes.at(-1) ?? '';
    for (;;) {
      const model = await open(this.broker).catch(() => undefined);
      try {
        if (model !== undefined && (await isDelivered(model, last))) return;
      } catch {
        // The queue is not there yet.
      } finally {
        await model?.close().catch(() => undefined);
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  get #properties(): { persistent: true; messageId: string } {
    return { persistent: true, messageId: String(this.#step) };
  }

  async #declare(channel: Channel, at: number): Promise<void> {
    const queue = this.#mailboxes[at] ?? '';
    await channel.assertQueue(queue, {
      arguments: {
        'x-single-active-consumer': true,
        ...(this.type === 'quorum' && { 'x-queue-type': 'quorum' }),
      },
    });
    const user = `user.${userOf(at)}`;
    for (const key of [queue, user, `${user}.d`]) await channel.bindQueue(queue, EXCHANGE, key);
    await channel.bindQueue(queue, fanoutOf(at % FANOUTS), '');
  }

  /** Persistent ones to these keys; resolves when all have been confirmed. */
  async #publish(keys: string[]): Promise<void> {
    const channel = await this.#model.createConfirmChannel();
    for (const key of keys) channel.publish(EXCHANGE, key, BODY, this.#properties);
    await channel.waitForConfirms();
    await channel.close();
  }

  /** Takes and acks, one by one, so many messages: those that wait, or those that `begin` sends. */
  async #consume(
    queues: string[],
    messages: number,
    on: { begin?: () => unknown; onMessage?: () => void } = {},
  ): Promise<Cost> {
    return this.#withChannel(async (channel) => {
      await channel.prefetch(100);
      let count = 0;
      let finish: () => void = () => undefined;
      const finished = new Promise<void>((resolve) => (finish = resolve));
      const take = (message: ConsumeMessage | null): void => {
        if (message === null) return;
        channel.ack(message);
        // Of a quorum queue, what was acked just before a channel closed may come once more.
        if (message.properties.messageId !== this.#properties.messageId) return;
        if (message.fields.redelivered) throw new Error('A message of this step came twice.');
        on.onMessage?.();
        if (++count === messages) finish();
      };
      const subscribe = () => Promise.all(queues.map((queue) => channel.consume(queue, take)));
      // Where nothing waits yet, connecting is not what is measured.
      if (on.begin !== undefined) await subscribe();
      return this.#measure(messages, async () => {
        await (on.begin ?? subscribe)();
        await finished;
      });
    });
  }

  async #measure(count: number, run: () => Promise<unknown>): Promise<Cost> {
    const before = this.usage.cpuSeconds;
    const startedAt = performance.now();
    await run();
    const seconds = (performance.now() - startedAt) / 1000;
    return {
      perSecond: count / seconds,
      cpuMicroseconds: ((this.usage.cpuSeconds - before) * 1e6) / count,
    };
  }

  async #withChannel<T>(use: (channel: Channel) => Promise<T>): Promise<T> {
    const channel = await this.#model.createChannel();
    try {
      return await use(channel);
    } finally {
      await channel.close();
    }
  }
}

const userOf = (at: number): string => `u${String(at)}`;
const fanoutOf = (at: number): string => `${BROADCAST}.${String(at)}`;

async function open(broker: Broker): Promise<ChannelModel> {
  const model = await connect(broker.endpoints.amqpUrl, { noDelay: true });
  model.on('error', () => undefined);
  return model;
}

async function isDelivered(model: ChannelModel, queue: string): Promise<boolean> {
  const channel = await model.createChannel();
  channel.on('error', () => undefined);
  await channel.prefetch(1);
  return new Promise((resolve, reject) => {
    setTimeout(resolve, PROBE_MS, false);
    channel
      .consume(queue, (message) => {
        resolve(message !== null);
      })
      .catch(reject);
  });
}
