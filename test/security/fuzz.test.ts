import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import WebSocket from 'ws';
import { encodeId, isValidId, PROBLEMS } from '@warren/protocol';
import { Application } from '../support/application.js';
import { KNOWN_ROUTES } from '../support/routes.js';
import {
  ADMIN_KEY,
  SERVICE_KEY,
  startStack,
  uniqueUser,
  USER_SECRET,
  userToken,
  type Stack,
} from '../support/stack.js';

/** Set to repeat a failure; printed by fast-check with it. */
const seed = Number(process.env['WARREN_TEST_SEED'] ?? 20_260_401);
const runs = (numRuns: number): fc.Parameters<unknown> => ({ seed, numRuns, endOnFailure: true });

let application: Application;
let stack: Stack;
const { endpoints } = inject('broker');
const user = uniqueUser();
beforeAll(async () => {
  application = await Application.start();
  application.usual = { status: 200, body: { allow: true } };
  const { url, secret } = application;
  stack = await startStack({ config: { policyUrl: { url, secret } } });
  // The code has run once, and memory is what it is without attackers.
  await stack.session(user, { deviceId: 'phone' });
});
afterAll(async () => {
  await stack.close();
  await application.close();
});

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc.constantFrom('', '\0', '..', '%', '%00', '%ff', '\ud800', '__proto__', '*', '#', ' '),
);

const DEEP = '['.repeat(20_000) + ']'.repeat(20_000);
const texts = fc.array(text, { maxLength: 5 });
const recipient = fc.oneof(
  fc.record({ user: text }),
  fc.record({ group: text }),
  fc.record({ users: texts }),
  fc.record({ device: fc.record({ user: text, device: text }) }),
  fc.constant({ broadcast: true }),
  fc.anything(),
);

/** JSON as strange as it can be, and what is none. */
const body = fc.oneof(
  fc.json({ maxDepth: 6 }),
  fc.string({ unit: 'binary', maxLength: 500 }),
  fc.constantFrom(
    '[]',
    'null',
    '"x"',
    '{"to":null}',
    '{"__proto__":{"x":1}}',
    '['.repeat(50_000),
    `{"to":{"user":"x"},"type":"x","data":${DEEP}}`,
    `{"to":{"users":["x"]},"type":"x","track":true,"data":${DEEP}}`,
    `{"messages":[{"to":{"user":"x"},"type":"x","data":${DEEP}}]}`,
    `{"reply":${DEEP}}`,
  ),
  fc
    .record(
      {
        to: recipient,
        type: text,
        data: fc.anything({ maxDepth: 3 }),
        id: text,
        delivery: fc.oneof(fc.constantFrom('live', 'queued'), text),
        ttlMs: fc.oneof(fc.integer(), fc.double(), text),
        collapseKey: text,
        deviceId: text,
        sessionId: text,
        installationId: text,
        abandoned: fc.anything({ maxDepth: 1 }),
        devices: fc.array(text, { maxLength: 30 }),
        ttlSeconds: fc.oneof(fc.integer(), fc.double()),
        track: fc.oneof(fc.boolean(), text),
        timeoutMs: fc.integer({ max: 10 }),
        users: texts,
        add: texts,
        remove: texts,
        delivered: texts,
        read: texts,
        agoMs: fc.array(fc.oneof(fc.double(), text), { maxLength: 3 }),
        handled: fc.array(
          fc.record({
            id: text,
            type: text,
            error: text,
            name: text,
            tookMs: fc.double(),
            agoMs: fc.double(),
          }),
          { maxLength: 3 },
        ),
        watched: fc.boolean(),
        events: texts,
        watch: texts,
        ids: fc.array(fc.oneof(fc.integer(), text), { maxLength: 3 }),
        all: fc.constantFrom(true, false),
        reason: text,
        reply: fc.anything({ maxDepth: 2 }),
        failed: fc.oneof(fc.boolean(), text),
        messages: fc.array(
          fc.record({ to: recipient, type: text, data: fc.anything({ maxDepth: 1 }) }),
          { maxLength: 3 },
        ),
      },
      { requiredKeys: [] },
    )
    .map((value) => {
      try {
        return JSON.stringify(value);
      } catch {
        return '{}';
      }
    }),
);

describe('the HTTP API, fed with anything', () => {
  it('answers with one of its problems, never with 500', async () => {
    const bearer = fc.constantFrom(SERVICE_KEY, ADMIN_KEY, userToken(user), 'x', '');
    const type = fc.constantFrom('application/json', 'text/plain', 'application/json; charset=x');
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...KNOWN_ROUTES),
        text,
        body,
        bearer,
        type,
        async (route, id, content, token, contentType) => {
          const path = route.path.replaceAll(/\{\w+\}/g, () => encodeAnything(id));
          const response = await fetch(stack.apiUrl + path, {
            method: route.method,
            headers: { authorization: `Bearer ${token}`, 'content-type': contentType },
            ...(!['GET', 'DELETE'].includes(route.method) && { body: content }),
          });
          const answer = await response.text();
          expect(response.status).not.toBe(500);
          if (response.status < 400) return;
          const problem = JSON.parse(answer) as { code: string };
          expect(Object.keys(PROBLEMS)).toContain(problem.code);
          expect(answer).not.toMatch(/at .*\.js:\d+|node_modules|SQLITE|rabbit/i);
        },
      ),
      runs(3000),
    );
    expect((await fetch(`${stack.apiUrl}/health/ready`)).status).toBe(200);
  });

  it('refuses every token that nobody has signed', async () => {
    const part = fc.oneof(
      fc.json({ maxDepth: 3 }).map((json) => Buffer.from(json).toString('base64url')),
      fc.base64String({ maxLength: 200 }).map((value) => value.replaceAll(/[+/=]/g, '_')),
      fc.constantFrom(...userToken(user).split('.'), '', 'e30', 'bnVsbA'),
    );
    const real = userToken(user);
    const mutated = fc
      .tuple(fc.nat(real.length - 1), fc.constantFrom('A', 'b', '0', '-', '.'))
      .map(([at, letter]) => real.slice(0, at) + letter + real.slice(at + 1));
    const own = fc
      .record({
        sub: fc.anything({ maxDepth: 1 }),
        exp: fc.anything({ maxDepth: 1 }),
        aud: fc.anything({ maxDepth: 1 }),
      })
      .map((claims) => {
        const payload = Buffer.from(JSON.stringify(claims)).toString('base64url');
        return `${real.split('.')[0]!}.${payload}.${real.split('.')[2]!}`;
      });
    const token = fc.oneof(
      fc.array(part, { maxLength: 5 }).map((p) => p.join('.')),
      mutated,
      own,
    );
    await fc.assert(
      fc.asyncProperty(token, async (forged) => {
        fc.pre(!isSame(forged, real) && forged !== '');
        const response = await fetch(`${stack.apiUrl}/v1/sessions`, {
          method: 'POST',
          headers: { authorization: `Bearer ${forged}`, 'content-type': 'application/json' },
          body: '{}',
        });
        await response.arrayBuffer();
        expect(response.status).toBe(401);
      }),
      runs(800),
    );
  });

  it('takes signed claims of any kind for what they are, or refuses them', async () => {
    const claims = fc.record(
      { sub: fc.anything({ maxDepth: 1 }), iat: fc.anything({ maxDepth: 1 }) },
      { requiredKeys: [] },
    );
    const header = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString('base64url');
    const { createHmac } = await import('node:crypto');
    await fc.assert(
      fc.asyncProperty(claims, async (payload) => {
        const content = `${header}.${Buffer.from(JSON.stringify(payload)).toString('base64url')}`;
        const mac = createHmac('sha256', USER_SECRET).update(content).digest('base64url');
        const response = await fetch(`${stack.apiUrl}/v1/sessions`, {
          method: 'POST',
          headers: {
            authorization: `Bearer ${content}.${mac}`,
            'content-type': 'application/json',
          },
          body: '{}',
        });
        await response.arrayBuffer();
        expect([201, 401, 403]).toContain(response.status);
      }),
      runs(300),
    );
  });
});

/** Base64url's last letter may differ without a difference. */
const isSame = (left: string, right: string): boolean =>
  left.split('.').every((part, index) => {
    const other = right.split('.')[index] ?? '';
    return Buffer.from(part, 'base64url').equals(Buffer.from(other, 'base64url'));
  });

function encodeAnything(id: string): string {
  try {
    return encodeURIComponent(id) || '%20';
  } catch {
    return '%ED%A0%80';
  }
}

describe('ids', () => {
  it('never share a name, and no name means anything to an exchange, a scope or a URL', () => {
    fc.assert(
      fc.property(text, text, (left, right) => {
        fc.pre(isValidId(left) && isValidId(right));
        expect(encodeId(left)).toMatch(/^[A-Za-z0-9_-]{1,80}$/);
        expect(encodeId(left) === encodeId(right)).toBe(left === right);
      }),
      runs(5000),
    );
  });
});

describe('the broker, fed with anything by WebSocket', () => {
  const alarms = async (): Promise<number> => {
    const { origin, username, password } = new URL(endpoints.managementUrl);
    const response = await fetch(`${origin}/api/health/checks/alarms`, {
      headers: { authorization: `Basic ${btoa(`${username}:${password}`)}` },
    });
    return response.status;
  };

  it('gives no message to those who are not logged in, and lives on', async () => {
    const line = fc.oneof(
      fc.constantFrom(
        'CONNECT',
        'STOMP',
        'SUBSCRIBE',
        'SEND',
        'ACK',
        'accept-version:1.2',
        'host:warren',
        'login:',
        'login:guest',
        'passcode:guest',
        `destination:/amq/queue/user.${user}`,
        'content-length:4294967296',
        'content-length:-1',
        'heart-beat:1,1',
        '',
      ),
      text,
    );
    const frame = fc
      .tuple(fc.array(line, { maxLength: 12 }), fc.constantFrom('\0', '', '\n\n\0', '\0\0\0'))
      .map(([lines, end]) => lines.join('\n') + end);
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { minLength: 1, maxLength: 4 }), async (frames) => {
        const socket = new WebSocket(endpoints.stompUrl, ['v12.stomp']);
        const received: string[] = [];
        socket.on('message', (data: Buffer) => received.push(data.toString('latin1')));
        socket.on('error', () => undefined);
        await new Promise((resolve) => socket.once('open', resolve));
        for (const content of frames) socket.send(content);
        await new Promise<void>((resolve) => {
          socket.once('close', () => {
            resolve();
          });
          socket.ping();
          socket.once('pong', () => {
            resolve();
          });
        });
        socket.terminate();
        expect(received.filter((data) => /^(CONNECTED|MESSAGE)/.test(data))).toEqual([]);
      }),
      runs(400),
    );
    // It says 503 when memory or disk run out.
    expect(await alarms()).toBe(200);
    expect((await stack.session(user, { deviceId: 'phone' })).resumed).toBe(true);
  });
});

describe('the server’s memory', () => {
  it('is not held by those who were refused', async () => {
    const gc = (globalThis as { gc?: () => void }).gc;
    const ask = async (size: number) => {
      await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          fetch(`${stack.apiUrl}/v1/messages`, {
            method: 'POST',
            headers: {
              authorization: `Bearer wrong-${String(index)}-${String(size)}`,
              'content-type': 'application/json',
            },
            body: 'x'.repeat(size),
          }).catch(() => undefined),
        ),
      );
    };
    for (let round = 0; round < 5; round++) await ask(200_000);
    gc?.();
    const before = process.memoryUsage().heapUsed;
    for (let round = 0; round < 40; round++) await ask(200_000);
    gc?.();
    // 400 MB were sent.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * 1024 * 1024);
  });
});
