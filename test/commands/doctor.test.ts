import { connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Broker } from '@warren/rabbitmq';
import { createBroker } from '../support/broker.js';
import { Program } from '../support/program.js';
import { startStack, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

interface Finding {
  level: string;
  what: string;
  remedy?: string;
}

let broker: Broker;
let remove: () => Promise<void>;
let stack: Stack;
beforeAll(async () => {
  ({ broker, remove } = await createBroker());
  await broker.start();
  // Sets the policies.
  stack = await startStack({
    endpoints: broker.endpoints,
    signingKey: broker.signingKey.privateKey,
  });
});
afterAll(async () => {
  await stack.close();
  await remove();
});

async function warren(args: string[], environment: Record<string, string> = {}) {
  const { amqpUrl, managementUrl, stompUrl } = broker.endpoints;
  const program = new Program(process.execPath, ['server/bin/warren.js', ...args], {
    WARREN_AMQP_URL: amqpUrl,
    WARREN_MANAGEMENT_URL: managementUrl,
    WARREN_PUBLIC_STOMP_URL: stompUrl,
    WARREN_SIGNING_KEY: broker.signingKey.privateKey,
    ...environment,
  });
  return { code: await program.exited, output: program.output };
}

async function problems(environment: Record<string, string> = {}): Promise<Finding[]> {
  const { output } = await warren(['doctor', '--json'], environment);
  return (JSON.parse(output) as Finding[]).filter(({ level }) => level !== 'ok');
}

const manage = (method: string, path: string, body?: object) => {
  const { origin, username, password } = new URL(broker.endpoints.managementUrl);
  return fetch(`${origin}/api${path}`, {
    method,
    headers: {
      authorization: `Basic ${btoa(`${username}:${password}`)}`,
      'content-type': 'application/json',
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
};

describe('warren doctor', () => {
  it('finds nothing wrong with Warren’s own configuration but the broker’s age', async () => {
    await until(async () => (await problems()).length <= 1);
    const found = await problems();
    expect(found).toMatchObject([{ level: 'warning' }]);
    expect(found[0]!.what).toMatch(/open advisories/);
    const { code, output } = await warren(['doctor']);
    expect(code).toBe(0);
    expect(output).toContain('It can be used');
    const secrets = [broker.endpoints.amqpUrl, broker.endpoints.managementUrl].map(
      (url) => new URL(url).password,
    );
    for (const secret of secrets) expect(output).not.toContain(secret);
  });

  // What breaks it, what puts it right again, and what the doctor must say of it.
  const ILLS: [
    what: string,
    spoil: () => Promise<unknown>,
    mend: () => Promise<unknown>,
    RegExp,
  ][] = [
    [
      'a guest account',
      () => manage('PUT', '/users/guest', { password: 'guest', tags: '' }),
      () => manage('DELETE', '/users/guest'),
      /guest account/,
    ],
    [
      'a missing policy',
      () => manage('DELETE', '/policies/warren/warren-user'),
      () => warren(['provision']),
      /policy warren-user is not there/,
    ],
    [
      'a missing exchange',
      () => manage('DELETE', '/exchanges/warren/warren.direct'),
      () => warren(['provision']),
      /no exchange warren\.direct/,
    ],
    [
      'no limit of connections',
      () => manage('DELETE', '/vhost-limits/warren/max-connections'),
      () => warren(['provision']),
      /any number of connections/,
    ],
    [
      'another account that may do everything',
      async () => {
        await manage('PUT', '/users/somebody', { password: 'x', tags: '' });
        const all = { configure: '.*', write: '.*', read: '.*' };
        await manage('PUT', '/permissions/warren/somebody', all);
      },
      () => manage('DELETE', '/users/somebody'),
      /somebody can read or change the queues/,
    ],
    [
      'no permission to see events',
      () => manage('DELETE', '/permissions/%2F/warren-server'),
      () => {
        const own = '^amq\\.gen.*$';
        const read = '^(amq\\.gen.*|amq\\.rabbitmq\\.event)$';
        return manage('PUT', '/permissions/%2F/warren-server', {
          configure: own,
          write: own,
          read,
        });
      },
      /may not enter the vhost \//,
    ],
  ];

  it.each(ILLS)('finds %s, and says how to mend it', async (_what, spoil, mend, text) => {
    await spoil();
    const found = await problems();
    await mend();
    const finding = found.find(({ what }) => text.test(what));
    expect(finding, JSON.stringify(found)).toBeDefined();
    expect(finding!.remedy!.length).toBeGreaterThan(5);
    expect((await problems()).some(({ what }) => text.test(what))).toBe(false);
  });

  it('finds another signing key, a wrong address, an account without rights, and hosts that cannot work', async () => {
    const { generateKeyPairSync } = await import('node:crypto');
    const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    const pem = other.export({ type: 'pkcs8', format: 'pem' }).toString();
    expect(JSON.stringify(await problems({ WARREN_SIGNING_KEY: pem }))).toContain(
      "refuses clients' tokens",
    );
    const nowhere = await problems({ WARREN_PUBLIC_STOMP_URL: 'ws://127.0.0.1:9/ws' });
    expect(JSON.stringify(nowhere)).toContain('Nothing speaks Web-STOMP');
    const plain = await problems({ WARREN_PUBLIC_STOMP_URL: 'ws://broker.example/ws' });
    expect(JSON.stringify(plain)).toContain('WARREN_PUBLIC_STOMP_URL leads to is not encrypted');
    const backend = new URL(broker.endpoints.backendAmqpUrl);
    const management = new URL(broker.endpoints.managementUrl);
    management.username = backend.username;
    management.password = backend.password;
    const weak = await problems({ WARREN_MANAGEMENT_URL: management.toString() });
    expect(weak.some(({ level }) => level === 'problem')).toBe(true);
    const hosted = broker.endpoints.amqpUrl.replace('127.0.0.1', 'b-1.mq.eu-west-1.amazonaws.com');
    const { code, output } = await warren(['doctor'], { WARREN_AMQP_URL: hosted });
    expect(code).toBe(1);
    expect(output).toContain('Amazon MQ');
    expect((await warren(['doctor'], { WARREN_AMQP_URL: '' })).code).toBe(1);
  });
});

describe('warren service', () => {
  it('adds an account that may publish and have its own events, and removes it', async () => {
    const added = await warren(['service', 'add', 'billing']);
    expect(added.code).toBe(0);
    const model = await connect(added.output.trim());
    model.on('error', () => undefined);
    let closed = false;
    model.on('close', () => (closed = true));
    const channel = await model.createConfirmChannel();
    channel.publish('warren.direct', 'user.x', Buffer.from('x'));
    await channel.waitForConfirms();
    await channel.assertQueue('warren.events.billing', { durable: true });
    await channel.deleteQueue('warren.events.billing');
    for (const name of ['warren.events.other', 'user.x.y.z']) {
      const other = await model.createChannel();
      other.on('error', () => undefined);
      await expect(other.assertQueue(name)).rejects.toThrow(/ACCESS/);
    }
    const again = await warren(['service', 'add', 'billing']);
    expect(again.code).toBe(1);
    expect(again.output).toContain('billing-2');
    const removed = await warren(['service', 'remove', 'billing']);
    expect([removed.code, removed.output]).toEqual([0, 'billing is removed.\n']);
    await until(() => closed);
    await expect(connect(added.output.trim())).rejects.toThrow();
  });

  it.each(['a.b', '', '../x', 'x'.repeat(61), 'ü'])('refuses the name %j', async (name) => {
    expect((await warren(['service', 'add', name])).code).toBe(1);
  });

  it('does not remove accounts of another kind', async () => {
    expect((await warren(['service', 'remove', 'warren-server'])).code).toBe(1);
    expect((await warren(['service', 'remove', 'nobody'])).code).toBe(1);
  });
});
