import { connect as connectAmqp, type Channel, type ChannelModel } from 'amqplib';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { SessionGrant } from '@warren/protocol';
import { RawStomp } from '../support/raw-stomp.js';
import {
  request,
  SERVICE_KEY,
  startStack,
  uniqueUser,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

/*
 * A valid user tries everything that could read, write, learn about or disturb another account, the
 * administration or the broker: operations × targets × ways to write them.
 */

let stack: Stack;
let attacker: SessionGrant;
let victim: SessionGrant;
let victimUser: string;
let adminQueue: string;
let cases = 0;
const { endpoints } = inject('broker');

beforeAll(async () => {
  stack = await startStack();
  victimUser = uniqueUser();
  attacker = await stack.session(uniqueUser(), { deviceId: 'phone' });
  victim = await stack.session(victimUser, { deviceId: 'phone' });
  await stack.send({ user: victimUser }, 'for the victim alone');
  adminQueue = (await stack.admin('POST', 'sessions', {})).body.queue;
});
afterAll(async () => {
  process.stdout.write(`  ${String(cases)} attacks, all refused\n`);
  await stack.close();
});

/** One name, written in ways that a careless comparison would take for another. */
function encodings(name: string): string[] {
  return [
    name,
    encodeURIComponent(name),
    name.replaceAll('.', '%2E'),
    name.replaceAll('.', '%252E'),
    name.toUpperCase(),
    `${name} `,
    ` ${name}`,
    `${name}\t`,
    `./${name}`,
    `${attacker.queue}/../${name}`,
    `${attacker.queue},${name}`,
  ];
}

const wildcards = (): string[] => ['*', '#', 'user.*', 'user.#', `${attacker.queue}*`, '.*', '%2A'];

function targets(): string[] {
  const names = [victim.queue, victim.liveQueue, `user.${victimUser}`, 'warren.dead', adminQueue];
  return [...names.flatMap(encodings), ...wildcards()];
}

const body = Buffer.from('evil');

const AMQP: Record<string, (channel: Channel, target: string) => Promise<unknown>> = {
  consume: (channel, target) => channel.consume(target, () => undefined),
  get: (channel, target) => channel.get(target),
  purge: (channel, target) => channel.purgeQueue(target),
  'delete a queue': (channel, target) => channel.deleteQueue(target),
  'declare a queue': (channel, target) => channel.assertQueue(target),
  'bind to it': (channel, target) => channel.bindQueue(attacker.queue, 'warren.direct', target),
  bind: (channel, target) => channel.bindQueue(target, 'warren.direct', 'evil'),
  unbind: (channel, target) => channel.unbindQueue(target, 'warren.direct', `user.${victimUser}`),
  'publish by the default exchange': (channel, target) => publish(channel, '', target),
  'publish by the exchange': (channel, target) => publish(channel, 'warren.direct', target),
  'publish to an exchange': (channel, target) => publish(channel, target, 'x'),
  'declare an exchange': (channel, target) => channel.assertExchange(target, 'fanout'),
  'delete an exchange': (channel, target) => channel.deleteExchange(target),
};

/** A refused publish closes the channel; the next question finds out. */
async function publish(channel: Channel, exchange: string, key: string): Promise<unknown> {
  channel.publish(exchange, key, body);
  return channel.prefetch(1);
}

async function refusalOf(
  model: ChannelModel,
  operation: (channel: Channel) => Promise<unknown>,
): Promise<string> {
  const channel = await model.createChannel();
  const closing = new Promise<string>((resolve) => {
    channel.once('error', (error: Error) => {
      resolve(error.message);
    });
  });
  const done = operation(channel).then(
    () => 'done',
    () => closing,
  );
  return done;
}

const login = ({ queue, token }: SessionGrant) =>
  endpoints.clientAmqpUrl.replace('amqp://', `amqp://${queue}:${token}@`);

describe('by AMQP', () => {
  it.each(Object.keys(AMQP))('a client cannot %s, whatever the target', async (name) => {
    const model = await connectAmqp(login(attacker), { noDelay: true });
    model.on('error', () => undefined);
    for (const target of targets()) {
      cases++;
      const refusal = await refusalOf(model, (channel) => AMQP[name]!(channel, target));
      // Refused, whether there is such a thing or not: the answer does not tell.
      expect(`${target}: ${refusal}`).toMatch(/ACCESS[-_]REFUSED|reserved prefix|no exchange/);
    }
    await model.close();
  });

  it('the refusal of what is there and of what is not are the same', async () => {
    const model = await connectAmqp(login(attacker), { noDelay: true });
    model.on('error', () => undefined);
    for (const operation of ['consume', 'get', 'purge', 'delete a queue', 'declare a queue']) {
      const [there, not] = await Promise.all(
        [victim.queue, `${victim.queue.slice(0, -4)}ffff`].map(async (target) => {
          cases++;
          const text = await refusalOf(model, (channel) => AMQP[operation]!(channel, target));
          return text.replaceAll(target, 'TARGET');
        }),
      );
      expect(there).toBe(not);
    }
    await model.close();
  });
});

const PREFIXES = [
  '/amq/queue/',
  '/queue/',
  '/topic/',
  '/exchange/',
  '/exchange/warren.direct/',
  '/exchange/amq.topic/',
  '/temp-queue/',
  '/reply-queue/',
  '',
];

/** The broker's answer to one frame of somebody who is logged in. */
async function answerTo(command: string, headers: Record<string, string>): Promise<string> {
  const client = await RawStomp.open(endpoints.stompUrl);
  try {
    const { queue, token } = attacker;
    expect(await client.login({ login: queue, passcode: token, host: 'warren' })).toBe(true);
    client.send(command, headers, command === 'SEND' ? 'evil' : '');
    const answer = await client.next(['ERROR', 'MESSAGE', 'RECEIPT']);
    if (answer === undefined) return client.isClosed ? 'closed' : 'nothing';
    return `${answer.command} ${answer.headers['message'] ?? ''} ${answer.body}`;
  } finally {
    await client.close();
  }
}

/** STOMP's own way to write what would end a header. */
const escape = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll(':', '\\c');

describe('by STOMP over WebSocket', () => {
  it.each(['SUBSCRIBE', 'SEND'])('%s is refused at every destination', async (command) => {
    const names = [victim.queue, `user.${victimUser}`, 'warren.dead', '*', '#'];
    const destinations = [
      ...PREFIXES.flatMap((prefix) => names.map((name) => prefix + name)),
      ...encodings(victim.queue).map((name) => `/amq/queue/${name}`),
      ...encodings(victim.queue).map((name) => `/queue/${name}`),
    ];
    for (const destination of destinations) {
      cases++;
      const headers = { destination: escape(destination), id: 's', ack: 'client-individual' };
      const answer = await answerTo(command, headers);
      expect(`${destination}: ${answer}`).toMatch(/ERROR|closed/);
      expect(answer).not.toContain('for the victim');
    }
  });

  it('headers that name another queue, or would delete it, change nothing', async () => {
    const destinations = [
      `/amq/queue/${attacker.queue}`,
      '/exchange/warren.direct/x',
      '/topic/x',
      '/queue/x',
    ];
    const extras = [
      { 'x-queue-name': victim.queue },
      { 'x-queue-name': victim.queue, durable: 'true', 'auto-delete': 'false' },
      { id: victim.queue, durable: 'true' },
      { 'reply-to': `/amq/queue/${victim.queue}` },
      { 'reply-to': '/temp-queue/x' },
      { exclusive: 'true' },
      { 'x-dead-letter-exchange': 'warren.direct' },
      { persistent: 'true', id: 'a' },
    ];
    for (const command of ['SUBSCRIBE', 'UNSUBSCRIBE', 'SEND', 'ACK', 'NACK', 'BEGIN']) {
      for (const destination of destinations) {
        for (const extra of extras) {
          cases++;
          const headers = { destination, id: 's', transaction: 't', ...extra };
          expect(await answerTo(command, { ...headers, receipt: 'r' })).not.toMatch(/^MESSAGE/);
        }
      }
    }
  });

  it('nobody speaks STOMP without WebSocket', async () => {
    cases++;
    const { origin, username, password } = new URL(endpoints.managementUrl);
    const listener = await fetch(`${origin}/api/health/checks/protocol-listener/stomp`, {
      headers: { authorization: `Basic ${btoa(`${username}:${password}`)}` },
    });
    expect(listener.ok).toBe(false);
  });
});

describe('by the management API', () => {
  it('a client’s token opens nothing', async () => {
    const { origin } = new URL(endpoints.managementUrl);
    const paths = ['overview', 'users', 'queues', 'connections', 'definitions', 'whoami', 'nodes'];
    const accounts = [
      `Basic ${btoa(`${attacker.queue}:${attacker.token}`)}`,
      `Basic ${btoa(`warren-server:${attacker.token}`)}`,
      `Bearer ${attacker.token}`,
      'Basic Og==',
    ];
    for (const path of paths) {
      for (const authorization of accounts) {
        for (const method of ['GET', 'DELETE', 'PUT', 'POST']) {
          cases++;
          const response = await fetch(`${origin}/api/${path}`, {
            method,
            headers: { authorization, 'content-type': 'application/json' },
            ...(method !== 'GET' && { body: '{}' }),
          });
          expect([401, 405]).toContain(response.status);
          await response.arrayBuffer();
        }
      }
    }
  });
});

describe('by HTTP', () => {
  const mine = () => userToken(attacker.userId);

  const SERVICE: [method: string, path: (id: string) => string, body?: object][] = [
    ['GET', (id) => `/v1/users/${id}`],
    ['PUT', (id) => `/v1/users/${id}`, {}],
    ['DELETE', (id) => `/v1/users/${id}`],
    ['POST', (id) => `/v1/users/${id}/disconnect`, {}],
    ['POST', (id) => `/v1/users/${id}/revoke`, {}],
    ['POST', (id) => `/v1/users/${id}/tokens`, {}],
    ['POST', () => '/v1/messages', { to: { user: 'x' }, type: 'x', data: 1 }],
  ];

  it('a user’s token opens no route of back ends, and the answer tells nothing', async () => {
    const bearers = () => [mine(), attacker.token, attacker.sessionId, 'null', 'undefined', '*'];
    for (const [method, path, content] of SERVICE) {
      for (const bearer of bearers()) {
        const ids = [victimUser, 'nobody-at-all', attacker.userId, '%2e%2e', '*'];
        const answers = new Set<string>();
        for (const id of ids) {
          cases++;
          const url = stack.apiUrl + path(encodeURIComponent(id));
          const reply = await request(url, method, bearer, content);
          answers.add(`${String(reply.status)} ${JSON.stringify(reply.body)}`);
        }
        expect([...answers]).toHaveLength(1);
        expect([...answers][0]).toMatch(/^401/);
      }
    }
  });

  it('nothing beside the token says who a user is', async () => {
    const claims = [
      {},
      { userId: victimUser },
      { user: victimUser },
      { sub: victimUser },
      { deviceId: victimUser },
      { deviceId: `../${victimUser}` },
      { sessionId: victim.sessionId },
      { deviceId: 'phone', sessionId: victim.sessionId },
      { installationId: 'x', deviceId: 'phone' },
      JSON.parse('{"__proto__": {"userId": "x"}}') as object,
    ];
    const headers = [
      {},
      { 'x-user-id': victimUser },
      { 'x-forwarded-user': victimUser },
      { 'x-http-method-override': 'DELETE' },
      { cookie: `user=${victimUser}` },
    ];
    for (const claim of claims) {
      for (const header of headers) {
        cases++;
        const url = `${stack.apiUrl}/v1/sessions?userId=${victimUser}`;
        const { status, body: grant } = await request(url, 'POST', mine(), claim, header);
        if (status !== 201) expect([400, 403, 409]).toContain(status);
        else expect((grant as unknown as SessionGrant).userId).toBe(attacker.userId);
        expect(JSON.stringify(grant)).not.toContain(victim.queue);
      }
    }
  });

  it('forged tokens are refused', async () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const valid = mine().split('.');
    const sub = victimUser;
    const forged = [
      `${part({ alg: 'none' })}.${part({ sub })}.`,
      `${part({ alg: 'None' })}.${part({ sub })}.${valid[2]!}`,
      `${valid[0]!}.${part({ sub })}.${valid[2]!}`,
      `${valid[0]!}.${part({ sub })}.`,
      jwt.sign({ sub }, ''.padEnd(32, 'x')),
      jwt.sign({ sub }, SERVICE_KEY.padEnd(32, 'x')),
      victim.token,
      `${victim.token}x`,
      SERVICE_KEY,
    ];
    for (const token of forged) {
      cases++;
      const { status } = await request(`${stack.apiUrl}/v1/sessions`, 'POST', token, {});
      expect(status).toBe(401);
    }
  });

  it('there is nothing of development, and no file to be had', async () => {
    const paths = [
      '/v1/admin',
      '/v1/admin/nothing',
      '/console/nothing',
      '/console/..%2f..%2fpackage.json',
      '/console/%2e%2e/%2e%2e/package.json',
      '/dev/token',
      '/..%2f..%2fetc/passwd',
      '/%2e%2e/%2e%2e/etc/passwd',
      '/v1/sessions/..%2fusers%2fx',
      '/.env',
      '/warren.sqlite',
    ];
    for (const path of paths) {
      for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'TRACE-ME'.slice(0, 5)]) {
        if (method === 'TRACE') continue;
        cases++;
        const reply = await request(stack.apiUrl + path, method, mine()).catch(() => undefined);
        expect([404, 405, 204]).toContain(reply?.status);
      }
    }
  });
});

describe('after all that', () => {
  it('the victim has its one message, the broker and the server are well', async () => {
    expect((await stack.user(victimUser)).devices).toMatchObject([
      { queue: victim.queue, depth: 1 },
    ]);
    const model = await connectAmqp(login(victim));
    const channel = await model.createChannel();
    const bodies: string[] = [];
    await channel.consume(victim.queue, (message) => bodies.push(String(message?.content)));
    await until(() => bodies.length > 0);
    expect(bodies).toEqual(['"for the victim alone"']);
    await model.close();
    expect((await request(`${stack.apiUrl}/health/ready`, 'GET')).status).toBe(200);
    expect(cases).toBeGreaterThan(1000);
  });
});
