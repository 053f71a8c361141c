import { connect, type ChannelModel } from 'amqplib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAtLeast, SURVIVES_HEADERS, type Broker } from '@warren/rabbitmq';
import { ManagementApi } from '../../server/dist/broker/management.js';
import { createBroker } from '../support/broker.js';
import { DEEP, GROUPS, headerCases, type HeaderCase } from '../support/header-cases.js';
import { RawAmqp, type Verdict } from '../support/raw-amqp.js';
import { collect, startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/** A queue that is silent for so long is taken for dead. */
const SILENT_MS = 6000;
/** A quorum queue has come back by then. */
const BACK_MS = 3000;
const DURABLE = { durable: true };

/** How a message comes to die in a throw-away mailbox. */
interface Kind {
  type: 'classic' | 'quorum';
  death: 'expires' | 'is dropped' | 'is rejected';
  arguments: Record<string, unknown>;
}

const KINDS: Kind[] = (['classic', 'quorum'] as const).flatMap((type) => {
  const common = { 'x-queue-type': type, 'x-dead-letter-exchange': 'warren.dead' };
  return [
    { type, death: 'expires', arguments: common },
    { type, death: 'is dropped', arguments: { ...common, 'x-max-length': 1 } },
    { type, death: 'is rejected', arguments: common },
  ] as const;
});

// Not the shared one: queues that were killed cannot be deleted everywhere.
let broker: Broker;
let remove: () => Promise<void>;
let stack: Stack;
let management: ManagementApi;
beforeAll(async () => {
  ({ broker, remove } = await createBroker());
  await broker.start();
  const { endpoints, signingKey } = broker;
  stack = await startStack({ endpoints, signingKey: signingKey.privateKey });
  management = new ManagementApi(endpoints.managementUrl, 'warren');
});
afterAll(async () => {
  await stack.close();
  await remove();
});

/** @throws when there is no answer in time. */
async function inTime<Result>(work: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error('silent'));
    }, SILENT_MS);
  });
  return Promise.race([work, late]).finally(() => {
    clearTimeout(timer);
  });
}

let queues = 0;

/** A connection of each kind for one mailbox, which may not survive it. */
class Mailbox {
  readonly name = `warren.headers.${String(++queues)}`;
  #model!: ChannelModel;
  #raw!: RawAmqp;

  constructor(readonly kind: Kind) {}

  async open(): Promise<this> {
    const { amqpUrl, backendAmqpUrl } = broker.endpoints;
    this.#model = await connect(amqpUrl);
    this.#model.on('error', () => undefined);
    const channel = await this.#model.createChannel();
    await channel.assertQueue(this.name, { ...DURABLE, arguments: this.kind.arguments });
    await channel.bindQueue(this.name, 'warren.direct', this.name);
    this.#raw = await RawAmqp.open(backendAmqpUrl);
    return this;
  }

  publish({ name, properties }: HeaderCase): Promise<Verdict> {
    const expiration = this.kind.death === 'expires' ? { expiration: '200' } : {};
    const sent = { ...expiration, messageId: `evil ${name}`, ...properties };
    return inTime(this.#raw.publish('warren.direct', this.name, '{}', sent));
  }

  /** Has all die that is in it. */
  async drain(): Promise<void> {
    const { death } = this.kind;
    const channel = await this.#model.createChannel();
    if (death === 'is dropped') return;
    const isEmpty = async () => (await channel.checkQueue(this.name)).messageCount === 0;
    if (death === 'expires') return inTime(until(isEmpty));
    for (;;) {
      const message = await inTime(channel.get(this.name));
      if (message === false) return;
      channel.nack(message, false, false);
    }
  }

  /** Whether a good message that is sent now is handled; a queue that comes back has a moment to do so. */
  async isAlive(): Promise<boolean> {
    try {
      await this.drain();
      await until(() => this.#handlesGood(), 'a good message', BACK_MS);
      return true;
    } catch {
      return false;
    }
  }

  async #handlesGood(): Promise<boolean> {
    const sent = this.#raw.publish('warren.direct', this.name, '{}', { messageId: 'good' });
    if ((await inTime(sent)) !== 'ack') return false;
    const channel = await this.#model.createChannel();
    const message = await inTime(channel.get(this.name, { noAck: true }));
    await channel.close();
    return message !== false && message.properties.messageId === 'good';
  }

  async close(isAlive: boolean): Promise<void> {
    this.#raw.close();
    if (isAlive) await (await this.#model.createChannel()).deleteQueue(this.name);
    // Its answers may never come.
    void this.#model.close().catch(() => undefined);
  }
}

/** Whether a mailbox survives all of these, each if the broker takes it. */
async function survives(kind: Kind, choose: (queue: string) => HeaderCase[]): Promise<boolean> {
  const mailbox = await new Mailbox(kind).open();
  let isAlive = true;
  try {
    for (const each of choose(mailbox.name)) await mailbox.publish(each);
  } catch {
    isAlive = false;
  }
  isAlive = isAlive && (await mailbox.isAlive());
  await mailbox.close(isAlive);
  return isAlive;
}

/** Names of those that a mailbox does not survive. */
async function deadly(kind: Kind, group: string): Promise<string[]> {
  const casesOf = (queue: string) => headerCases(queue)[group]!;
  if (await survives(kind, casesOf)) return [];
  const found: string[] = [];
  for (const { name } of casesOf('')) {
    const only = (queue: string) => casesOf(queue).filter((each) => each.name === name);
    if (!(await survives(kind, only))) found.push(name);
  }
  return found;
}

const all = (queue: string): HeaderCase[] => Object.values(headerCases(queue)).flat();

describe('whatever headers and properties a message has', () => {
  it.each(Object.keys(TRANSPORTS) as (keyof typeof TRANSPORTS)[])(
    'a client by %s handles what comes after it',
    async (transport) => {
      const user = uniqueUser();
      const client = stack.client(user, TRANSPORTS[transport]());
      const messages = collect(client);
      client.start();
      await client.ready();
      const raw = await RawAmqp.open(broker.endpoints.backendAmqpUrl);
      for (const { properties } of all('')) {
        await inTime(raw.publish('warren.direct', `user.${user}`, '{}', properties));
      }
      raw.close();
      await stack.send({ user }, 'good');
      await until(() => messages.some(({ data }) => data === 'good'));
      expect(messages.length).toBeGreaterThan(all('').length / 2);
      await client.stop();
    },
  );

  it('what is sent by warren.send reaches its user, and no queue is the worse for it', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.amqp());
    const messages = collect(client);
    client.start();
    await client.ready();
    const raw = await RawAmqp.open(broker.endpoints.backendAmqpUrl);
    let taken = 0;
    for (const { name, properties } of [...all('warren.send'), DEEP]) {
      const body = JSON.stringify({ to: { user }, type: 'note', data: name, ttlMs: 60_000 });
      const verdict = await inTime(raw.publish('warren.send', '', body, properties));
      if (verdict === 'ack') taken++;
    }
    raw.close();
    expect(taken).toBeGreaterThan(all('').length / 2);
    await until(() => messages.length === taken);
    // Those that it came with are not those that arrive.
    const kept = messages.flatMap(({ headers }) => Object.keys(headers));
    expect(kept.filter((name) => !name.startsWith('x-warren-'))).toEqual([]);
    expect([...(await management.queuesWithoutProcess(''))]).toEqual([]);
    await client.stop();
  });
});

describe.each(KINDS)('a $type mailbox in which it $death', (kind) => {
  it.each(GROUPS)(
    'survives it: %s',
    async (group) => {
      const isSafe = isAtLeast(await management.version(), SURVIVES_HEADERS);
      const known = isSafe
        ? []
        : headerCases('')[group]!.filter(({ isMalformedDeath }) => isMalformedDeath);
      const names = known.map(({ name }) => name);
      const found = await deadly(kind, group);
      if (kind.type === 'classic') expect(found).toEqual(names);
      // Its process comes back without the message, in time or not.
      else expect(names).toEqual(expect.arrayContaining(found));
    },
    600_000,
  );
});

it('the server goes on, and tells what became of messages', async () => {
  const user = uniqueUser();
  await stack.session(user, { deviceId: 'phone' });
  const { body } = await stack.send({ user }, 1, { track: true, ttlMs: 1 });
  await until(async () => {
    const { counts } = (await stack.api('GET', `/v1/messages/${body.id}`)).body;
    return counts.expired === 1;
  });
});
