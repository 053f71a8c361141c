import { createHmac, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { connect as connectAmqp, type Channel } from 'amqplib';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { SessionGrant } from '@warren/protocol';
import { QueueWatch } from '../support/queue-watch.js';
import { RawStomp } from '../support/raw-stomp.js';
import { startStack, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let watch: QueueWatch;
let attacker: SessionGrant;
let victim: SessionGrant;
let victimUser: string;
beforeAll(async () => {
  stack = await startStack();
  watch = await QueueWatch.open();
  victimUser = uniqueUser();
  attacker = await stack.session(uniqueUser(), { deviceId: 'phone' });
  victim = await stack.session(victimUser, { deviceId: 'phone' });
  await stack.send({ user: victimUser }, 'for the victim alone');
});
afterAll(async () => {
  await watch.close();
  await stack.close();
});

const { endpoints, signingKey } = inject('broker');

function amqpUrl(login: string, password: string): string {
  const account = `${encodeURIComponent(login)}:${encodeURIComponent(password)}@`;
  return endpoints.clientAmqpUrl.replace('amqp://', `amqp://${account}`);
}

/** Other tests' live queues and consoles go a while after their consumers, whenever that may be. */
const isLasting = (line: string): boolean =>
  !/(^| )(live|warren\.(console|trace))\./.test(line) ||
  [attacker, victim].some(({ liveQueue }) => line.includes(liveQueue));

/** Everything on the broker that an attack could have changed. */
async function brokerState(): Promise<unknown> {
  const url = new URL(endpoints.managementUrl);
  const authorization = `Basic ${btoa(`${url.username}:${url.password}`)}`;
  const get = async (path: string) => {
    const response = await fetch(`${url.origin}/api/${path}/warren?enable_queue_totals=true`, {
      headers: { authorization },
    });
    return (await response.json()) as Record<string, unknown>[];
  };
  const names = (items: Record<string, unknown>[], ...keys: string[]) =>
    items
      .map((item) => keys.map((key) => String(item[key])).join(' '))
      .filter(isLasting)
      .sort();
  return {
    queues: names(await get('queues'), 'name'),
    // By AMQP: what the listing says of quorum queues is old.
    waiting: await Promise.all([victim.queue, attacker.queue].map((queue) => watch.waiting(queue))),
    exchanges: names(await get('exchanges'), 'name'),
    bindings: names(await get('bindings'), 'source', 'destination', 'routing_key'),
  };
}

/** Operations, each with the target that is not the attacker's. */
const AMQP_OPERATIONS: Record<string, (channel: Channel) => Promise<unknown>> = {
  'consume another queue': (channel) => channel.consume(victim.queue, () => undefined),
  'consume another live queue': (channel) => channel.consume(victim.liveQueue, () => undefined),
  'get from another queue': (channel) => channel.get(victim.queue),
  'consume the dead letters': (channel) => channel.consume('warren.dead', () => undefined),
  'purge another queue': (channel) => channel.purgeQueue(victim.queue),
  'delete another queue': (channel) => channel.deleteQueue(victim.queue),
  'delete its own queue': (channel) => channel.deleteQueue(attacker.queue),
  'declare a queue': (channel) => channel.assertQueue('user.evil', { durable: true }),
  'declare a temporary queue': (channel) => channel.assertQueue('', { exclusive: true }),
  'declare another queue anew': (channel) => channel.assertQueue(victim.queue, { durable: false }),
  'bind its own queue to a user’s key': (channel) =>
    channel.bindQueue(attacker.queue, 'warren.direct', `user.${victimUser}`),
  'bind another queue': (channel) => channel.bindQueue(victim.queue, 'warren.direct', 'evil'),
  'unbind another queue': (channel) =>
    channel.unbindQueue(victim.queue, 'warren.direct', `user.${victimUser}`),
  'unbind its own queue': (channel) =>
    channel.unbindQueue(attacker.queue, 'warren.direct', attacker.queue),
  'declare an exchange': (channel) => channel.assertExchange('evil', 'fanout'),
  'delete the exchange': (channel) => channel.deleteExchange('warren.direct'),
  'bind exchanges': (channel) => channel.bindExchange('warren.dead', 'warren.direct', 'x'),
  'publish to a user': (channel) => publish(channel, 'warren.direct', `user.${victimUser}`),
  'publish to a device': (channel) => publish(channel, 'warren.direct', victim.queue),
  'publish to its own queue': (channel) => publish(channel, 'warren.direct', attacker.queue),
  'publish by the default exchange': (channel) => publish(channel, '', victim.queue),
  'publish to amq.topic': (channel) => publish(channel, 'amq.topic', 'x'),
  'publish to the dead letters': (channel) => publish(channel, 'warren.dead', 'x'),
};

async function publish(channel: Channel, exchange: string, key: string): Promise<unknown> {
  channel.publish(exchange, key, Buffer.from('evil'));
  // A refused publish closes the channel; this waits for the broker's verdict.
  return channel.prefetch(1);
}

describe('by AMQP, a client’s token', () => {
  it.each(Object.keys(AMQP_OPERATIONS))('may not %s', async (name) => {
    const before = await brokerState();
    const connection = await connectAmqp(amqpUrl(attacker.queue, attacker.token));
    connection.on('error', () => undefined);
    const channel = await connection.createChannel();
    let refusal = '';
    const closed = new Promise<void>((resolve) => {
      channel.on('error', (error: Error) => {
        refusal = error.message;
      });
      channel.on('close', resolve);
    });
    await AMQP_OPERATIONS[name]!(channel).catch((error: unknown) => {
      refusal ||= String(error);
    });
    await closed;
    expect(refusal).toMatch(/ACCESS[-_]REFUSED|403/);
    await connection.close();
    expect(await brokerState()).toEqual(before);
  });

  it('may consume its own two queues', async () => {
    const connection = await connectAmqp(amqpUrl(attacker.queue, attacker.token));
    const channel = await connection.createChannel();
    await channel.consume(attacker.queue, () => undefined);
    await channel.consume(attacker.liveQueue, () => undefined);
    await connection.close();
  });

  it('may not enter another vhost', async () => {
    const url = amqpUrl(attacker.queue, attacker.token).replace(/\/warren$/, '/%2F');
    await expect(connectAmqp(url)).rejects.toThrow();
  });
});

const SUBSCRIBE = (destination: string): [string, Record<string, string>] => [
  'SUBSCRIBE',
  { destination, id: 's', ack: 'client-individual' },
];
const SEND = (destination: string): [string, Record<string, string>] => ['SEND', { destination }];

const STOMP_OPERATIONS: Record<string, () => [string, Record<string, string>]> = {
  'subscribe to another queue': () => SUBSCRIBE(`/amq/queue/${victim.queue}`),
  'subscribe to another live queue': () => SUBSCRIBE(`/amq/queue/${victim.liveQueue}`),
  'subscribe to the dead letters': () => SUBSCRIBE('/amq/queue/warren.dead'),
  'subscribe to a user’s key of the exchange': () =>
    SUBSCRIBE(`/exchange/warren.direct/user.${victimUser}`),
  'subscribe to the exchange': () => SUBSCRIBE('/exchange/warren.direct'),
  'subscribe to the events of the broker': () => SUBSCRIBE('/exchange/amq.rabbitmq.event/#'),
  'subscribe to a topic': () => SUBSCRIBE('/topic/#'),
  'subscribe to a queue that it would declare': () => SUBSCRIBE('/queue/evil'),
  'subscribe to another queue by declaring it': () => SUBSCRIBE(`/queue/${victim.queue}`),
  'subscribe to a temporary queue': () => SUBSCRIBE('/temp-queue/evil'),
  'send to another queue': () => SEND(`/amq/queue/${victim.queue}`),
  'send to its own queue': () => SEND(`/amq/queue/${attacker.queue}`),
  'send to a user by the exchange': () => SEND(`/exchange/warren.direct/user.${victimUser}`),
  'send to a topic': () => SEND('/topic/x'),
  'send to a queue that it would declare': () => SEND('/queue/evil'),
  'send to a temporary queue': () => SEND('/temp-queue/evil'),
  'send and ask for a reply': () => [
    'SEND',
    { destination: `/amq/queue/${victim.queue}`, 'reply-to': '/temp-queue/evil' },
  ],
};

describe('by STOMP, a client’s token', () => {
  const login = async (token = attacker.token, name = attacker.queue) => {
    const client = await RawStomp.open(endpoints.stompUrl);
    const isIn = await client.login({ login: name, passcode: token, host: 'warren' });
    return { client, isIn };
  };

  it.each(Object.keys(STOMP_OPERATIONS))('may not %s', async (name) => {
    const before = await brokerState();
    const { client, isIn } = await login();
    expect(isIn).toBe(true);
    const [command, headers] = STOMP_OPERATIONS[name]!();
    client.send(command, headers, command === 'SEND' ? 'evil' : '');
    // 3.10.8 closes the socket without a word; later brokers send an ERROR first.
    const answer = await client.next(['ERROR', 'MESSAGE']);
    expect(answer?.command).not.toBe('MESSAGE');
    if (answer === undefined) expect(client.isClosed).toBe(true);
    else
      expect(`${answer.headers['message'] ?? ''} ${answer.body}`).toMatch(
        /access.refused|not a valid destination/i,
      );
    await client.close();
    expect(await brokerState()).toEqual(before);
  });

  it('may subscribe to its own queue', async () => {
    const { client } = await login();
    client.send('SUBSCRIBE', {
      destination: `/amq/queue/${attacker.queue}`,
      id: 's',
      ack: 'client-individual',
    });
    await stack.send({ device: { user: attacker.userId, device: 'phone' } }, 'mine');
    expect((await client.next(['MESSAGE']))?.body).toBe('"mine"');
    await client.close();
  });

  it('is worth nothing under another login: the token’s own name counts', async () => {
    const { client, isIn } = await login(attacker.token, victim.queue);
    if (isIn) {
      client.send('SUBSCRIBE', {
        destination: `/amq/queue/${victim.queue}`,
        id: 's',
        ack: 'client-individual',
      });
      expect(await client.next(['MESSAGE'])).toBeUndefined();
    }
    await client.close();
  });
});

describe('ids made of what means something elsewhere', () => {
  it.each(['*', '%', '/', '.a', '#', '%2A', '*.*', '../..', 'user.*'])(
    'the id %s reads its own queue and nobody else’s',
    async (id) => {
      const grant = await stack.session(id, { deviceId: id });
      const connection = await connectAmqp(amqpUrl(grant.queue, grant.token));
      connection.on('error', () => undefined);
      const own = await connection.createChannel();
      await stack.send({ user: id }, 'own');
      const bodies: string[] = [];
      await own.consume(grant.queue, (message) => bodies.push(String(message?.content)), {
        noAck: true,
      });
      await until(() => bodies.includes('"own"'));
      const other = await connection.createChannel();
      other.on('error', () => undefined);
      await expect(other.get(victim.queue)).rejects.toThrow(/ACCESS/);
      await connection.close();
      await stack.api('DELETE', `/v1/users/${encodeURIComponent(id).replaceAll('.', '%2E')}`);
    },
  );
});

const claimsOf = (grant: SessionGrant) => jwt.decode(grant.token) as jwt.JwtPayload;
const headerOf = (grant: SessionGrant) => jwt.decode(grant.token, { complete: true })!.header;
const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const rs256 = (
  claims: object,
  key: jwt.Secret | typeof other = signingKey,
  kid = headerOf(attacker).kid,
) => jwt.sign(claims, key, { algorithm: 'RS256', ...(kid !== undefined && { keyid: kid }) });

function unsigned(grant: SessionGrant): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none', typ: 'JWT' })}.${part(claimsOf(grant))}.`;
}

function hs256WithPublicKey(grant: SessionGrant): string {
  const pem = createPublicKey(signingKey).export({ type: 'spki', format: 'pem' }).toString();
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT', kid: headerOf(grant).kid })}.${part(claimsOf(grant))}`;
  return `${text}.${createHmac('sha256', pem).update(text).digest('base64url')}`;
}

const FORGERIES: Record<string, () => string> = {
  'with alg none': () => unsigned(victim),
  'signed by another key': () => rs256(claimsOf(victim), other),
  'signed by another key under an unknown kid': () => rs256(claimsOf(victim), other, 'evil'),
  'signed with HS256 and the public key': () => hs256WithPublicKey(victim),
  'for another audience': () => rs256({ ...claimsOf(victim), aud: 'somebody' }),
  'for no audience': () => rs256({ ...claimsOf(victim), aud: undefined }),
  'that has expired': () => rs256({ ...claimsOf(victim), exp: Math.floor(Date.now() / 1000) - 5 }),
  'with its claims changed': () => {
    const [head, , signature] = attacker.token.split('.');
    const claims = Buffer.from(JSON.stringify(claimsOf(victim))).toString('base64url');
    return [head, claims, signature].join('.');
  },
  'of the application’s users': () => jwt.sign({ sub: victim.userId }, 'x'.repeat(32)),
  'that is empty': () => '',
  'that is nonsense': () => 'nonsense',
};

describe('the broker refuses a login with a token', () => {
  it.each(Object.keys(FORGERIES))('%s, by both protocols', async (name) => {
    const token = FORGERIES[name]!();
    await expect(connectAmqp(amqpUrl(victim.queue, token))).rejects.toThrow(
      /ACCESS[-_]REFUSED|403/,
    );
    const client = await RawStomp.open(endpoints.stompUrl);
    expect(await client.login({ login: victim.queue, passcode: token, host: 'warren' })).toBe(
      false,
    );
    await client.close();
  });

  it.each([
    ['without a login', {}],
    ['as guest', { login: 'guest', passcode: 'guest' }],
    ['with a login and no password', { login: 'warren-server' }],
    ['with an empty login', { login: '', passcode: '' }],
  ])('anonymous STOMP: %s', async (_what, headers) => {
    for (const host of ['warren', '/']) {
      const client = await RawStomp.open(endpoints.stompUrl);
      expect(await client.login({ ...headers, host })).toBe(false);
      await client.close();
    }
  });

  it('as guest, by AMQP and by the management API', async () => {
    await expect(connectAmqp(amqpUrl('guest', 'guest'))).rejects.toThrow();
    const { origin } = new URL(endpoints.managementUrl);
    const response = await fetch(`${origin}/api/overview`, {
      headers: { authorization: `Basic ${btoa('guest:guest')}` },
    });
    expect(response.status).toBe(401);
    for (const token of [attacker.token, 'Basic']) {
      const asBearer = await fetch(`${origin}/api/overview`, {
        headers: { authorization: `Bearer ${token}` },
      });
      expect(asBearer.status).toBe(401);
    }
  });
});

describe('the account of a back end', () => {
  it('may publish to users and nothing else', async () => {
    const connection = await connectAmqp(endpoints.backendAmqpUrl);
    connection.on('error', () => undefined);
    const allowed = await connection.createConfirmChannel();
    allowed.publish('warren.direct', `user.${uniqueUser()}`, Buffer.from('x'));
    await allowed.waitForConfirms();
    const refused: ((channel: Channel) => Promise<unknown>)[] = [
      (channel) => channel.consume(victim.queue, () => undefined),
      (channel) => channel.get('warren.dead'),
      (channel) => channel.assertQueue('user.evil'),
      (channel) => channel.bindQueue(victim.queue, 'warren.direct', 'x'),
      (channel) => publish(channel, '', victim.queue),
      (channel) => publish(channel, 'warren.dead', 'x'),
    ];
    for (const operation of refused) {
      const channel = await connection.createChannel();
      channel.on('error', () => undefined);
      await expect(operation(channel)).rejects.toThrow(/ACCESS|closed/);
    }
    await connection.close();
  });
});
