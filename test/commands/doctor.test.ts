import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import {
  isAtLeast,
  serverAccount,
  SURVIVES_HEADERS,
  type Broker,
  type Version,
} from '@warren/rabbitmq';
import { createBroker } from '../support/broker.js';
import { Program } from '../support/program.js';
import { startStack, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

interface Finding {
  level: string;
  what: string;
  remedy?: string;
}

/** A page that may call the API, and whose WebSockets the broker takes. */
const PAGE = 'https://app.example';
/** From which versions on there is what is looked for. */
const WITHOUT_ADVISORIES: Version = [4, 2, 10];
const WITH_DELIVERY_LIMIT: Version = [4, 0, 0];
const WITH_ORIGINS: Version = [4, 2, 6];
/** What the server's account may do where the broker tells of connections. */
const EVENT_PERMISSIONS = serverAccount('').eventPermissions;

let broker: Broker;
let remove: () => Promise<void>;
let stack: Stack;
beforeAll(async () => {
  ({ broker, remove } = await createBroker({ allowOrigins: [PAGE] }));
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
  const { amqpUrl, managementUrl, metricsUrl, stompUrl } = broker.endpoints;
  const program = new Program(process.execPath, ['server/bin/warren.js', ...args], {
    WARREN_AMQP_URL: amqpUrl,
    WARREN_MANAGEMENT_URL: managementUrl,
    WARREN_PUBLIC_STOMP_URL: stompUrl,
    WARREN_BROKER_METRICS_URL: metricsUrl,
    WARREN_SIGNING_KEY: broker.signingKey.privateKey,
    WARREN_CORS_ORIGINS: PAGE,
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
  it('finds nothing wrong with Warren’s own configuration but what an old broker lacks', async () => {
    const warning = (what: RegExp) => ({
      level: 'warning',
      what: expect.stringMatching(what) as string,
    });
    const expected = [
      ...(isAtLeast(broker.version, WITHOUT_ADVISORIES) ? [] : [warning(/open advisories/)]),
      // The publish helper needs it.
      ...(isAtLeast(broker.version, SURVIVES_HEADERS) ? [] : [warning(/warren-backend/)]),
    ];
    await until(async () => (await problems()).length <= expected.length);
    expect(await problems()).toHaveLength(expected.length);
    expect(await problems()).toEqual(
      expect.arrayContaining(expected.map((one) => expect.objectContaining(one) as object)),
    );
    const { code, output } = await warren(['doctor']);
    expect(code).toBe(0);
    expect(output).toContain('It can be used');
    expect(output).toMatch(/The broker may open \d+ files/);
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
      'events that are led to where back ends send',
      () => manage('POST', '/bindings/warren/e/warren.events/e/warren.send', { routing_key: 'x' }),
      () => manage('DELETE', '/bindings/warren/e/warren.events/e/warren.send/x'),
      /exchange warren\.send is bound to warren\.events \(key x\)/,
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
      () => manage('PUT', '/permissions/%2F/warren-server', { ...EVENT_PERMISSIONS }),
      /may not enter the vhost \//,
    ],
    [
      'no permission to keep the events of connections',
      () => {
        const own = '^amq\\.gen.*$';
        const read = '^(amq\\.gen.*|amq\\.rabbitmq\\.event)$';
        return manage('PUT', '/permissions/%2F/warren-server', {
          configure: own,
          write: own,
          read,
        });
      },
      () => manage('PUT', '/permissions/%2F/warren-server', { ...EVENT_PERMISSIONS }),
      /other permissions in \//,
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

  it('wants messages that devices give back to stay, where the broker would give them up', async () => {
    const path = '/policies/warren/warren-user-quorum';
    if (!isAtLeast(broker.version, WITH_DELIVERY_LIMIT)) {
      expect((await manage('GET', path)).status).toBe(404);
      return;
    }
    const { pattern, priority, definition } = (await (await manage('GET', path)).json()) as {
      pattern: string;
      priority: number;
      definition: object;
    };
    const set = async (name: string, changes: object, delivery: object): Promise<string> => {
      const policy = { pattern, priority, 'apply-to': 'queues', ...changes };
      const body = { ...policy, definition: { ...definition, ...delivery } };
      await manage('PUT', `/policies/warren/${name}`, body);
      return JSON.stringify(await problems());
    };
    const quorum = { 'apply-to': 'quorum_queues' };
    expect(await set('warren-user-quorum', quorum, { 'delivery-limit': 5 })).toMatch(/5 times/);
    expect(await set('warren-user-quorum', { ...quorum, priority: 0 }, {})).toMatch(/stand over/);
    expect(await set('warren-user', { priority: 0 }, {})).toMatch(/does not apply to them at all/);
    await manage('DELETE', path);
    expect(JSON.stringify(await problems())).toMatch(/quorum is not there: .* 20 times is lost/);
    await warren(['provision']);
    expect(JSON.stringify(await problems())).not.toMatch(/policy/);
  });

  it('tries which pages are let in, where the broker looks at them', async () => {
    const looks = isAtLeast(broker.version, WITH_ORIGINS);
    const others = `${PAGE}, https://other.example`;
    const refused = JSON.stringify(await problems({ WARREN_CORS_ORIGINS: others }));
    expect(refused.includes('refuses WebSockets from https://other.example')).toBe(looks);
    expect(refused).not.toContain(`from ${PAGE},`);
    const { stompUrl } = inject('broker').endpoints;
    const open = JSON.stringify(await problems({ WARREN_PUBLIC_STOMP_URL: stompUrl }));
    expect(open.includes('takes WebSockets from any page')).toBe(looks);
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
