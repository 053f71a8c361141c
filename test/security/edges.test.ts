import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROBLEMS, type TimelineEntry } from '@warren/protocol';
import { Application } from '../support/application.js';
import {
  addressOf,
  edgeAddresses,
  edgesOf,
  fieldsOf,
  leavesOf,
  nameOf,
  type GoodRequest,
  type Operation,
} from '../support/edges.js';
import { goodRequests, WITHOUT_INPUT, type Fixture } from '../support/good-requests.js';
import {
  ADMIN_KEY,
  SERVICE_KEY,
  startStack,
  uniqueUser,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';
import { VAPID_KEY } from '../support/push-bed.js';

/** A value that the route takes may make it wait: a revocation does, for up to a second. */
const TIMEOUT_MS = 300_000;
const AT_ONCE = 8;
const NAMES = [...goodRequests({ user: '', group: '', message: '', console: '' }).keys()];

let application: Application;
let stack: Stack;
let fixture: Fixture;
let operations: Map<string, Operation>;

beforeAll(async () => {
  application = await Application.start();
  application.usual = { status: 200, body: { allow: true } };
  const { url, secret } = application;
  const vapidSubject = 'mailto:ops@app.example';
  const hosts = ['push.example'];
  stack = await startStack({
    config: {
      policyUrl: { url, secret },
      push: {
        providers: {
          webpush: { vapidPrivateKey: VAPID_KEY, vapidSubject, hosts },
          webhook: { url, secret },
        },
        limits: { attempts: 1, rates: { webpush: 0, fcm: 0, webhook: 0 } },
        // Registered, and never sent.
        hasWorker: false,
      },
    },
  });
  operations = await readOperations();
});
afterAll(async () => {
  await stack.close();
  await application.close();
});

async function readOperations(): Promise<Map<string, Operation>> {
  const { paths } = (await (await fetch(`${stack.apiUrl}/openapi.json`)).json()) as {
    paths: Record<string, Record<string, Operation>>;
  };
  return new Map(
    Object.entries(paths)
      .filter(([path]) => !WITHOUT_INPUT.includes(path))
      .flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, operation]) => [`${method} ${path}`, operation]),
      ),
  );
}

async function makeFixture(): Promise<Fixture> {
  const user = uniqueUser();
  const [group, message] = [`${user}-group`, `${user}-message`];
  await stack.session(user, { deviceId: 'phone' });
  await stack.api('POST', `/v1/groups/${group}/members`, { add: [user] });
  await stack.send({ user }, 1, { id: message, track: true });
  const { body } = await stack.admin('POST', 'sessions', {});
  return { user, group, message, console: body.sessionId };
}

interface Answer {
  status: number;
  contentType: string;
  text: string;
}

/** As it is: `fetch` would take dots out of the path. */
function ask(method: string, path: string, bearer: string, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${bearer}`,
      ...(body !== undefined && {
        'content-type': 'application/json',
        'content-length': String(Buffer.byteLength(body)),
      }),
    };
    const { hostname, port } = new URL(stack.apiUrl);
    const sent = httpRequest({ hostname, port, path, method: method.toUpperCase(), headers });
    sent.on('error', reject).on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject);
      response.on('end', () => {
        const contentType = response.headers['content-type'] ?? '';
        const text = Buffer.concat(chunks).toString('utf8');
        resolve({ status: response.statusCode ?? 0, contentType, text });
      });
    });
    sent.end(body);
  });
}

/** Why an answer is none that the API may give; undefined when it is. */
function faultOf({ status, contentType, text }: Answer): string | undefined {
  if (status >= 500) return `${String(status)} ${text}`;
  if (status < 400) return undefined;
  if (!contentType.startsWith('application/problem+json')) return `${contentType}: ${text}`;
  const { code } = JSON.parse(text) as { code: string };
  if (!(code in PROBLEMS)) return `the code ${code}`;
  return /at .*\.js:\d+|node_modules|SQLITE|rabbit|22P02/i.test(text) ? text : undefined;
}

async function inPortions<Item>(items: Item[], work: (item: Item) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += AT_ONCE) {
    await Promise.all(items.slice(start, start + AT_ONCE).map(work));
  }
}

function bearerOf(operation: Operation): string {
  const scheme = Object.keys(operation.security?.[0] ?? {})[0];
  if (scheme === 'user') return userToken(fixture.user);
  return scheme === 'admin' ? ADMIN_KEY : SERVICE_KEY;
}

/** Every request that is good but for one value. */
function edgeRequests(
  template: string,
  operation: Operation,
  good: GoodRequest,
): { address: string; body: string | undefined }[] {
  const schema = operation.requestBody?.content['application/json'].schema;
  const { path = {}, query = {}, bodies = [] } = good;
  const whole = addressOf(template, path, query);
  const body = bodies[0] && JSON.stringify(bodies[0]);
  const fields = schema && fieldsOf(schema);
  return [
    ...edgeAddresses(template, operation, good).map((address) => ({ address, body })),
    ...bodies.flatMap((example) =>
      edgesOf(example as never, fields ?? new Map()).map((text) => ({
        address: whole,
        body: text,
      })),
    ),
  ];
}

const kindsOf = async (user: string): Promise<string[]> => {
  const { body } = await stack.api('GET', `/v1/users/${user}/timeline`);
  const { entries } = body as unknown as { entries: TimelineEntry[] };
  return entries.map(({ kind }) => kind);
};

it('has a good request of every route, with all that it takes', () => {
  const missing = [...operations.keys()].filter((name) => !NAMES.includes(name));
  const requests = goodRequests({ user: 'u', group: 'g', message: 'm', console: 'c' });
  for (const [name, { requestBody }] of operations) {
    const fields = fieldsOf(requestBody?.content['application/json'].schema ?? {});
    const examples = (requests.get(name)?.bodies ?? []).flatMap((body) => leavesOf(body as never));
    const given = new Set(examples.map((path) => nameOf(path, fields)));
    missing.push(
      ...[...fields.keys()].filter((field) => !given.has(field)).map((f) => `${name} ${f}`),
    );
  }
  expect(missing).toEqual([]);
});

describe('a value at the edge', () => {
  it.each(NAMES)(
    'breaks nothing: %s',
    async (name) => {
      const operation = operations.get(name);
      // Admins share only some of the routes.
      if (operation === undefined) return;
      const [method = '', template = ''] = name.split(' ');
      // Of its own: what was cut off by one route's requests would be missing in the next.
      fixture = await makeFixture();
      const good = goodRequests(fixture).get(name)!;
      const bearer = bearerOf(operation);
      const faults: string[] = [];
      const witness = uniqueUser();
      const watched = stack.session(witness, { deviceId: 'phone' });
      await inPortions(edgeRequests(template, operation, good), async ({ address, body }) => {
        const fault = faultOf(await ask(method, address, bearer, body));
        const said = `${method} ${address.slice(0, 200)} ${body?.slice(0, 500) ?? ''}`;
        if (fault !== undefined) faults.push(`${said} → ${fault.slice(0, 300)}`);
      });
      expect(faults).toEqual([]);
      // What was written beside it is there, and the route works.
      await watched;
      await until(async () => (await kindsOf(witness)).includes('session'), 'the timeline');
      const { path = {}, query = {}, bodies } = good;
      const body = bodies?.[0] && JSON.stringify(bodies[0]);
      const answer = await ask(method, addressOf(template, path, query), bearer, body);
      expect(answer, name).toMatchObject({ status: good.status });
    },
    TIMEOUT_MS,
  );

  it(
    'holds up no other message of its batch',
    async () => {
      fixture = await makeFixture();
      const schema = operations.get('post /v1/messages')!.requestBody!.content['application/json'];
      const { bodies = [] } = goodRequests(fixture).get('post /v1/messages')!;
      const isNumberKept = (text: string): boolean =>
        !/[,:[](NaN|Infinity|0x|01|-?1e400|9007199254740993|\d{400})/.test(text);
      const edges = bodies
        .flatMap((example) => edgesOf(example as never, fieldsOf(schema.schema)))
        .filter((text) => text.length < 2000 && isNumberKept(text));
      const good = JSON.stringify({ to: { user: fixture.user }, type: 'note', data: 1 });
      for (let start = 0; start < edges.length; start += 50) {
        const messages = edges.slice(start, start + 50).flatMap((edge) => [edge, good]);
        const text = `{"messages":[${messages.join(',')}]}`;
        const answer = await ask('post', '/v1/messages/batch', SERVICE_KEY, text);
        expect(answer.status, answer.text.slice(0, 500)).toBe(202);
        const { results } = JSON.parse(answer.text) as { results: { status: number }[] };
        expect(results.filter(({ status }) => status >= 500)).toEqual([]);
        const ofGood = results.filter((_, index) => index % 2 === 1);
        expect(new Set(ofGood.map(({ status }) => status))).toEqual(new Set([202]));
      }
    },
    TIMEOUT_MS,
  );
});
